"""The Beam graph of a RecFlow import: each day alone, piece by piece."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np

from transforms.batches import Batch, Ragged, Values, rows_of
from transforms.beam.import_dataset import ReadChunks
from transforms.errors import InputError
from transforms.features import CANDIDATE, EXPOSED, LABEL, MISSING_INT, Split
from transforms.sources.recflow.files import (
    ROWS_PER_PIECE,
    Histories,
    Rows,
    check_day,
    feather_path,
    history_path,
    id_limits,
    pieces,
    split_days,
)
from transforms.sources.recflow.schema import (
    CATEGORY_ONE_PADDING,
    EXPOSED_STAGE,
    HISTORY_IDS,
    ITEM_IDS,
    RANKS,
    STAGES,
    USER_IDS,
    UTC_OFFSET,
    RecflowOptions,
)
from transforms.splits import mixed_bits


def chosen_candidates(
    owner: np.ndarray, request_id: np.ndarray, item: np.ndarray, stage: np.ndarray, list_size: int, seed: int
) -> np.ndarray:
    """Marks the items of each request that are kept; bool [n].

    All shown items, then one of each other stage in turn, the latest stage first, until the list is full
    or no item is left: each stage gives equally many, as far as it has them. Within a stage the choice is
    random, by the seed, the request's and the item's id alone, so the order of rows does not matter.

    Args:
      owner: int64 [n], the request of each item, by index.
      request_id, item: int64 [n], ids.
      stage: int64 [n], values of `STAGES`.
      list_size: M; shown items beyond it are cut too, so check them before.
      seed: of the choice, 0 or more.
    """
    order = np.lexsort((_random_bits(request_id, item, seed), stage, owner))
    starts = _starts(owner[order], stage[order])
    turn = np.empty(len(owner), np.int64)
    turn[order] = np.arange(len(owner)) - starts
    turn[stage == EXPOSED_STAGE] = -1
    order = np.lexsort((item, -stage, turn, owner))
    kept = np.empty(len(owner), bool)
    kept[order] = np.arange(len(owner)) - _starts(owner[order]) < list_size
    return kept


def _starts(*keys: np.ndarray) -> np.ndarray:
    """Index of the first element of each element's run of equal keys."""
    first = np.ones(len(keys[0]), bool)
    first[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))


def _random_bits(request_id: np.ndarray, item: np.ndarray, seed: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        start = mixed_bits(request_id.astype(np.uint64) + np.uint64(seed * 0xD1B54A32D192ED03 % (1 << 64)))
        return mixed_bits((item.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + start)


REQUESTS_PER_BATCH = 2048
"""A request of 128 candidates takes about 15 kB, so a shard about 30 MB."""
_REQUEST_COLUMNS = ("request_timestamp", "user_id", *USER_IDS)


class RecordBuilder:
    """Records of one day.

    Args:
      path: the feather file, for messages.
      split: of the day.
      histories: of the day.
      options: as of the import.
    """

    def __init__(self, path: Path, split: Split, histories: Histories, options: RecflowOptions):
        self._path, self._split, self._histories, self._options = path, split, histories, options
        self._seen: set[int] = set()

    def batches(self, rows: Rows) -> Iterator[Batch]:
        """Gives the records of whole requests, in order of time.

        Raises:
          InputError: a request has two users or two times, or more shown items than fit.
        """
        rows = _sorted(rows)
        self._check_constants(rows)
        rows = _merged(rows)
        starts = np.flatnonzero(np.diff(rows["request_id"], prepend=-1))
        self._check_requests(rows, starts)
        order = np.lexsort((rows["request_id"][starts], rows["request_timestamp"][starts]))
        ends = np.append(starts[1:], len(rows["request_id"]))
        for first in range(0, len(order), REQUESTS_PER_BATCH):
            part = order[first : first + REQUESTS_PER_BATCH]
            index = np.concatenate([np.arange(starts[i], ends[i]) for i in part])
            owner = np.repeat(np.arange(len(part)), ends[part] - starts[part])
            yield from self._records({name: values[index] for name, values in rows.items()}, owner)

    def _check_constants(self, rows: Rows) -> None:
        """One user and one time a request; `rows` in order of request."""
        same = np.diff(rows["request_id"]) == 0
        for name in _REQUEST_COLUMNS:
            bad = same & (np.diff(rows[name]) != 0)
            if bad.any():
                first = int(np.argmax(bad))
                received = f"{name} {rows[name][first]} and {rows[name][first + 1]}"
                self._refuse(rows["request_id"][first], received, f"one {name} a request")

    def _check_requests(self, rows: Rows, starts: np.ndarray) -> None:
        requests = rows["request_id"][starts]
        again = self._seen.intersection(requests.tolist())
        if again:
            self._refuse(min(again), "two values of request_timestamp", "one request_timestamp a request")
        self._seen.update(requests.tolist())
        shown = np.add.reduceat(rows["realshow"], starts)
        if shown.max() > self._options.list_size:
            first = int(np.argmax(shown))
            expected = f"at most list_size = {self._options.list_size}"
            self._refuse(
                requests[first], f"{shown[first]} shown items", expected, f"choose list_size={shown[first]} or more"
            )

    def _refuse(self, request: int, received: str, expected: str, fix: str = "repair or remove the request") -> None:
        raise InputError(f"{self._path}, request {request}", received, expected, fix)

    def _records(self, rows: Rows, owner: np.ndarray) -> Iterator[Batch]:
        options = self._options
        stage = np.max([rows[name] * value for name, value in STAGES.items()], axis=0)
        kept = chosen_candidates(owner, rows["request_id"], rows["video_id"], stage, options.list_size, options.seed)
        firsts = np.searchsorted(owner, np.arange(owner[-1] + 1))
        contexts = self._contexts({name: values[firsts] for name, values in rows.items()})
        columns = _item_columns({name: values[kept] for name, values in rows.items()}, stage[kept], options.label)
        owner = owner[kept]
        place = np.arange(len(owner)) - np.searchsorted(owner, owner)
        shape = (len(firsts), options.list_size)
        padded = {name: _padded(name, values, (owner, place), shape) for name, values in columns.items()}
        requests = Batch("request", self._split, contexts | padded)
        if "request" in options.records:
            yield requests
        if "row" in options.records:
            yield rows_of(requests)

    def _contexts(self, requests: Rows) -> dict[str, Values]:
        milliseconds = requests["request_timestamp"]
        history = self._histories.before(requests["request_id"], milliseconds, self._options.history_length)
        seconds = milliseconds // 1000
        columns: dict[str, Values] = {
            "request_id": requests["request_id"].astype("S"),
            "user_id": requests["user_id"].astype("S"),
            "timestamp": seconds,
            "request_local_time": seconds + UTC_OFFSET,
            "request_minute": seconds // 60 % 60,
            "history_item_id": Ragged(history.columns["video_id"].astype("S"), history.offsets),
        }
        columns |= {name: requests[name] for name in USER_IDS}
        return columns | {
            f"history_{name}": Ragged(_ids(name, history.columns[name]), history.offsets) for name in HISTORY_IDS
        }


def _sorted(rows: Rows) -> Rows:
    order = np.lexsort((rows["video_id"], rows["request_id"]))
    return {name: values[order] for name, values in rows.items()}


def _merged(rows: Rows) -> Rows:
    """Sorted rows, each pair of request and video once: flags, label and ranks of repeated rows are united."""
    different = [np.diff(rows[name], prepend=-1) != 0 for name in ("request_id", "video_id")]
    starts = np.flatnonzero(different[0] | different[1])
    if len(starts) == len(different[0]):
        return rows
    return {name: np.maximum.reduceat(values, starts) for name, values in rows.items()}


def _ids(name: str, values: np.ndarray) -> np.ndarray:
    return np.where(values == CATEGORY_ONE_PADDING, MISSING_INT, values) if name == "category_level_one" else values


def _item_columns(rows: Rows, stage: np.ndarray, label: str) -> dict[str, np.ndarray]:
    uploaded = rows["upload_timestamp"]
    known = uploaded > 0
    seconds = rows["request_timestamp"] // 1000
    shown = stage == EXPOSED_STAGE
    # Clocks differ: a video can seem younger than nothing.
    age = np.where(known, np.maximum(seconds - uploaded, 0) / 3600, np.nan)
    return {
        "item_id": rows["video_id"].astype("S"),
        **{name: _ids(name, rows[name]) for name in ITEM_IDS},
        "upload_local_time": np.where(known, uploaded + UTC_OFFSET, MISSING_INT),
        "upload_minute": np.where(known, uploaded // 60 % 60, MISSING_INT),
        "duration_ms": rows["duration"],
        "video_age_hours": age.astype(np.float32),
        "stage": stage,
        "rank_pos": rows["rank_pos"],
        "rerank_pos": rows["rerank_pos"],
        **{name: rows[name] for name in RANKS},
        LABEL: np.where(shown, rows[label], 0).astype(np.float32),
        CANDIDATE: np.ones(len(stage), np.int64),
        EXPOSED: shown.astype(np.int64),
    }


_ZERO_PADDED = (LABEL, CANDIDATE, EXPOSED, "stage", "rank_pos", "rerank_pos")


def _padded(name: str, values: np.ndarray, at: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    markers: dict[str, object] = {"f": np.nan, "S": b"", "i": MISSING_INT}
    padded = np.full(shape, 0 if name in _ZERO_PADDED else markers[values.dtype.kind], values.dtype)
    padded[at] = values
    return padded


class ReadDay:
    """Reads one day: its histories are in memory whole, its rows by pieces.

    Args:
      input_dir: the folder.
      options: as of the import.
      rows_per_piece: rows in memory at once, about.
    """

    def __init__(self, input_dir: str, options: RecflowOptions, rows_per_piece: int = ROWS_PER_PIECE):
        self._input_dir, self._options, self._rows_per_piece = input_dir, options, rows_per_piece

    def __call__(self, day_and_split: tuple[str, Split]) -> Iterator[tuple[str, Batch]]:
        """Gives the day's batches; names sort by time.

        Raises:
          InputError: a file was malformed.
        """
        day, split = day_and_split
        path = feather_path(self._input_dir, day, self._options)
        histories = Histories(history_path(self._input_dir, day))
        builder = RecordBuilder(path, split, histories, self._options)
        limits = id_limits(self._input_dir)
        for number, rows in enumerate(pieces(path, day, self._options, limits, self._rows_per_piece)):
            for index, batch in enumerate(builder.batches(rows)):
                yield f"{day}-{number:05d}-{index:05d}", batch
        histories.check_used()


def check(input_dir: str | os.PathLike[str], options: RecflowOptions) -> None:
    """Looks at the columns of every file of the chosen days.

    Raises:
      InputError: what is wrong.
    """
    days = split_days(input_dir, options)
    id_limits(input_dir)
    for day in days:
        check_day(input_dir, day, options)


def read(input_dir: str | os.PathLike[str], options: RecflowOptions) -> beam.PTransform:
    """Returns the Beam transform that reads a folder."""
    days = list(split_days(input_dir, options).items())
    # A day's histories are one pickle, so a day is the smallest piece of work that a worker can take.
    spread = "Days" >> beam.Create(days) | "Spread" >> beam.Reshuffle()
    return spread | "Read" >> beam.ParDo(ReadChunks(ReadDay(os.fspath(input_dir), options)))


def origin(input_dir: str | os.PathLike[str], options: RecflowOptions) -> dict[str, Any]:
    """Returns the days with their splits."""
    return {"days": split_days(input_dir, options)}
