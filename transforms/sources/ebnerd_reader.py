"""The Beam graph of an EB-NeRD import: files → lists by user → counts over all users → records."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton

from transforms.batches import Batch
from transforms.beam.import_dataset import ReadChunks
from transforms.beam.item_counts import CombineItemEvents, ItemCounts, ItemEvents
from transforms.errors import InputError
from transforms.sources.ebnerd_features import ArticleFeatures, UserFeatures
from transforms.sources.ebnerd_files import RowGroup, read_behaviors, read_history, row_count, row_groups, split_times
from transforms.sources.ebnerd_options import EbnerdOptions
from transforms.sources.ebnerd_records import RecordBuilder
from transforms.sources.ebnerd_tables import Impressions, Reads, parts_of

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
