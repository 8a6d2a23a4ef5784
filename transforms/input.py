"""TFRecords to tf.data: batches of serialized examples are parsed at once, never one by one."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from transforms.errors import InputError
from transforms.features import CANDIDATE, EXPOSED, LABEL, WEIGHT, RecordKind
from transforms.files import escaped

Features = dict[str, Any]

_READ_BUFFER_BYTES = 8 << 20


def serialized(
    files: Sequence[str],
    batch_size: int,
    *,
    shuffle_buffer: int = 0,
    seed: int | None = None,
    drop_remainder: bool = False,
    parallel_files: int = 4,
    every: int = 1,
) -> tf.data.Dataset:
    """Batches of serialized examples, string [B].

    Args:
      files: TFRecord files; names that end in `.gz` are read as gzip.
      batch_size: B.
      shuffle_buffer: examples held for shuffling; 0 keeps files and records in order.
      seed: of the shuffle of files and examples: equal seeds give equal orders, however often they are read.
      drop_remainder: leave out the last batch if it is short.
      parallel_files: files read at once when shuffling.
      every: leave out all but the first of so many records; 1 leaves out none.
    """
    compression = "GZIP" if files and all(str(name).endswith(".gz") for name in files) else None
    paths = tf.data.Dataset.from_tensor_slices([str(name) for name in files])

    def read(path: tf.Tensor) -> tf.data.Dataset:
        return tf.data.TFRecordDataset(path, compression_type=compression, buffer_size=_READ_BUFFER_BYTES)

    if shuffle_buffer:
        # Keras goes over a dataset twice and shows the second time only.
        paths = paths.shuffle(max(len(files), 1), seed=seed, reshuffle_each_iteration=False)
        cycle = max(1, min(parallel_files, len(files)))
        records = paths.interleave(read, cycle_length=cycle, block_length=64, num_parallel_calls=cycle)
        records = records.shuffle(shuffle_buffer, seed=seed, reshuffle_each_iteration=False)
    else:
        records = paths.flat_map(read)
    if every > 1:
        records = records.shard(every, 0)
    return records.batch(batch_size, drop_remainder=drop_remainder)


def parsed(
    batches: tf.data.Dataset, spec: Mapping[str, Any], then: Callable[[Features], Any] | None = None
) -> tf.data.Dataset:
    """Parses batches of serialized examples.

    Args:
      batches: of `serialized`.
      spec: for `tf.io.parse_example`; columns that are not in it cost nothing.
      then: applied to the parsed columns in the same step.
    """

    # The functions here have no control flow on tensors, and converting all that they call takes seconds.
    @tf.autograph.experimental.do_not_convert
    def parse(examples: tf.Tensor) -> Any:
        columns = tf.io.parse_example(examples, dict(spec))
        return then(columns) if then is not None else columns

    return batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def labeled(columns: Features, record: RecordKind) -> tuple[Any, ...]:
    """Transformed columns as (features, label) or, for requests and with sample weights, (features, label, weight).

    The weight of a candidate is 1 where it is real and exposed, else 0: nobody knows its label; times its sample
    weight, if the source has them. The features of requests hold the mask `candidate`, too, which is no input of a
    model, and what the recipe may want of each candidate, such as `stage`; with sample weights also these and the
    mask `exposed`, which the product does not show.
    """
    weighted = WEIGHT in columns
    left_out = (LABEL,) if weighted else (LABEL, EXPOSED)
    features = {name: value for name, value in columns.items() if name not in left_out}
    if record == "row":
        return (features, columns[LABEL], columns[WEIGHT]) if weighted else (features, columns[LABEL])
    weight = tf.cast(columns[EXPOSED] * columns[CANDIDATE], tf.float32)
    return features, columns[LABEL], weight * columns[WEIGHT] if weighted else weight


def expand_patterns(patterns: Sequence[str]) -> list[str]:
    """Files that match patterns of the form `folder/*.tfrecord`, in order: the folder is a name, the rest a pattern."""
    folders = (os.path.split(pattern) for pattern in patterns)
    return sorted(name for folder, rest in folders for name in tf.io.gfile.glob(os.path.join(escaped(folder), rest)))


def first_examples(files: Sequence[str], count: int) -> list[bytes]:
    """The first serialized examples of some files; fewer if there are no more.

    Raises:
      InputError: one of them is damaged.
    """
    try:
        for batch in serialized(files, count).take(1):
            return list(batch.numpy())
    except tf.errors.DataLossError as error:
        where = files[0] if len(files) == 1 else f"{files[0]} or one of the {len(files) - 1} after it"
        raise InputError(where, "a damaged record", "whole records", "make the dataset again") from error
    return []


def count_examples(files: Sequence[str]) -> int:
    """Number of records in some TFRecord files."""
    return sum(_count(str(name)) for name in files)


def _count(name: str) -> int:
    if name.endswith(".gz"):
        return int(tf.data.TFRecordDataset(name, compression_type="GZIP").reduce(np.int64(0), lambda n, _: n + 1))
    # A record is its length (8 bytes), 4 bytes of checksum, the content, 4 bytes of checksum: the content is skipped.
    # Read in large blocks, as a seek takes longer than what it skips.
    count, skipped, left = 0, 0, b""
    with tf.io.gfile.GFile(name, "rb") as file:
        while block := file.read(_READ_BUFFER_BYTES):
            data, position = left + block, skipped
            while position + 8 <= len(data):
                position += int.from_bytes(data[position : position + 8], "little") + 16
                count += 1
            left, skipped = data[position:], max(0, position - len(data))
    return count + bool(left)
