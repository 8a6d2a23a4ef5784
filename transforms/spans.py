"""A stream as a folder of spans: each a dataset of rows, complete when its `dataset.json` is there."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from transforms.errors import InputError
from transforms.features import LABEL, SPLITS, TIMESTAMP
from transforms.files import check_folder
from transforms.input import parsed, serialized
from transforms.integrity import check_files
from transforms.records import MANIFEST, Dataset, load_dataset, shard_paths
from transforms.stream import check_order
from transforms.writing import copy_items, new_dataset, write_serialized

PREFIX = "span-"
_READ_AT_ONCE = 4096


def spans_in(stream: str | os.PathLike[str]) -> list[Path]:
    """Whole spans in the order of their names; what is still being written has another name."""
    folder = Path(stream)
    paths = folder.iterdir() if folder.is_dir() else iter(())
    return sorted(path for path in paths if not path.name.startswith(".") and (path / MANIFEST).is_file())


def files_of(span: Path, dataset: Dataset) -> list[str]:
    """Shards of a span in the order of time: of all its splits.

    Raises:
      InputError: it has no rows, lacks a shard, or its shards overlap in time.
    """
    files: list[str] = []
    for split in SPLITS:
        if split in dataset.records.get("row", {}):
            check_order(str(span), dataset.records["row"][split])
            files += shard_paths(span, dataset, "row", split)
    return files or shard_paths(span, dataset, "row", "train")


def cut_spans(directory: str | os.PathLike[str], out: str | os.PathLike[str], count: int) -> list[str]:
    """Copies the rows of a dataset, all splits in the order of time, into spans of equal size.

    Args:
      directory: the dataset.
      out: gets `span-00001` and so on; spans that are there already go before, and stay.
      count: spans, which differ by a row at most.

    Returns:
      Names of the new spans.

    Raises:
      InputError: the dataset has fewer rows than that, is not in the order of time, or holds a value that its column
        cannot have.
    """
    check_folder(out, "--out")
    dataset = load_dataset(directory)
    files = files_of(Path(directory), dataset)
    rows = sum(info.records for info in dataset.records["row"].values())
    if count > rows:
        raise InputError("--spans", count, f"at most {rows}, the rows of {directory}", "ask for fewer")
    check_files(files, dataset.feature_set, "row")
    numbers = [
        int(path.name.removeprefix(PREFIX)) for path in spans_in(out) if path.name.removeprefix(PREFIX).isdigit()
    ]
    first = max(numbers, default=0) + 1
    ends = [rows * (number + 1) // count for number in range(count)]
    names = []
    for number, (records, times, labels) in enumerate(_cut(files, ends)):
        names.append(f"{PREFIX}{first + number:05d}")
        origin = {**dataset.origin, "span": number + 1, "of": count, "dataset_sha256": dataset.sha256}
        # What is known of items from the start stands in the first span alone.
        items = None if number else dataset.items
        with new_dataset(Path(out) / names[-1], dataset.source, dataset.feature_set, origin, items) as unfinished:
            if items is not None:
                copy_items(directory, dataset, unfinished)
            write_serialized(
                unfinished.directory, "row", "train", "part", records, times, len(records), int((labels > 0).sum())
            )
    return names


def _cut(files: Sequence[str], ends: Sequence[int]) -> Iterator[tuple[list[bytes], np.ndarray, np.ndarray]]:
    """Records with their times and labels, up to each end."""
    records: list[bytes] = []
    times, labels = np.empty(0, np.int64), np.empty(0, np.float32)
    done, left = 0, iter(ends)
    end = next(left)
    for batch, columns in zip(serialized(files, _READ_AT_ONCE), _columns(files), strict=True):
        records += batch.numpy().tolist()
        times = np.concatenate([times, columns[TIMESTAMP].numpy()])
        labels = np.concatenate([labels, columns[LABEL].numpy()])
        while len(records) >= end - done:
            size = end - done
            yield records[:size], times[:size], labels[:size]
            records, times, labels, done = records[size:], times[size:], labels[size:], end
            following = next(left, None)
            if following is None:
                return
            end = following


def _columns(files: Sequence[str]) -> tf.data.Dataset:
    spec = {TIMESTAMP: tf.io.FixedLenFeature([], tf.int64), LABEL: tf.io.FixedLenFeature([], tf.float32)}
    return parsed(serialized(files, _READ_AT_ONCE), spec)
