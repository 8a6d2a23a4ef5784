"""A ranker of an earlier run as a teacher: its last hidden layer for raw rows, through its exported preprocessing."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from models.cotraining.external_inputs import ExternalInput, RowFeatures, RunFacts
from serving.contract import read_contract
from serving.export.contract import inputs_of
from serving.export.requests import as_request
from serving.export.signatures import HIDDEN, LAST_HIDDEN
from serving.loading import loaded_with
from serving.versions import find_saved_model, version_number
from transforms.errors import InputError
from transforms.features import LENGTHS, TEACHER_HIDDEN, FeatureSet
from transforms.files import folder_sha256

_OPTION = "recipe.options.teacher"
_EXPECTED = "an exported ranker of rows, by its run, its folder or its versions' base folder"


@dataclass(frozen=True)
class TeacherExport:
    """Description of an exported ranker that is not loaded.

    Args:
      path: of the SavedModel.
      model: its name in serving.
      version: its number; None for a run's `model`, which has none.
      sha256: of all its files.
      hidden_width: H of its last hidden layer.
      columns: the raw columns that it reads.
    """

    path: str
    model: str
    version: int | None
    sha256: str
    hidden_width: int
    columns: tuple[str, ...]

    def report(self) -> dict[str, Any]:
        """Returns the entry of `run.json`."""
        return {**asdict(self), "columns": list(self.columns)}


def find_teacher(path: str | os.PathLike[str], feature_set: FeatureSet) -> TeacherExport:
    """Finds the export that a path stands for (itself, a run's `model`, the newest of its versions) without loading it.

    Args:
      path: as the run file has it.
      feature_set: of the rows that the teacher will read.

    Raises:
      InputError: there is no export, it is no ranker of rows or has no signature `last_hidden`, or the rows lack a
        column that it reads.
    """
    where = f"{_OPTION}, {path}"
    folder, contract = _saved_model(path)
    if contract["record"] != "row":
        fix = "train the ranker with `record: row`, as the towers are trained"
        raise InputError(where, f"a ranker of {contract['record']} records", "one of rows", fix)
    signature = contract["signatures"].get(LAST_HIDDEN)
    if signature is None:
        fix = "train a deepfm, dcn, pnn, fibinet, cold or target_attention_ranker anew: earlier exports have none"
        received = f"model {contract['model']!r} with signatures {', '.join(contract['signatures'])}"
        raise InputError(where, received, f"a ranker with the signature {LAST_HIDDEN}", fix)
    _check_columns(where, signature["inputs"], feature_set)
    return TeacherExport(
        path=os.path.abspath(folder),
        model=contract["model"],
        version=version_number(folder.name),
        sha256=folder_sha256(folder),
        hidden_width=signature["outputs"][HIDDEN]["shape"][-1],
        columns=tuple(name for name, spec in signature["inputs"].items() if "lengths_of" not in spec),
    )


def _saved_model(path: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]]:
    """The SavedModel that a path stands for, and its contract."""
    where = f"{_OPTION}, {path}"
    if not Path(path).is_dir():
        fix = "train a ranker with `consort train`, and name the folder of its run"
        raise InputError(where, "no such folder", _EXPECTED, fix)
    try:
        folder = find_saved_model(path)
        return folder, read_contract(folder)
    except InputError as error:
        raise InputError(where, error.received, _EXPECTED, error.fix) from error


def _check_columns(where: str, inputs: Mapping[str, Any], feature_set: FeatureSet) -> None:
    if unknown := [name for name, spec in inputs.items() if "N" in spec["shape"] and f"{name}{LENGTHS}" not in inputs]:
        received = f"a model without inputs for the lengths of {', '.join(unknown)}, so that it drops missing elements"
        raise InputError(where, received, "one with these inputs", "export the ranker again")
    known = inputs_of(feature_set.columns_of("row"), "row")
    fix = "choose a ranker that was trained on data of this source, or import the data with these columns"
    if missing := [name for name, spec in inputs.items() if name not in known and "lengths_of" not in spec]:
        expected = f"all that the teacher reads; it misses {', '.join(missing)}"
        raise InputError(where, f"a dataset with columns {', '.join(known)}", expected, fix)
    for name, expected in inputs.items():
        if "lengths_of" not in expected and known[name] != expected:
            raise InputError(where, f"column {name!r} {_type_of(known[name])} in the dataset", _type_of(expected), fix)


def _type_of(column: Mapping[str, Any]) -> str:
    return f"{column['dtype']} [{', '.join(column['shape'])}]"


class Teacher:
    """A frozen ranker, loaded: returns its last hidden layer for raw rows.

    Args:
      export: which.
      feature_set: of the rows.

    Call arguments:
      raw: a batch of raw columns, lists as `tf.RaggedTensor`.

    Output shape: float32 `[B, H]`.

    Raises:
      InputError: its files have changed since `find_teacher`, or cannot be loaded.
    """

    def __init__(self, export: TeacherExport, feature_set: FeatureSet):
        if (sha256 := folder_sha256(export.path)) != export.sha256:
            fix = "do not change a teacher during a run, or name one of its versions, and start again"
            raise InputError(export.path, f"a teacher with sha256 {sha256}", f"sha256 {export.sha256}, as before", fix)
        self.columns, self._width = export.columns, export.hidden_width
        self._read = [feature_set.column(name) for name in export.columns]
        # Batches are made on the CPU, also where there is a GPU.
        with tf.device("/CPU:0"):
            self._loaded = loaded_with(export.path, LAST_HIDDEN)
        self._signature = self._loaded.signatures[LAST_HIDDEN]

    def __call__(self, raw: Mapping[str, Any]) -> tf.Tensor:
        return tf.ensure_shape(self._signature(**as_request(self._read, raw))[HIDDEN], [None, self._width])


class TeacherInput(ExternalInput):
    """An exported ranker of an earlier run, whose last hidden layer training rows bring along as `teacher_hidden`.

    `load` returns its `TeacherExport`, which says how wide that layer is.

    Args:
      path: as the run file has it.
    """

    option, identity_key = "teacher", "teacher_sha256"

    def __init__(self, path: str):
        self._path = path
        self._export: TeacherExport | None = None

    def check_exists(self) -> None:
        _saved_model(self._path)

    def check(self, run: RunFacts) -> None:
        self._export = find_teacher(self._path, run.feature_set)

    @property
    def export(self) -> TeacherExport:
        """What `check` found."""
        if self._export is None:
            raise ValueError("the teacher is not checked; expected a call of check before")
        return self._export

    def identity(self) -> str:
        return self.export.sha256

    def load(self, run: RunFacts, transform: Any) -> TeacherExport:
        return self.export

    def row_features(self, run: RunFacts) -> RowFeatures:
        teacher = Teacher(self.export, run.feature_set)
        return RowFeatures(teacher.columns, lambda raw: {TEACHER_HIDDEN: teacher(raw)})

    def report(self) -> dict[str, Any]:
        return self.export.report()
