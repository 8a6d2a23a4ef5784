"""The simulator's records: a log of `CascadeWorld` with the truth beside it.

No raw files and no licence to mind. Splits are by time: the first 80 % of the requests are `train`,
the next 10 % `eval`, the last 10 % `test`.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from evaluation.pointwise import auc
from simulation.cascade import EXPOSED, PRERANKED
from simulation.cascade_world import Block, CascadeWorld
from simulation.parameters import World, check_size
from transforms.batches import Batch, Ragged, Values, joined, rows_of
from transforms.features import MISSING_INT, MISSING_STRING, SPLITS, Column, Encoding, Feature, FeatureSet, Split
from transforms.portable_random import SIMULATOR_VERSION
from transforms.records import Dataset, load_dataset
from transforms.sources.options import simulated_columns
from transforms.splits import SPLIT_ENDS
from transforms.writing import write_dataset

NAME = "simulator"
SHARD_CANDIDATES = 400_000
"""Candidates in a shard of requests, about: a shard is not cut within a block."""

Progress = Callable[[int, int], None]


def feature_set(world: World) -> FeatureSet:
    """What the simulated records hold, and what models see of them.

    Counters and histories hold what happened in earlier blocks of requests only. `logging_score`,
    `stage` (1 pre-ranked, 2 ranked, 3 exposed), `position` (1 = top, 0 = not shown) and
    `true_click_probability` are never model inputs.
    """
    return FeatureSet(columns=_columns(world), features=_features(), list_size=world.candidates, requires_item_id=True)


def _columns(world: World) -> tuple[Column, ...]:
    return (
        Column(name="user_segment", dtype="string", entity="user"),
        Column(name="user_age_bucket", dtype="int64", entity="user", min_value=0),
        Column(name="device", dtype="string", entity="context"),
        Column(
            name="history_item_id",
            dtype="string",
            entity="user",
            variable_length=True,
            max_length=world.history_length,
        ),
        Column(name="item_category", dtype="string", entity="item"),
        Column(name="item_age_hours", dtype="float", entity="item", min_value=0.0),
        # Padding holds -1, the marker of a missing number.
        Column(name="item_impressions_so_far", dtype="int64", entity="item", min_value=-1),
        Column(name="item_clicks_so_far", dtype="int64", entity="item", min_value=-1),
        Column(name="item_price", dtype="float", entity="item", min_value=0.0),
        *simulated_columns(world.exposed_items),
    )


def _features() -> tuple[Feature, ...]:
    return (
        Feature(name="user_id", encoding=Encoding.ID),
        Feature(name="user_segment", encoding=Encoding.ID),
        Feature(name="user_age_bucket", encoding=Encoding.ID),
        Feature(name="device", encoding=Encoding.ID),
        Feature(name="hour_of_day", encoding=Encoding.HOUR_OF_DAY, column="timestamp"),
        Feature(name="day_of_week", encoding=Encoding.DAY_OF_WEEK, column="timestamp"),
        Feature(name="history_item_id", encoding=Encoding.ID, vocabulary="item_id"),
        Feature(name="item_id", encoding=Encoding.ID),
        Feature(name="item_category", encoding=Encoding.ID),
        Feature(name="item_age_hours", encoding=Encoding.LOG_ZSCORE),
        Feature(name="item_impressions_so_far", encoding=Encoding.LOG_ZSCORE),
        Feature(name="item_clicks_so_far", encoding=Encoding.LOG_ZSCORE),
        Feature(name="item_price", encoding=Encoding.LOG_ZSCORE),
    )


def simulate(
    out: str | os.PathLike[str], world: World, requests: int, seed: int, progress: Progress | None = None
) -> Dataset:
    """Writes a simulated log as request records and as row records, one for each impression.

    The same world, requests and seed give the same directory, byte for byte. `notes` of its
    `dataset.json` hold, for each split, the candidates, the click rate, the oracle's AUC and the logging policy's.

    Args:
      out: the dataset's folder; must be new or empty.
      world: the parameters, e.g. from `load_world`.
      requests: requests in the log, 1 or more.
      seed: of every random draw, 0 or more.
      progress: called with the requests done and the requests in all, after each block.

    Returns:
      The dataset that was written.

    Raises:
      InputError: `requests` or `seed` is too small, or `out` is in use; nothing is left behind.
    """
    check_size("requests", requests, seed)
    figures = Figures()
    batches = _batches(CascadeWorld(world, requests, seed), requests, figures, progress)
    origin = {"source": NAME, "simulator_version": SIMULATOR_VERSION, "seed": seed, "requests": requests}
    origin |= {"world": world.model_dump(mode="json")}
    write_dataset(batches, out, NAME, feature_set(world), origin, figures.notes)
    return load_dataset(out)


def _batches(
    cascade_world: CascadeWorld, requests: int, figures: "Figures", progress: Progress | None
) -> Iterator[Batch]:
    columns, block_requests = Columns(cascade_world), cascade_world.world.block_requests
    shard_requests = SHARD_CANDIDATES // cascade_world.world.candidates
    for split, start, stop in parts_of_log(requests, max(shard_requests // block_requests, 1) * block_requests):
        blocks = []
        for done in range(start, stop, block_requests):
            end = min(done + block_requests, stop)
            blocks.append(columns.requests(cascade_world.answer(end - done), split))
            if progress is not None:
                progress(end, requests)
        shard = joined(blocks)
        rows = rows_of(shard)
        figures.add(rows, int(np.asarray(shard.columns["candidate"]).sum()))
        yield shard
        yield rows


def parts_of_log(requests: int, size: int) -> Iterator[tuple[Split, int, int]]:
    """Yields split, first request and end of each part of `size` requests; a split's last one may be short.

    A log is simulated in parts of `World.block_requests`, and written in shards of whole parts.
    """
    start = 0
    for split, share in zip(SPLITS, SPLIT_ENDS, strict=True):
        # A log of a request or two still has something to train on.
        stop = max(round(requests * share), 1)
        for first in range(start, stop, size):
            yield split, first, min(first + size, stop)
        start = stop


DEVICES = np.array([b"desktop", b"mobile"])
USER_COLUMNS = ("user_id", "user_segment", "user_age_bucket")
CONTEXT_COLUMNS = ("request_id", "timestamp", "device")
HISTORY = "history_item_id"


class Columns:
    """Names the members of one world, once, and turns its blocks into batches.

    Tables of items end with the marker of a missing value, which the index of padding (-1) finds.
    """

    def __init__(self, cascade_world: CascadeWorld):
        world, users, items = cascade_world.world, cascade_world.users, cascade_world.items
        self._start = world.start_timestamp
        self._user_id = user_names(world)
        self._segment = _names("s", world.segments)[users.segment]
        self._age_bucket = users.age_bucket
        self._item_id = np.append(item_names(world), MISSING_STRING)
        self._category = np.append(_names("c", world.categories)[items.category], MISSING_STRING)
        self._price = np.append(items.price, np.float32(np.nan))

    def requests(self, block: Block, split: Split) -> Batch:
        """One record for each request of the block."""
        user, outcome = block.requests.user, block.outcome
        real = outcome.stage >= PRERANKED
        numbers = range(block.first, block.first + len(user))
        columns: dict[str, Values] = {
            "request_id": np.array([b"r%09d" % number for number in numbers]),
            "user_id": self._user_id[user],
            "user_segment": self._segment[user],
            "user_age_bucket": self._age_bucket[user],
            "device": DEVICES[block.requests.mobile],
            "timestamp": self._start + block.requests.moment,
            HISTORY: Ragged(self._item_id[block.histories.items], block.histories.offsets),
            "item_id": self._item_id[block.item],
            "item_category": self._category[block.item],
            "item_price": self._price[block.item],
            "item_age_hours": np.where(real, block.age_hours, np.float32(np.nan)),
            "item_impressions_so_far": np.where(real, block.impressions, MISSING_INT),
            "item_clicks_so_far": np.where(real, block.clicks, MISSING_INT),
            "label": block.label,
            "candidate": real,
            "exposed": outcome.stage == EXPOSED,
            "stage": outcome.stage,
            "position": outcome.position,
            "logging_score": outcome.score,
            "true_click_probability": block.probability,
        }
        return Batch("request", split, columns)


def user_names(world: World) -> np.ndarray:
    """Returns the ids of users, by their index."""
    return _names("u", world.users)


def item_names(world: World) -> np.ndarray:
    """Returns the ids of items, by their index, which is also their order."""
    return _names("i", world.items)


def _names(letter: str, size: int) -> np.ndarray:
    width = len(str(size - 1))
    return np.array([f"{letter}{number:0{width}d}".encode() for number in range(size)])


_COLUMNS = ("label", "true_click_probability", "logging_score")


class Figures:
    """Collects exposed impressions and counts candidates, split by split."""

    def __init__(self) -> None:
        self._parts: dict[Split, list[list[np.ndarray]]] = {}
        self._candidates: dict[Split, int] = {}

    def add(self, rows: Batch, candidates: int) -> None:
        """Takes in a batch of row records, and the number of candidates of the requests they come from."""
        self._parts.setdefault(rows.split, []).append([np.asarray(rows.columns[name]) for name in _COLUMNS])
        self._candidates[rows.split] = self._candidates.get(rows.split, 0) + candidates

    def notes(self) -> dict[str, Any]:
        """`{"row": {split: figures}, "request": {split: {"candidates": count}}}`.

        Figures of rows are the click rate, and the AUC against the labels of the true click
        probability (the oracle) and of the logging score; None where all labels are equal.
        """
        present = [split for split in SPLITS if split in self._parts]
        return {
            "row": {split: _figures(self._parts[split]) for split in present},
            "request": {split: {"candidates": self._candidates[split]} for split in present},
        }


def _figures(parts: list[list[np.ndarray]]) -> dict[str, float | None]:
    label, probability, score = (np.concatenate(values) for values in zip(*parts, strict=True))
    return {
        "click_rate": np.count_nonzero(label) / len(label) if len(label) else None,
        "oracle_auc": auc(label, probability),
        "logging_policy_auc": auc(label, score),
    }
