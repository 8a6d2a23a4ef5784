"""What tables of items say at some time: also of items that no record has."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from transforms.errors import InputError
from transforms.features import ITEM_ID, MISSING_INT, TIMESTAMP, FeatureSet
from transforms.input import parsed, serialized
from transforms.records import Items
from transforms.schema import tf_dtype

_READ_AT_ONCE, _DAY = 8192, 86_400


class KnownItems:
    """Tables of items in memory, those of several datasets one after the other.

    Args:
      feature_set: the columns of the records.
    """

    def __init__(self, feature_set: FeatureSet):
        self._feature_set = feature_set
        self._tables: list[_Rows] = []
        self.unseen: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._tables)

    def add(self, items: Items | None) -> None:
        """Reads the tables of a dataset, with full paths as `items_in` gives them.

        Raises:
          InputError: a shard is missing or damaged.
        """
        if items is None:
            return
        self.unseen |= items.unseen
        for name, table in items.tables.items():
            files = [shard.path for shard in table.shards]
            spec = {
                column.name: tf.io.FixedLenFeature([] if column.width is None else [column.width], tf_dtype(column))
                for column in items.columns_of(name, self._feature_set)
            }
            try:
                batches = [
                    {name: value.numpy() for name, value in batch.items()}
                    for batch in (parsed(serialized(files, _READ_AT_ONCE), spec) if files else ())
                ]
            except (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
                expected, fix = "whole rows of a table of items", "make the dataset again"
                raise InputError(", ".join(map(os.fspath, files)), error.message, expected, fix) from error
            if batches:
                columns = {name: np.concatenate([batch[name] for batch in batches]) for name in spec}
                self._tables.append(_Rows(columns, table.times))

    def at(self, now: int, until: int | None = None) -> Sequence[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Returns of each table its ids, each once, and the columns of their rows, the ids among them.

        Of the rows of an item it is the latest one that holds before `now` or, of an item that is known only later,
        its first one.

        Args:
          now: a time; dates count as days to it.
          until: rows from later on are left out; None: the latest row of all is taken, whatever `now` is.
        """
        return [rows.at(now, until) for rows in self._tables]


class _Rows:
    def __init__(self, columns: dict[str, np.ndarray], times: Sequence[str]):
        self._ids = columns[ITEM_ID]
        begins = columns.get(TIMESTAMP, np.full(len(self._ids), np.iinfo(np.int64).min))
        self._order = np.argsort(begins, kind="stable")
        self._begins, self._times = begins, times
        self._columns = {name: values for name, values in columns.items() if name not in (ITEM_ID, TIMESTAMP)}

    def at(self, now: int, until: int | None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        order, begins = self._order, self._begins[self._order]
        known = order if until is None else order[begins < now]
        later = order[:0] if until is None else order[(begins >= now) & (begins <= until)]
        # The first of equal ids counts: of what is known the last row, then of what comes later the first one.
        chosen = np.concatenate([known[::-1], later])
        ids, first = np.unique(self._ids[chosen], return_index=True)
        rows = chosen[first]
        columns = {ITEM_ID: ids} | {name: values[rows] for name, values in self._columns.items()}
        for name in self._times:
            days = (now - columns[name]) / _DAY
            columns[name] = np.where(columns[name] == MISSING_INT, np.nan, days).astype(np.float32)
        return ids, columns
