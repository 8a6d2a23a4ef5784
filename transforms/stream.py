"""Raw records through the learned transform as they come, in their order: for what must not see the future."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import tensorflow as tf
import tensorflow_transform as tft

from transforms.errors import InputError
from transforms.features import LABEL, TIMESTAMP, WEIGHT, FeatureSet
from transforms.input import Features, parsed, serialized
from transforms.records import SplitInfo
from transforms.schema import parse_spec


class RowFeatures(Protocol):
    """Features that something besides the learned transform makes of raw rows, such as a frozen ranker."""

    @property
    def columns(self) -> Sequence[str]:
        """The raw columns that it reads."""

    @property
    def compute(self) -> Callable[[Features], Features]:
        """Returns features by name for a batch of raw rows."""


class RowEncoder:
    """What the learned transform makes of raw rows: all model inputs, `label`, the raw `timestamp` and sample weights.

    Args:
      transform: learned.
      feature_set: the declaration.
      also: further raw columns to read.
      more: make further features of the same raw rows.
    """

    def __init__(
        self,
        transform: tft.TFTransformOutput,
        feature_set: FeatureSet,
        also: Sequence[str] = (),
        more: Sequence[RowFeatures] = (),
    ):
        self._more = more
        read_by_more = [name for one in more for name in one.columns]
        self._layer = transform.transform_features_layer()
        self._read = [column.name for column in feature_set.raw_inputs()]
        self._wanted = [item.name for item in feature_set.model_inputs("row")]
        self.spec = parse_spec(feature_set, "row", (*self._read, LABEL, TIMESTAMP, WEIGHT, *also, *read_by_more))

    def transformed(self, raw: Features) -> Features:
        """Returns the model inputs alone, of a batch that may lack all other columns."""
        outputs = self._layer({name: raw[name] for name in self._read})
        return {name: outputs[name] for name in self._wanted}

    def __call__(self, raw: Features) -> Features:
        """The columns of a batch.

        Args:
          raw: parsed by `spec`.
        """
        return {
            **self.transformed(raw),
            **{name: raw[name] for name in (LABEL, TIMESTAMP, WEIGHT) if name in raw},
            **{name: value for one in self._more for name, value in one.compute(raw).items()},
        }


def transformed_stream(
    files: Sequence[str],
    batch_size: int,
    encode: RowEncoder,
    then: Callable[[Features], Any] = lambda columns: columns,
) -> tf.data.Dataset:
    """Batches of row records in the order of the files.

    Beam gives back what it transforms in any order, so here the transform's graph works batch by batch.

    Args:
      files: raw TFRecords, in the order of time.
      batch_size: B.
      encode: of the learned transform.
      then: applied to each batch's columns, as `RowEncoder` gives them.
    """
    return parsed(serialized(files, batch_size), encode.spec, lambda raw: then(encode(raw)))


def check_order(where: str, split: SplitInfo) -> None:
    """Refuses a split whose shards overlap in time.

    Raises:
      InputError: a shard begins before the one before it ends.
    """
    last: int | None = None
    for shard in split.shards:
        if last is not None and shard.first_timestamp is not None and shard.first_timestamp < last:
            raise InputError(
                f"{where}, {shard.path}",
                f"a first timestamp of {shard.first_timestamp}",
                f"{last} or later, the last one of the shard before",
                "import the data again, sorted by time: this recipe must not see an event before earlier ones",
            )
        last = shard.last_timestamp if shard.last_timestamp is not None else last
