"""What is served while new data is audited: the profile of its data, and its scores on the new labels."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from runs.audit.audit import AuditInput
from runs.audit.drift import Profile, served_auc
from runs.audit.findings import Finding
from runs.evaluate import check_columns
from serving.contract import read_contract
from serving.loading import Scorer
from serving.versions import versions_in
from transforms.errors import InputError
from transforms.features import CANDIDATE, EXPOSED, LABEL, FeatureSet, RecordKind, Split
from transforms.files import write_text
from transforms.input import count_examples, serialized
from transforms.schema import parse_spec

_SCORED = {"row": 20_000, "request": 2_000}
"""Records that the served model scores, about."""
_AT_ONCE = 512
_NAME_LENGTH = 16


class ServedData:
    """The profiles of the data of served versions.

    Each lies under the hash of its data, which a version's contract names: so the profile of whatever version is
    served, also after one was removed, is found without asking anybody.

    Args:
      serving_base: folder of the versions.
      profiles: folder of the profiles.
      record: kind of the records.
    """

    def __init__(self, serving_base: Path, profiles: Path, record: RecordKind):
        self._folder, self._record = profiles, record
        self._contracts = {directory: _contract(directory) for _, directory in versions_in(serving_base)}

    @property
    def model(self) -> Path | None:
        """The newest version; None: nothing is served."""
        return next(reversed(self._contracts), None)

    def profile(self) -> Profile | None:
        """The profile of the data of the newest version; None: there is none, or another program has written it."""
        sha256 = "" if self.model is None else _data_of(self._contracts[self.model])
        path = self._path(sha256)
        try:
            return Profile.model_validate_json(path.read_text()) if sha256 and path.is_file() else None
        except ValueError:
            return None

    def keep(self, profile: Profile) -> None:
        """Writes the profile of new data, and removes those of data that no version is of."""
        write_text(self._path(profile.dataset_sha256), profile.model_dump_json())
        kept = {self._path(sha256) for sha256 in (profile.dataset_sha256, *map(_data_of, self._contracts.values()))}
        for path in self._folder.glob(f"*-{self._record}.json"):
            if path not in kept:
                path.unlink()

    def scores(self, what: AuditInput, split: Split) -> Iterator[Finding]:
        """Compares the new labels of a split with the scores of the newest version.

        Args:
          what: the new data.
          split: of its splits, the one that decides about models.
        """
        if self.model is None or not what.files.get(split):
            return
        contract = self._contracts[self.model]
        try:
            check_columns(FeatureSet.model_validate(contract["feature_set"]), what.feature_set, self._record, "data")
        except (InputError, ValueError, KeyError):
            return  # It reads other columns: its scores say nothing about these.
        label, probability = _scored(self.model, what, split)
        yield from served_auc(label, probability, _auc_of(contract))

    def _path(self, dataset_sha256: str) -> Path:
        return self._folder / f"{dataset_sha256[:_NAME_LENGTH]}-{self._record}.json"


def _scored(model: Path, what: AuditInput, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of the shown examples of records from all over a split."""
    masks = (CANDIDATE, EXPOSED) if what.record == "request" else ()
    spec = parse_spec(what.feature_set, what.record, (LABEL, *masks))
    files = list(what.files[split])
    stride = max(1, count_examples(files) // _SCORED[what.record])
    scorer, labels, probabilities = Scorer(model), [], []
    for examples in serialized(files, _AT_ONCE).shard(stride, 0):
        columns = {name: value.numpy() for name, value in tf.io.parse_example(examples, spec).items()}
        shown = np.ones(columns[LABEL].shape, bool)
        for mask in masks:
            shown &= columns[mask] == 1
        labels.append(columns[LABEL][shown])
        probabilities.append(scorer(examples)[shown])
    return np.concatenate(labels), np.concatenate(probabilities)


def _contract(directory: Path) -> dict[str, Any]:
    try:
        return read_contract(directory)
    except InputError:
        return {}  # Somebody else's model: it has no data that we know.


def _data_of(contract: Mapping[str, Any]) -> str:
    return str(contract.get("run", {}).get("dataset_sha256", ""))


def _auc_of(contract: Mapping[str, Any]) -> float | None:
    """AUC of the kept weights when they were trained; of several peers the best."""
    best = contract.get("run", {}).get("training", {}).get("best", {})
    values = [value for name, value in best.items() if name.startswith("eval_auc") and isinstance(value, float)]
    return max(values, default=None)
