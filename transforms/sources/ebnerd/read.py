"""The Beam graph of an EB-NeRD import: files → lists by user → counts over all users → records."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsSingleton

from transforms.batches import Batch, Ragged, Values
from transforms.beam.import_dataset import ReadChunks
from transforms.beam.item_counts import CombineItemEvents, ItemCounts, ItemEvents
from transforms.errors import InputError
from transforms.features import CANDIDATE, EXPOSED, LABEL, SPLITS, Split
from transforms.sources.ebnerd.features import ArticleFeatures, UserFeatures
from transforms.sources.ebnerd.files import (
    Impressions,
    Reads,
    RowGroup,
    check_behaviors,
    check_history,
    parts_of,
    read_behaviors,
    read_history,
    row_count,
    row_groups,
    split_times,
)
from transforms.sources.ebnerd.schema import BEHAVIORS, HISTORY, EbnerdOptions

"""Older articles have this age: the history reaches back 21 days, so the cap is always reached."""


_SHARD_SECONDS = 6 * 3600
_REQUESTS_PER_SHARD = 512
"""A request record is about 40 kB, so a shard is about 20 MB."""


@dataclass(frozen=True)
class _Pairs:
    """Articles of lists: `owner` is the list's index, in order; `exposed` and `clicked` are bool."""

    owner: np.ndarray
    items: np.ndarray
    exposed: np.ndarray
    clicked: np.ndarray


class RecordBuilder:
    """Records of lists.

    Args:
      articles, users: what was known when.
      options: as of the import.
      split_times: first second of `eval` and of `test`.
    """

    def __init__(
        self, articles: ArticleFeatures, users: UserFeatures, options: EbnerdOptions, split_times: tuple[int, int]
    ):
        self._articles, self._users, self._options = articles, users, options
        self._split_times = split_times

    def batches(self, impressions: Impressions, suffix: str) -> Iterator[tuple[str, Batch]]:
        """Gives `(shard name, Batch)` of lists in order of time; names sort by time, then `suffix`."""
        slots = impressions.times // _SHARD_SECONDS
        split = np.searchsorted(self._split_times, impressions.times, "right")
        for key in np.unique(slots * len(SPLITS) + split):
            index = np.flatnonzero(slots * len(SPLITS) + split == key)
            part = impressions.take(index)
            name, chosen = f"{key // len(SPLITS):08d}-{suffix}", SPLITS[key % len(SPLITS)]
            if "row" in self._options.records and len(part.items):
                yield f"{name}-000000", self._rows(part, chosen)
            if "request" in self._options.records:
                sampled = part.take(np.flatnonzero(_sampled(part.ids, self._options)))
                for start in range(0, len(sampled), _REQUESTS_PER_SHARD):
                    piece = sampled.take(np.arange(start, min(start + _REQUESTS_PER_SHARD, len(sampled))))
                    yield f"{name}-{start:06d}", self._requests(piece, chosen)

    def _rows(self, part: Impressions, split: Split) -> Batch:
        owner = part.owner
        pairs = _Pairs(owner, part.items, np.ones(len(owner), bool), part.clicked)
        contexts = {name: _taken(values, owner) for name, values in self._contexts(part).items()}
        return Batch("row", split, contexts | self._item_columns(part, pairs))

    def _requests(self, part: Impressions, split: Split) -> Batch:
        pairs, width = self._candidates(part), self._options.list_size
        starts = np.searchsorted(pairs.owner, np.arange(len(part)))
        at = (pairs.owner, np.arange(len(pairs.owner)) - starts[pairs.owner])
        columns = self._item_columns(part, pairs)
        columns[CANDIDATE], columns[EXPOSED] = np.ones(len(pairs.owner), np.int64), pairs.exposed.astype(np.int64)
        padded = {name: _padded(name, values, at, (len(part), width)) for name, values in columns.items()}
        return Batch("request", split, self._contexts(part) | padded)

    def _contexts(self, part: Impressions) -> dict[str, Values]:
        items, offsets, size = self._users.history(part.users, part.times, self._options.history_length)
        return {
            "request_id": part.ids.astype("S"),
            "user_id": part.users.astype("S"),
            "timestamp": part.times,
            "device_type": part.devices,
            "on_article_page": part.on_page,
            "is_subscriber": part.subscriber,
            "is_sso_user": part.sso,
            "history": Ragged(items.astype("S"), offsets),
            "history_size": size,
        }

    def _item_columns(self, part: Impressions, pairs: _Pairs) -> dict[str, Values]:
        times = part.times[pairs.owner]
        buckets = times // self._options.bucket_seconds
        return {
            "item_id": pairs.items.astype("S"),
            LABEL: pairs.clicked.astype(np.float32),
            **self._articles.at(pairs.items, buckets),
            **self._users.at(part.users[pairs.owner], times, pairs.items),
        }

    def _candidates(self, part: Impressions) -> _Pairs:
        """Shown articles and the pool's most recently shown others, up to the list size, by id."""
        buckets = part.times // self._options.bucket_seconds
        owners, items = [part.owner], [part.items]
        for bucket in np.unique(buckets):
            lists = np.flatnonzero(buckets == bucket)
            row, column = _others(part.take(lists), self._articles.pool(int(bucket)), self._options.list_size)
            owners.append(lists[row])
            items.append(self._articles.pool(int(bucket))[column])
        owner, item = np.concatenate(owners), np.concatenate(items)
        exposed = np.arange(len(owner)) < len(part.items)
        clicked = np.concatenate([part.clicked, np.zeros(len(owner) - len(part.items), bool)])
        order = np.lexsort((item, owner))
        return _Pairs(owner[order], item[order], exposed[order], clicked[order])


def _others(part: Impressions, pool: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """List and pool index of the first articles of the pool that fill each list to `width`."""
    free = np.ones((len(part), len(pool)), bool)
    order = np.argsort(pool)
    place = np.minimum(np.searchsorted(pool[order], part.items), max(len(pool) - 1, 0))
    if len(pool):
        inside = pool[order][place] == part.items
        free[part.owner[inside], order[place[inside]]] = False
    room = (width - np.diff(part.offsets))[:, None]
    row, column = np.nonzero(free & (np.cumsum(free, axis=1) <= room))
    return row, column


def _sampled(ids: np.ndarray, options: EbnerdOptions) -> np.ndarray:
    with np.errstate(over="ignore"):
        bits = (ids.astype(np.uint64) + np.uint64(options.seed)) * np.uint64(0x9E3779B97F4A7C15)
    sampled: np.ndarray = (bits >> np.uint64(11)).astype(np.float64) / (1 << 53) < options.request_share
    return sampled


def _taken(values: Values, index: np.ndarray) -> Values:
    if not isinstance(values, Ragged):
        return values[index]
    lengths = np.diff(values.offsets)[index]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    flat = np.repeat(values.offsets[index] - offsets[:-1], lengths) + np.arange(offsets[-1])
    return Ragged(values.values[flat], offsets)


def _padded(name: str, values: Values, at: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind == "f":
        fill: float | bytes = 0.0 if name == LABEL else np.nan
    elif array.dtype.kind == "S":
        fill = b""
    else:
        fill = 0 if name in (CANDIDATE, EXPOSED) else -1
    padded = np.full(shape, fill, array.dtype)
    padded[at] = array
    return padded


_LISTS_PER_PARTITION = 50_000


class ReadEbnerd(beam.PTransform):
    """Gives `(shard name, Batch | InputError)` of the two files.

    Args:
      behaviors, history: the files.
      options: as of the import.
    """

    def __init__(self, behaviors: Path, history: Path, options: EbnerdOptions):
        super().__init__()
        self._behaviors, self._history, self._options = behaviors, history, options

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        partitions = -(-row_count(self._behaviors) // _LISTS_PER_PARTITION)
        lists = _parsed(root, "Behaviors", self._behaviors, _ReadLists(self._options, partitions))
        reads = _parsed(root, "History", self._history, _ReadReads(partitions))
        both = (lists, reads) | "BothFiles" >> beam.Flatten()
        seconds = self._options.bucket_seconds
        events = both | "Events" >> beam.FlatMapTuple(lambda _, table: events_of(table, seconds))
        counts = events | "Counts" >> beam.CombineGlobally(CombineItemEvents())
        build = BuildPartition(self._options, split_times(self._behaviors, self._options))
        # Errors are grouped too, and not flattened in later, so that building stays fused with writing:
        # else a runner would hold all records in memory.
        return both | "ByUser" >> beam.GroupByKey() | "Build" >> beam.ParDo(ReadChunks(build), AsSingleton(counts))


class BuildPartition:
    """Builds the records of one partition of the users.

    Args:
      options: as of the import.
      times: first second of `eval` and of `test`.
    """

    def __init__(self, options: EbnerdOptions, times: tuple[int, int]):
        self._options, self._times = options, times

    def __call__(
        self, partition: tuple[str, Iterable[Impressions | Reads | InputError]], counts: ItemCounts
    ) -> Iterator[tuple[str, Batch]]:
        """Gives the partition's batches, given the counts over all users.

        Raises:
          InputError: a file was malformed.
        """
        number, tables = partition[0], list(partition[1])
        errors = [table for table in tables if isinstance(table, InputError)]
        if errors:
            raise min(errors, key=str)
        lists = [table for table in tables if isinstance(table, Impressions)]
        if not lists:
            return
        impressions = Impressions.joined(lists)
        history = Reads.joined(table for table in tables if isinstance(table, Reads))
        articles = ArticleFeatures(counts, self._options)
        builder = RecordBuilder(articles, UserFeatures(impressions, history), self._options, self._times)
        yield from builder.batches(impressions, number)


class _ReadLists:
    def __init__(self, options: EbnerdOptions, partitions: int):
        self._list_size = options.list_size if "request" in options.records else None
        self._partitions = partitions

    def __call__(self, group: RowGroup) -> Iterator[tuple[str, Impressions]]:
        table = read_behaviors(group, self._list_size)
        yield from parts_of(table, table.users, self._partitions)


class _ReadReads:
    def __init__(self, partitions: int):
        self._partitions = partitions

    def __call__(self, group: RowGroup) -> Iterator[tuple[str, Reads]]:
        table = read_history(group)
        yield from parts_of(table, table.users, self._partitions)


def events_of(table: Impressions | Reads | InputError, bucket_seconds: int) -> list[ItemEvents]:
    """What a table adds to the counters: lists shown and clicks by the time they happened; reads only date ids."""
    if isinstance(table, InputError):
        return []
    if isinstance(table, Reads):
        none = table.items[:0]
        return [ItemEvents.of((none, none), (none, none), (table.items, table.times // bucket_seconds))]
    owner = table.owner
    shown = (table.items, table.times[owner] // bucket_seconds)
    clicked = (table.items[table.clicked], table.click_times[owner[table.clicked]] // bucket_seconds)
    return [ItemEvents.of(shown, clicked, (table.items[:0], table.items[:0]))]


def _parsed(root: beam.Pipeline, name: str, path: Path, reader: Any) -> beam.PCollection:
    return root | name >> beam.Create(row_groups(path)) | f"Read{name}" >> beam.ParDo(ReadChunks(reader))


def check(input_dir: str | os.PathLike[str], options: EbnerdOptions) -> None:
    """Looks at the columns of both files, and at the time range of the impressions.

    Raises:
      InputError: what is wrong.
    """
    check_behaviors(_input_file(input_dir, BEHAVIORS))
    check_history(_input_file(input_dir, HISTORY))
    split_times(_input_file(input_dir, BEHAVIORS), options)


def read(input_dir: str | os.PathLike[str], options: EbnerdOptions) -> "ReadEbnerd":
    """Returns the Beam transform that reads a folder."""
    return ReadEbnerd(_input_file(input_dir, BEHAVIORS), _input_file(input_dir, HISTORY), options)


def origin(input_dir: str | os.PathLike[str], options: EbnerdOptions) -> dict[str, Any]:
    """Returns the names of the files."""
    return {"files": [BEHAVIORS, HISTORY]}


def _input_file(input_dir: str | os.PathLike[str], name: str) -> Path:
    path = Path(input_dir) / name
    if not path.is_file():
        raise InputError(str(path), "no such file", f"{BEHAVIORS} and {HISTORY} in one directory", "correct --input")
    return path
