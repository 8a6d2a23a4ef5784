"""Rows as arrays on disk, mapped into memory by every process that trains on them."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simulation.parameters import TRUTH, ClickLogParameters
from transforms.errors import InputError
from transforms.features import LABEL, SPLITS, ModelInput, Shape, Split
from transforms.files import new_directory, sha256_of, write_text

ABOUT = "about.json"
_KINDS = {"ids": np.int32, "numbers": np.float32, LABEL: np.float32, TRUTH: np.float32}
_READ_AT_ONCE = 20_000
Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Rows:
    """The rows of one split.

    Args:
      inputs: of the model, ids before numbers.
      ids: int32 `[N, fields with ids]`.
      numbers: float32 `[N, numeric fields]`.
      label: float32 `[N]`.
      truth: probability of a click, float32 `[N]`; None where nobody knows it.
    """

    inputs: tuple[ModelInput, ...]
    ids: np.ndarray
    numbers: np.ndarray
    label: np.ndarray
    truth: np.ndarray | None

    def __len__(self) -> int:
        return len(self.label)

    def features(self, which: np.ndarray | slice) -> dict[str, np.ndarray]:
        """What a model takes of some rows: each field `[n]`."""
        found: dict[str, np.ndarray] = {}
        for block, fields in ((self.ids, _ids(self.inputs)), (self.numbers, _numbers(self.inputs))):
            # One gather of whole rows, then one copy a field.
            chosen = np.ascontiguousarray(block[which].T) if fields else ()
            found |= {item.name: values for item, values in zip(fields, chosen, strict=True)}
        return found


@dataclass(frozen=True)
class Arrays:
    """A dataset as arrays.

    Args:
      inputs: of a model.
      table_sizes: ids of each vocabulary, padding included.
      splits: the rows of each.
      sha256: of all arrays.
      about: where they come from, for a reader.
    """

    inputs: tuple[ModelInput, ...]
    table_sizes: Mapping[str, int]
    splits: Mapping[Split, Rows]
    sha256: str
    about: Mapping[str, Any]


def load_arrays(folder: Path) -> Arrays:
    """Maps the arrays of a folder into memory; nothing is read yet."""
    told = json.loads((folder / ABOUT).read_text())
    inputs = tuple(ModelInput.model_validate(item) for item in told["inputs"])
    splits = {}
    for split in SPLITS:
        found = {kind: _mapped(folder / f"{split}.{kind}.npy") for kind in _KINDS}
        truth = found.pop(TRUTH)
        splits[split] = Rows(inputs, **found, truth=truth if len(truth) else None)
    return Arrays(inputs, told["table_sizes"], splits, told["sha256"], told["about"])


def simulated_arrays(folder: Path, parameters: ClickLogParameters, rows: int, seed: int) -> None:
    """Samples a click log into a new folder, split at random 8:1:1.

    Ids that the train split has less than twice share one id, as Avazu_x4 has it.

    Args:
      folder: to be made, whole or not at all.
      parameters: of the world.
      rows: in all.
      seed: of the world, its rows and their split.
    """
    from simulation.ctr_log import FREQUENCY_THRESHOLD
    from simulation.ctr_world import ClickLogWorld
    from transforms.splits import random_splits

    world = ClickLogWorld(parameters, seed)
    columns = world.sample(rows, seed)
    number = random_splits(np.arange(rows), seed)
    sizes = {
        name: _join_rare_ids(columns, name, number == 0, FREQUENCY_THRESHOLD) for name in world.table_sizes
    }  # The world has a vocabulary for each of its categories.
    about = {
        "source": "simulated",
        "rows": rows,
        "seed": seed,
        "world": parameters.model_dump(mode="json"),
        "frequency_threshold": FREQUENCY_THRESHOLD,
    }
    with new_directory(folder) as temporary:
        writer = _Writer(temporary, world.model_inputs)
        for index, split in enumerate(SPLITS):
            chosen = number == index
            writer.write(split, int(chosen.sum()), [{name: values[chosen] for name, values in columns.items()}])
        writer.finish(sizes, about)


def dataset_arrays(folder: Path, data_dir: Path, say: Callable[[str], None]) -> None:
    """Transforms a dataset of rows, as `consort train` does, and writes it as arrays into a new folder.

    Args:
      folder: to be made, whole or not at all.
      data_dir: a dataset with all three splits.
      say: told what happens.

    Raises:
      InputError: it is none, is damaged, holds a value that its column cannot have,
        lacks a split, or has a feature that is a list.
    """
    from transforms.beam.transform_dataset import load_transform, transform_dataset, transformed_files
    from transforms.input import count_examples
    from transforms.integrity import check_values, checked
    from transforms.records import load_dataset, shard_paths
    from transforms.vocabularies import table_sizes

    dataset = load_dataset(data_dir)
    inputs = dataset.feature_set.model_inputs("row")
    if lists := [item.name for item in inputs if item.shape is not Shape.SCALAR]:
        where, fix = f"--data {data_dir}", "take a dataset of Criteo or Avazu"
        raise InputError(where, f"lists: {', '.join(lists)}", "features with one value a row", fix)
    for split in SPLITS:
        shard_paths(data_dir, dataset, "row", split)
    dataset, _ = checked(data_dir, dataset, "row", SPLITS)
    check_values(data_dir, dataset, "row", SPLITS)
    about = {"source": dataset.source, "origin": dataset.origin, "dataset_sha256": dataset.sha256}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_directory(folder) as temporary, tempfile.TemporaryDirectory(dir=folder.parent) as work:
        say("transforming the data")
        transformed = Path(work, "transformed")
        transform_dataset(data_dir, dataset, transformed, dataset.feature_set, "row", splits=SPLITS)
        transform = load_transform(transformed)
        say("reading it into arrays")
        writer = _Writer(temporary, inputs)
        for split in SPLITS:
            files = transformed_files(transformed, split)
            writer.write(split, count_examples(files), _read(files, transform.transformed_feature_spec()))
        writer.finish(table_sizes(dataset.feature_set, transform), about)


def _read(files: Sequence[str], spec: Mapping[str, Any]) -> Iterator[Columns]:
    from transforms.input import parsed, serialized

    for columns in parsed(serialized(files, _READ_AT_ONCE), spec):
        yield {name: values.numpy() for name, values in columns.items()}


class _Writer:
    """Fills the arrays of one split after the other."""

    def __init__(self, folder: Path, inputs: Sequence[ModelInput]):
        self._folder, self._inputs = folder, tuple(inputs)

    def write(self, split: Split, rows: int, blocks: Iterator[Columns] | list[Columns]) -> None:
        widths = {"ids": (len(_ids(self._inputs)),), "numbers": (len(_numbers(self._inputs)),)}
        arrays: dict[str, np.ndarray] = {}
        start = 0
        for block in blocks:
            if not arrays:
                lengths = dict.fromkeys(_KINDS, rows) | ({} if TRUTH in block else {TRUTH: 0})
                arrays = {
                    kind: np.lib.format.open_memmap(
                        self._folder / f"{split}.{kind}.npy", "w+", dtype, (lengths[kind], *widths.get(kind, ()))
                    )
                    for kind, dtype in _KINDS.items()
                }
            end = start + len(block[LABEL])
            for kind, fields in (("ids", _ids(self._inputs)), ("numbers", _numbers(self._inputs))):
                for position, item in enumerate(fields):
                    arrays[kind][start:end, position] = block[item.name]
            arrays[LABEL][start:end] = block[LABEL]
            if TRUTH in block:
                arrays[TRUTH][start:end] = block[TRUTH]
            start = end
        if start == 0:
            raise InputError(f"split {split}", "no row", "at least one", "take more data")

    def finish(self, sizes: Mapping[str, int], about: Mapping[str, Any]) -> None:
        names = [f"{split}.{kind}.npy" for split in SPLITS for kind in _KINDS]
        digest = hashlib.sha256("\n".join(f"{name} {sha256_of(self._folder / name)}" for name in names).encode())
        told = {
            "inputs": [item.model_dump(mode="json") for item in self._inputs],
            "table_sizes": dict(sizes),
            "sha256": digest.hexdigest(),
            "about": dict(about),
        }
        write_text(self._folder / ABOUT, json.dumps(told, indent=2) + "\n")


def _join_rare_ids(columns: dict[str, np.ndarray], name: str, is_train: np.ndarray, threshold: int) -> int:
    """Renumbers a column's ids: those frequent enough from 1 on, all others the last one; gives the table's size."""
    ids = columns[name]
    frequent = np.bincount(ids[is_train], minlength=int(ids.max()) + 1) >= threshold
    kept = int(frequent.sum())
    columns[name] = np.where(frequent, np.cumsum(frequent), kept + 1)[ids].astype(np.int32)
    return kept + 2


def _mapped(path: Path) -> np.ndarray:
    # An array without an element cannot be mapped.
    array: np.ndarray = np.load(path) if path.stat().st_size <= 128 else np.load(path, mmap_mode="r")
    return array


def _ids(inputs: Sequence[ModelInput]) -> list[ModelInput]:
    return [item for item in inputs if item.vocabulary is not None]


def _numbers(inputs: Sequence[ModelInput]) -> list[ModelInput]:
    return [item for item in inputs if item.vocabulary is None]
