"""Tables of BigQuery as logs: Beam exports them, and batches of records take the place of a file's chunks."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from transforms.arrow import pa
from transforms.errors import InputError
from transforms.sources.table.formats import RawRows, from_records

ToRows = Callable[[RawRows, int, str], pa.Table]


def read_bigquery(tables: Sequence[str], to_rows: ToRows) -> beam.PTransform:
    """Returns a root transform that reads tables, `project.dataset.table`, and gives their rows as `pa.Table`s.

    BigQuery has no order of rows: those of one moment are put into order by a hash of their content.

    Args:
      tables: their names.
      to_rows: from raw records, number and name of the table to rows.
    """
    return _ReadBigQuery(tuple(tables), to_rows)


class _ReadBigQuery(beam.PTransform):
    def __init__(self, tables: tuple[str, ...], to_rows: ToRows):
        super().__init__()
        self._tables, self._to_rows = tables, to_rows

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        read = []
        for number, name in enumerate(self._tables):
            project, dataset, table = check_name(name)
            rows = root | f"Read {name}" >> beam.io.ReadFromBigQuery(project=project, dataset=dataset, table=table)
            batches = rows | f"Batch {name}" >> beam.BatchElements(min_batch_size=1000, max_batch_size=50_000)
            read.append(batches | f"Rows {name}" >> beam.ParDo(_ToTable(number, name, self._to_rows)))
        return read | beam.Flatten()


class _ToTable(beam.DoFn):
    def __init__(self, number: int, name: str, to_rows: ToRows):
        self._number, self._name, self._to_rows = number, name, to_rows

    def process(self, records: list[dict[str, Any]]) -> Iterator[pa.Table | InputError]:
        try:
            yield to_table(records, self._number, self._name, self._to_rows)
        except InputError as error:
            yield error


def to_table(records: list[dict[str, Any]], number: int, name: str, to_rows: ToRows) -> pa.Table:
    """Returns rows of records of the table of that number and name.

    Raises:
      InputError: a value is not what the declaration says.
    """
    order = np.array([_hash(record) for record in records], np.int64)
    return to_rows(RawRows(from_records(records, ()), order, lambda row: f"{name}, a record"), number, name)


def _hash(record: dict[str, Any]) -> int:
    text = json.dumps(record, sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:5], "big")


def check_name(name: str) -> list[str]:
    """Returns project, dataset and table.

    Raises:
      InputError: the name has other parts.
    """
    parts = name.split(".")
    if len(parts) != 3:
        raise InputError(f"files {name!r}", "a name of other parts", "project.dataset.table", "name the table whole")
    return parts
