"""The rows of a dataset by column, all splits together, few of them read without TensorFlow, of many some users'."""

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np

from transforms.arrow import pa
from transforms.features import (
    CANDIDATE,
    EXPOSED,
    LABEL,
    MISSING_INT,
    SPLITS,
    TIMESTAMP,
    WEIGHT,
    FeatureSet,
    RecordKind,
    Shape,
    Split,
)

MAX_EXAMPLES = 200_000
"""Examples that an audit reads, about; of larger data it reads those of some of the users."""
USER_ID, ITEM_ID, REQUEST_ID = "user_id", "item_id", "request_id"
_DECODED_AT_ONCE = 8192
_MANY = 100_000
"""Examples that are worth loading TensorFlow for."""
_HASHES = 1 << 32


@dataclass(frozen=True)
class Values:
    """The values of one column.

    Args:
      values: numbers, or positions in `tokens` of strings, -1 where missing; of scalars one an example `[n]`, of lists
        the elements.
      tokens: the distinct strings; None: the column has numbers.
      starts, lengths: where in `values` the list of each example stands `[n]`; None: scalars.
    """

    values: np.ndarray
    tokens: np.ndarray | None = None
    starts: np.ndarray | None = None
    lengths: np.ndarray | None = None

    @cached_property
    def missing(self) -> np.ndarray:
        """True where a value is missing."""
        if self.tokens is not None:
            return np.asarray(self.values < 0)
        return np.isnan(self.values) if self.values.dtype.kind == "f" else np.asarray(self.values == MISSING_INT)

    @cached_property
    def numbers(self) -> np.ndarray:
        """The values as float64, NaN where missing."""
        return np.where(self.missing, np.nan, self.values.astype(np.float64))

    @cached_property
    def codes(self) -> np.ndarray:
        """A small integer for each distinct value; -1 where missing."""
        if self.tokens is not None:
            return self.values
        codes = np.unique(self.values, return_inverse=True)[1].reshape(-1)
        return np.where(self.missing, -1, codes)

    def text(self, position: int) -> str:
        """The value at a position, for people."""
        if self.missing[position]:
            return "missing"
        if self.tokens is None:
            return f"{self.values[position]:.6g}" if self.values.dtype.kind == "f" else str(self.values[position])
        return repr(self.tokens[self.values[position]].decode(errors="backslashreplace")[:60])

    def take(self, examples: np.ndarray) -> "Values":
        """The values of some examples, by index."""
        if self.starts is None or self.lengths is None:
            return Values(self.values[examples], self.tokens)
        return Values(self.values, self.tokens, self.starts[examples], self.lengths[examples])

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Of lists: the example of each element, and the element's position in `values`; missing ones left out."""
        assert_lists = self.starts is not None and self.lengths is not None
        if not assert_lists:
            raise ValueError("received scalars; expected lists")
        starts, lengths = np.asarray(self.starts), np.asarray(self.lengths)
        example = np.repeat(np.arange(len(lengths)), lengths)
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else lengths
        place = np.repeat(starts, lengths) + np.arange(len(example)) - np.repeat(first, lengths)
        real = ~self.missing[place]
        return example[real], place[real]


@dataclass(frozen=True)
class Table:
    """Rows, or the shown candidates of requests.

    Args:
      feature_set, record: what they are.
      split: index in `SPLITS` of each example, `[n]`.
      label: `[n]`.
      columns: by name; columns that no record has are absent.
      place: position of a candidate in its request, or of a row among those of its request, `[n]`.
      incomplete: records without a value of a column, or with too few or too many of them, by column.
      records: number of records that were read.
      share: of the users whose records were read.
    """

    feature_set: FeatureSet
    record: RecordKind
    split: np.ndarray
    label: np.ndarray
    columns: Mapping[str, Values]
    place: np.ndarray
    incomplete: Mapping[str, int] = field(default_factory=dict)
    records: int = 0
    share: float = 1.0

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def positive(self) -> np.ndarray:
        """True where the label says yes."""
        return np.asarray(self.label > 0.5)

    @cached_property
    def weight(self) -> np.ndarray:
        """Sample weights, 1 on average; all 1 where the records have none, `[n]`."""
        weights = self.columns.get(WEIGHT)
        if weights is None:
            return np.ones(len(self))
        weight = np.maximum(np.nan_to_num(weights.numbers), 0.0)
        return weight / weight.mean() if weight.any() else np.ones(len(self))

    @cached_property
    def rate(self) -> float:
        """The mean label, by sample weight; 0 without examples."""
        labels = np.clip(np.nan_to_num(self.label), 0.0, 1.0)
        return float(labels @ self.weight / len(self)) if len(self) else 0.0

    @cached_property
    def time(self) -> np.ndarray:
        """Seconds, `[n]`; 0 where the records have no time."""
        times = self.columns.get(TIMESTAMP)
        return np.zeros(len(self), np.int64) if times is None else times.values.astype(np.int64)

    def rate_error(self, rate: float) -> float:
        """Standard error of the mean label, where the labels of a user may be alike; at least that of a known rate."""
        mean, rows = self.rate, len(self)
        error = max(rate * (1 - rate), mean * (1 - mean), 1e-9) * float((self.weight**2).sum()) / rows**2
        users = self.columns.get(USER_ID)
        if users is not None and not users.missing.all():
            codes = users.codes + 1
            count = len(np.unique(codes))
            residuals = np.bincount(codes, (np.nan_to_num(self.label) - mean) * self.weight)
            # With few users their spread is hardly known.
            error = max(error, float((residuals**2).sum()) / rows**2 * (1 + 20 / count))
        return float(np.sqrt(error))

    @cached_property
    def read_by_features(self) -> frozenset[str]:
        """The columns that a model sees."""
        return frozenset(feature.column for feature in self.feature_set.features)

    def inputs(self) -> Iterator[tuple[str, Values]]:
        """The columns that a model sees, in declared order, but for the time."""
        for column in self.feature_set.columns_of(self.record):
            if column.name in self.read_by_features and column.name in self.columns and column.name != TIMESTAMP:
                yield column.name, self.columns[column.name]

    def where(self, chosen: np.ndarray) -> "Table":
        """Some of the examples, by mask or index."""
        index = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        columns = {name: values.take(index) for name, values in self.columns.items()}
        return Table(
            self.feature_set,
            self.record,
            self.split[index],
            self.label[index],
            columns,
            self.place[index],
            self.incomplete,
            self.records,
            self.share,
        )

    def of(self, split: Split) -> "Table":
        """The examples of one split."""
        return self.where(self.split == SPLITS.index(split))


def table_of(
    columns: Mapping[str, Values], split: np.ndarray, feature_set: FeatureSet, record: RecordKind = "row"
) -> Table:
    """A table of scalars and lists that are there already, one entry an example."""
    label = columns[LABEL].values.astype(np.float64)
    return Table(feature_set, record, split, label, columns, _places(columns, len(label)), records=len(label))


def strings(values: Sequence[bytes]) -> Values:
    """Scalars of strings."""
    return _encoded([pa.array(values, pa.large_binary())])


def read_table(
    files: Mapping[Split, Sequence[str]],
    feature_set: FeatureSet,
    record: RecordKind,
    examples: int,
    max_examples: int = MAX_EXAMPLES,
) -> Table:
    """Reads the examples of some shards.

    Args:
      files: TFRecords by split.
      feature_set, record: what they hold.
      examples: how many there are, about.
      max_examples: with more, only the records of a share of the users are read: always the same users.
    """
    share = min(1.0, max_examples / max(examples, 1))
    batches: list[pa.RecordBatch] = []
    splits: list[np.ndarray] = []
    decode = _decoder(feature_set, record, min(examples, max_examples))
    for split, paths in files.items():
        for batch in _decoded(paths, share, decode):
            batches.append(batch)
            splits.append(np.full(batch.num_rows, SPLITS.index(split), np.int8))
    of_record = np.concatenate(splits) if splits else np.empty(0, np.int8)
    return _joined(batches, of_record, feature_set, record, share)


def _records(path: str) -> Iterator[bytes]:
    """The records of a TFRecord file; their checksums are verified where the shards come in."""
    with open(path, "rb") as file:
        while len(head := file.read(12)) == 12:
            data = file.read(int.from_bytes(head[:8], "little"))
            file.read(4)
            yield data


def _decoder(feature_set: FeatureSet, record: RecordKind, examples: int) -> Callable[[list[bytes]], pa.RecordBatch]:
    """Returns what decodes examples: TensorFlow's parser, unless loading TensorFlow takes longer than that saves."""
    if examples >= _MANY or "tensorflow" in sys.modules:
        from transforms.record_batches import any_batch
        from transforms.schema import parse_spec

        return partial(any_batch, spec=parse_spec(feature_set, record))
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    decode: Callable[[list[bytes]], pa.RecordBatch] = ExamplesToRecordBatchDecoder().DecodeBatch
    return decode


def _decoded(
    paths: Sequence[str], share: float, decode: Callable[[list[bytes]], pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    waiting: list[bytes] = []
    for path in paths:
        for number, data in enumerate(_records(path)):
            # Decoding takes most of the time: what is not looked at is left out before.
            if share < 1.0 and zlib.crc32(_user_of(data) or str(number).encode()) >= share * _HASHES:
                continue
            waiting.append(data)
            if len(waiting) == _DECODED_AT_ONCE:
                yield decode(waiting)
                waiting = []
    if waiting:
        yield decode(waiting)


def _user_of(data: bytes) -> bytes:
    """The user of a serialized tf.Example, without parsing the rest; where there is none, the request, or nothing.

    A feature is its name, then the length of what follows: a list of bytes, in it the value, each with its length.
    """
    for name in (USER_ID, REQUEST_ID):
        start = data.find(b"\n" + bytes([len(name)]) + name.encode() + b"\x12")
        if start < 0:
            continue
        place, length = start + len(name) + 3, 0
        for tag in (b"", b"\n", b"\n"):
            if data[place : place + len(tag)] != tag:
                return b""
            length, place = _varint(data, place + len(tag))
        return data[place : place + length]
    return b""


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number as protocol buffers write it, and the place after it."""
    value = shift = 0
    while data[place] & 0x80:
        value, shift, place = value | (data[place] & 0x7F) << shift, shift + 7, place + 1
    return value | data[place] << shift, place + 1


def _joined(
    batches: Sequence[pa.RecordBatch], split: np.ndarray, feature_set: FeatureSet, record: RecordKind, share: float
) -> Table:
    """The examples of decoded records: each record, or each candidate of it that was shown."""
    rows, place = np.arange(len(split)), np.zeros(len(split), np.int64)
    if record == "request":
        masks = [_elements(batches, name, len(split)) for name in (CANDIDATE, EXPOSED)]
        width = feature_set.list_size or 1
        shown = np.ones((len(split), width), bool)
        for values, offsets in masks:
            if values is not None and (np.diff(offsets) == width).all():
                shown &= values.values.reshape(-1, width) == 1
        rows, place = np.nonzero(shown)
    columns: dict[str, Values] = {}
    incomplete: dict[str, int] = {}
    for column in feature_set.columns_of(record):
        values, offsets = _elements(batches, column.name, len(split))
        if values is None:
            incomplete[column.name] = len(split)
            continue
        shape, width = column.shape(record), column.width or 1
        lengths = np.diff(offsets)
        if shape is Shape.RAGGED:
            columns[column.name] = Values(values.values, values.tokens, offsets[:-1][rows], lengths[rows])
            continue
        expected = width * ((feature_set.list_size or 1) if shape.per_candidate else 1)
        wrong = lengths != expected
        if wrong.any():
            incomplete[column.name] = int(wrong.sum())
        start = offsets[:-1][rows] + (place * width if shape.per_candidate else 0)
        if column.width is not None:
            columns[column.name] = Values(values.values, values.tokens, start, np.where(wrong, 0, width)[rows])
        else:
            columns[column.name] = Values(_scalars(values, start, wrong[rows]), values.tokens)
    label = columns[LABEL].numbers if LABEL in columns else np.full(len(rows), np.nan)
    where = _places(columns, len(rows)) if record == "row" else place
    return Table(feature_set, record, split[rows], label, columns, where, incomplete, len(split), share)


def _scalars(values: Values, start: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    if not len(values.values):
        return np.full(len(start), -1 if values.tokens is not None else np.nan)
    scalars: np.ndarray = values.values[np.where(wrong, 0, start)]
    if wrong.any():
        marker = np.nan if values.tokens is None and scalars.dtype.kind == "f" else -1
        scalars = np.where(wrong, marker, scalars)
    return scalars


def _elements(batches: Sequence[pa.RecordBatch], name: str, records: int) -> tuple[Values | None, np.ndarray]:
    """All elements of a column, one after the other, and the offsets of the records; None: no record has it."""
    chunks, lengths = [], []
    for batch in batches:
        index = batch.schema.get_field_index(name)
        lists = None if index < 0 else batch.column(index)
        if lists is None or pa.types.is_null(lists.type):
            lengths.append(np.zeros(batch.num_rows, np.int64))
            continue
        offsets = np.asarray(lists.offsets)
        # A record that lacks the column is null; its list may still have a length in the offsets.
        valid = np.asarray(lists.is_valid())
        lengths.append(np.where(valid, np.diff(offsets), 0))
        chunks.append(lists.flatten())
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]) if lengths else np.zeros(records + 1, np.int64)
    chunks = [chunk for chunk in chunks if not pa.types.is_null(chunk.type)]
    return (_encoded(chunks) if chunks else None), offsets


def _encoded(chunks: Sequence[pa.Array]) -> Values:
    """Numbers as they are; strings as positions among the distinct ones."""
    if not (pa.types.is_binary(chunks[0].type) or pa.types.is_large_binary(chunks[0].type)):
        return Values(np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in chunks]))
    encoded = pa.chunked_array([chunk.dictionary_encode() for chunk in chunks]).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]).astype(np.int64)
    tokens = np.array(encoded.chunk(0).dictionary.to_pylist(), dtype=object)
    empty = np.flatnonzero(tokens == b"")
    return Values(np.where(codes == empty[0], -1, codes) if len(empty) else codes, tokens)


def _places(columns: Mapping[str, Values], size: int) -> np.ndarray:
    """Of rows: how many rows of the same request stand before."""
    requests = columns.get(REQUEST_ID)
    if requests is None:
        return np.zeros(size, np.int64)
    order = np.argsort(requests.codes, kind="stable")
    new = np.diff(requests.codes[order], prepend=-2) != 0
    first = np.flatnonzero(new)
    places = np.empty(size, np.int64)
    places[order] = np.arange(size) - np.repeat(first, np.diff(np.append(first, size)))
    return places
