"""A simulated click log's records: rows of `ClickLogWorld` with the truth beside them.

No raw files and no licence to mind. Splits are at random 8:1:1, as papers have it on Criteo and Avazu.
"""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from evaluation.pointwise import auc
from simulation.ctr_world import ClickLogWorld, Columns
from simulation.parameters import TRUTH, ClickLogParameters, check_size
from transforms.arrow import pa, pc
from transforms.batches import Batch, Values
from transforms.features import LABEL, SPLITS, Column, Encoding, Feature, FeatureSet, Split, Vocabulary
from transforms.portable_math import exp, log, total
from transforms.portable_random import SIMULATOR_VERSION
from transforms.records import Dataset, load_dataset
from transforms.splits import random_splits
from transforms.writing import write_dataset

NAME = "ctr_simulator"
VOCABULARY = "ctr"
FREQUENCY_THRESHOLD = 2
"""As Avazu_x4 has it: an id seen once in the training split is out of vocabulary."""
NUMBER_MEAN_LOG, NUMBER_SPREAD = 4.0, 0.8
"""A number n of the world is written as a count-like x with ln(1 + x) = 4 + 0.8 n."""
SHARD_BLOCKS = 4
_SECONDS_PER_DAY = 86_400.0

_HEX_PAIRS = np.array([f"{value:02x}" for value in range(256)], "S2").view(np.uint16)

Progress = Callable[[int, int], None]
Tokens = dict[str, pa.Array]


def feature_set(parameters: ClickLogParameters) -> FeatureSet:
    """What the records hold, and what models see of them: never `true_click_probability`."""
    categories, numbers = [category.name for category in parameters.categories], parameters.numbers
    return FeatureSet(
        columns=(
            *(Column(name=name, dtype="string", entity="context") for name in categories),
            *(Column(name=name, dtype="float", entity="context") for name in numbers),
            Column(name=TRUTH, dtype="float", entity="item", min_value=0.0, max_value=1.0, model_input=False),
        ),
        features=(
            *(Feature(name=name, encoding=Encoding.ID, vocabulary=VOCABULARY) for name in categories),
            *(Feature(name=name, encoding=Encoding.LOG_ZSCORE) for name in numbers),
        ),
        vocabularies=(Vocabulary(name=VOCABULARY, prefix=True, frequency_threshold=FREQUENCY_THRESHOLD),),
    )


def simulate(
    out: str | os.PathLike[str],
    parameters: ClickLogParameters,
    rows: int,
    seed: int,
    progress: Progress | None = None,
) -> Dataset:
    """Writes a simulated click log as row records.

    The rows are those of `ClickLogWorld(parameters, seed).sample(rows, seed)`: categories as 8 hex
    digits, numbers in a count's scale. The same parameters, rows and seed give the same directory, byte for
    byte. `notes` of its `dataset.json` hold, for each split, the click rate and the oracle's AUC and log loss.

    Args:
      out: the dataset's folder; must be new or empty.
      parameters: of the world, e.g. from `load_click_world`.
      rows: rows in the log, 1 or more.
      seed: of the truth, the rows and their split; 0 or more.
      progress: called with the rows done and the rows in all, after each shard.

    Returns:
      The dataset that was written.

    Raises:
      InputError: `rows` or `seed` is too small, or `out` is in use; nothing is left behind.
    """
    check_size("rows", rows, seed)
    figures = _Figures()
    origin = {"source": NAME, "simulator_version": SIMULATOR_VERSION, "seed": seed, "rows": rows}
    origin |= {"world": parameters.model_dump(mode="json")}
    batches = _batches(ClickLogWorld(parameters, seed), rows, seed, figures, progress)
    write_dataset(batches, out, NAME, feature_set(parameters), origin, figures.notes)
    return load_dataset(out)


def _batches(
    world: ClickLogWorld, rows: int, seed: int, figures: "_Figures", progress: Progress | None
) -> Iterator[Batch]:
    tokens, start, blocks = _tokens(world.parameters), 0, world.blocks(rows, seed)
    while shard := list(islice(blocks, SHARD_BLOCKS)):
        drawn = {name: np.concatenate([block[name] for block in shard]) for name in shard[0]}
        ordinals = start + np.arange(len(drawn[LABEL]), dtype=np.int64)
        chosen = random_splits(ordinals, seed)
        for index, split in enumerate(SPLITS):
            mask = chosen == index
            picked = {name: values[mask] for name, values in drawn.items()}
            figures.add(split, picked)
            yield Batch("row", split, _columns(world.parameters, tokens, picked, ordinals[mask], rows))
        start += len(ordinals)
        if progress is not None:
            progress(start, rows)


def _columns(
    parameters: ClickLogParameters, tokens: Tokens, drawn: Columns, ordinals: np.ndarray, rows: int
) -> dict[str, Values]:
    empty = np.full(len(ordinals), b"", "S1")
    numbers = pc.utf8_lpad(pa.array(ordinals).cast(pa.string()), width=9, padding="0")
    moment = ordinals * (parameters.days * _SECONDS_PER_DAY) / rows
    columns: dict[str, Values] = {
        "request_id": pc.binary_join_element_wise(pa.scalar("r"), numbers, ""),
        "user_id": empty,
        "item_id": empty,
        "timestamp": parameters.start_timestamp + moment.astype(np.int64),
        LABEL: drawn[LABEL],
        TRUTH: drawn[TRUTH],
    }
    columns |= {name: texts.take(pa.array(drawn[name])) for name, texts in tokens.items()}
    return columns | {name: _count_like(drawn[name]) for name in parameters.numbers}


def _count_like(standardized: np.ndarray) -> np.ndarray:
    """The number whose signed logarithm, sign(x) ln(1 + |x|), is 4 + 0.8 n."""
    logarithm = NUMBER_MEAN_LOG + NUMBER_SPREAD * standardized.astype(np.float64)
    counts: np.ndarray = (np.sign(logarithm) * (exp(np.abs(logarithm)) - 1.0)).astype(np.float32)
    return counts


def _tokens(parameters: ClickLogParameters) -> Tokens:
    """By category the text of each id, 8 hex digits; id 0 is never drawn."""
    return {
        category.name: hex_text(_scrambled(np.arange(category.ids + 1, dtype=np.uint64), field))
        for field, category in enumerate(parameters.categories)
    }


def hex_text(values: np.ndarray) -> pa.Array:
    """The low 32 bits of each number as 8 hex digits."""
    pairs = _HEX_PAIRS[values.astype(np.uint32).astype(">u4").view(np.uint8)]
    offsets = np.arange(len(values) + 1, dtype=np.int32) * 8
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(pairs)))


def _scrambled(ids: np.ndarray, field: int) -> np.ndarray:
    """One-to-one on 32 bits, so that no two ids of a field share a token and no token shows its rank."""
    low = np.uint64(0xFFFFFFFF)
    bits = (ids + np.uint64((field + 1) * 0x9E3779B9 & 0xFFFFFFFF)) & low
    for shift, multiplier in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits = ((bits ^ (bits >> np.uint64(shift))) * np.uint64(multiplier)) & low
    scrambled: np.ndarray = bits ^ (bits >> np.uint64(16))
    return scrambled


class _Figures:
    """Collects labels and truths, split by split: 8 bytes a row."""

    def __init__(self) -> None:
        self._parts: dict[Split, list[tuple[np.ndarray, np.ndarray]]] = {}

    def add(self, split: Split, rows: Columns) -> None:
        if len(rows[LABEL]):
            self._parts.setdefault(split, []).append((rows[LABEL], rows[TRUTH]))

    def notes(self) -> dict[str, Any]:
        """`{"row": {split: figures}}`; the oracle's AUC is None where all labels are equal."""
        return {"row": {split: _figures(self._parts[split]) for split in SPLITS if split in self._parts}}


def _figures(parts: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float | None]:
    label, truth = (np.concatenate(values) for values in zip(*parts, strict=True))
    of_label = np.where(label == 1, truth, 1.0 - truth.astype(np.float64))
    return {
        "click_rate": np.count_nonzero(label) / len(label),
        "oracle_auc": auc(label, truth),
        "oracle_logloss": float(-total(log(of_label)) / len(label)),
    }
