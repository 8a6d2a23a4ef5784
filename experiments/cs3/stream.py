"""Rows of a stream as arrays: what a model sees of each event, its time, its label and, where known, the truth."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from experiments.array_folder import load_splits, save_splits
from transforms.features import LABEL, TIMESTAMP, ModelInput, Shape, Split

_FEATURE, _LIST = "feature.", "list."


@dataclass(frozen=True)
class Lists:
    """One list a row; rows may share theirs, as those of one request do.

    Args:
      values: of all lists, `[V]`.
      start: where each row's list begins, `[R]`.
      length: of it, `[R]`.
    """

    values: np.ndarray
    start: np.ndarray
    length: np.ndarray

    def ragged(self, which: slice) -> tf.RaggedTensor:
        """The lists of some rows."""
        start, length = np.asarray(self.start[which]), np.asarray(self.length[which])
        ends = np.cumsum(length)
        place = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - length, length)
        values = np.asarray(self.values[np.repeat(start, length) + place])
        return tf.RaggedTensor.from_row_lengths(tf.convert_to_tensor(values), tf.convert_to_tensor(length))


@dataclass(frozen=True)
class Stream:
    """R rows in the order of time.

    Args:
      features: by name, `[R]`.
      lists: by name.
      label: float32 `[R]`.
      timestamp: seconds UTC, `[R]`.
      group: index of the request or, where it has one row alone, of the user: what belongs together, `[R]`.
      truth: probability of a click, `[R]`; None where nobody knows it.
    """

    features: Mapping[str, np.ndarray]
    lists: Mapping[str, Lists]
    label: np.ndarray
    timestamp: np.ndarray
    group: np.ndarray
    truth: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    def taken(self, which: np.ndarray) -> "Stream":
        """Some of the rows, or all in another order.

        Args:
          which: indices or a mask.
        """
        return Stream(
            features={name: values[which] for name, values in self.features.items()},
            lists={name: Lists(own.values, own.start[which], own.length[which]) for name, own in self.lists.items()},
            label=self.label[which],
            timestamp=self.timestamp[which],
            group=self.group[which],
            truth=None if self.truth is None else self.truth[which],
        )

    def batches(self, size: int) -> Iterator[tuple[dict[str, Any], tf.Tensor]]:
        """`(features, label)` as our models take them, `size` rows at once, the last batch short if need be."""
        for start in range(0, len(self), size):
            which = slice(start, start + size)
            features: dict[str, Any] = {name: tf.convert_to_tensor(own[which]) for name, own in self.features.items()}
            features |= {name: own.ragged(which) for name, own in self.lists.items()}
            features[TIMESTAMP] = tf.convert_to_tensor(self.timestamp[which])
            yield features, tf.convert_to_tensor(self.label[which])


def joined(streams: Sequence[Stream]) -> Stream:
    """Streams one after the other; their groups stay apart."""
    first = streams[0]
    groups = np.cumsum([0, *(int(own.group.max()) + 1 for own in streams[:-1])])
    truths = [own.truth for own in streams if own.truth is not None]
    return Stream(
        features={name: np.concatenate([own.features[name] for own in streams]) for name in first.features},
        lists={name: _joined_lists([own.lists[name] for own in streams]) for name in first.lists},
        label=np.concatenate([own.label for own in streams]),
        timestamp=np.concatenate([own.timestamp for own in streams]),
        group=np.concatenate([own.group + shift for own, shift in zip(streams, groups, strict=True)]),
        truth=np.concatenate(truths) if len(truths) == len(streams) else None,
    )


def _joined_lists(parts: Sequence[Lists]) -> Lists:
    shifts = np.cumsum([0, *(len(own.values) for own in parts[:-1])])
    starts = [own.start + shift for own, shift in zip(parts, shifts, strict=True)]
    values, lengths = (np.concatenate([getattr(own, name) for own in parts]) for name in ("values", "length"))
    return Lists(values, np.concatenate(starts), lengths)


def shuffled(stream: Stream, seed: int) -> Stream:
    """The rows in random order, at the times of the stream in theirs: a row may come long after it happened."""
    mixed = stream.taken(np.random.default_rng(seed).permutation(len(stream)))
    return replace(mixed, timestamp=stream.timestamp)


@dataclass(frozen=True)
class Data:
    """A stream in three splits.

    Args:
      inputs: of a model.
      table_sizes: ids of each vocabulary, padding included.
      in_vocabulary_ids: number of ids of each vocabulary without the out-of-vocabulary buckets, which are the last ids.
      splits: the rows of each, one after the other in time.
      about: where they come from, for a reader.
    """

    inputs: tuple[ModelInput, ...]
    table_sizes: Mapping[str, int]
    in_vocabulary_ids: Mapping[str, int]
    splits: Mapping[Split, Stream]
    about: Mapping[str, object]


def save_data(folder: Path, data: Data) -> None:
    """Writes arrays into a new folder, whole or not at all."""
    told = {
        "inputs": [item.model_dump(mode="json") for item in data.inputs],
        "table_sizes": dict(data.table_sizes),
        "in_vocabulary_ids": dict(data.in_vocabulary_ids),
        "about": dict(data.about),
    }
    save_splits(folder, {split: _arrays(stream) for split, stream in data.splits.items()}, told)


def load_data(folder: Path) -> tuple[Data, str]:
    """The data of a folder, and the sha256 of its arrays."""
    splits, told = load_splits(folder)
    inputs = tuple(ModelInput.model_validate(item) for item in told["inputs"])
    streams = {split: _stream(arrays, inputs) for split, arrays in splits.items()}
    # Older folders have the key "written_ids".
    known = told["in_vocabulary_ids"] if "in_vocabulary_ids" in told else told["written_ids"]
    return Data(inputs, told["table_sizes"], known, streams, told["about"]), told["sha256"]


def _arrays(stream: Stream) -> dict[str, np.ndarray]:
    found = {LABEL: stream.label, TIMESTAMP: stream.timestamp, "group": stream.group}
    found |= {} if stream.truth is None else {"truth": stream.truth}
    found |= {_FEATURE + name: values for name, values in stream.features.items()}
    for name, lists in stream.lists.items():
        found |= {f"{_LIST}{name}.{part}": values for part, values in vars(lists).items()}
    return found


def _stream(arrays: Mapping[str, np.ndarray], inputs: tuple[ModelInput, ...]) -> Stream:
    features, lists = {}, {}
    for item in inputs:
        if item.shape is Shape.RAGGED:
            lists[item.name] = Lists(*(arrays[f"{_LIST}{item.name}.{part}"] for part in ("values", "start", "length")))
        else:
            features[item.name] = arrays[_FEATURE + item.name]
    return Stream(features, lists, arrays[LABEL], arrays[TIMESTAMP], arrays["group"], arrays.get("truth"))
