"""The catalogue of a stream: items as they come, each with its newest values."""

from collections.abc import Mapping, Sequence

import numpy as np

from serving.catalogue import Catalogue, Newest, item_columns
from transforms.errors import InputError
from transforms.features import ITEM_ID, TIMESTAMP, FeatureSet
from transforms.input import parsed, serialized
from transforms.schema import parse_spec

_READ_AT_ONCE = 8192


class NewestItems:
    """Items of the rows seen so far.

    Args:
      feature_set: of the rows.
    """

    def __init__(self, feature_set: FeatureSet):
        columns = (feature_set.column(ITEM_ID), *item_columns(feature_set))
        self.names = tuple(column.name for column in columns)
        self._newest = Newest(columns)
        self._spec = parse_spec(feature_set, "row", (*self.names, TIMESTAMP))

    def take(self, columns: Mapping[str, np.ndarray]) -> None:
        """Takes rows: raw values of `names` and the timestamp, by column."""
        self._newest.take(columns[TIMESTAMP], columns)

    def read(self, files: Sequence[str], rows: int | None = None) -> None:
        """Takes the rows of raw shards, or the first so many."""
        batches = serialized(files, _READ_AT_ONCE)
        if rows is not None:
            batches = batches.unbatch().take(rows).batch(_READ_AT_ONCE)
        for batch in parsed(batches, self._spec):
            self.take({name: values.numpy() for name, values in batch.items()})

    def catalogue(self) -> Catalogue:
        """All items, sorted by id.

        Raises:
          InputError: no row had an item.
        """
        if not self._newest.slots:
            raise InputError("the stream", "no item", f"rows with an {ITEM_ID}", "look at the first span")
        return self._newest.catalogue()
