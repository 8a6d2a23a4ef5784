"""tf.Examples of many records at once as bytes, column by column: equal values give equal bytes.

TensorFlow's protocol buffers write the features of an example in any order unless each example is serialized anew. Here
they stand in the order of their names, as a deterministic serialization has them.

  Example       features: Features = 1
  Features      feature: map<string, Feature> = 1, an entry being a message of key = 1 and value = 2
  Feature       bytes_list = 1 | float_list = 2 | int64_list = 3, each with its values = 1; numbers are packed
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from transforms.arrow import pa, pc

_BYTES, _FLOAT, _INT64 = 1, 2, 3
_AT_ONCE = 10_000


@dataclass(frozen=True)
class _Pieces:
    """Some bytes of each record, one record after the other: those of record i from `offsets[i]` on."""

    data: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        lengths: np.ndarray = np.diff(self.offsets)
        return lengths

    @property
    def width(self) -> int | None:
        """The number of bytes of each record, if it is the same."""
        lengths = self.lengths
        return int(lengths[0]) if (lengths == lengths[0]).all() else None

    def array(self) -> pa.Array:
        buffers = [None, pa.py_buffer(np.ascontiguousarray(self.offsets, np.int64)), pa.py_buffer(self.data)]
        return pa.Array.from_buffers(pa.large_binary(), len(self.offsets) - 1, buffers)

    @staticmethod
    def of(array: pa.Array) -> "_Pieces":
        offsets = np.frombuffer(array.buffers()[1], np.int64, len(array) + 1, 8 * array.offset)
        content = array.buffers()[2]
        data = np.frombuffer(content, np.uint8) if content is not None else np.zeros(0, np.uint8)
        return _Pieces(data[offsets[0] : offsets[-1]], offsets - offsets[0])


def encode_examples(columns: Mapping[str, tuple[pa.Array, np.ndarray]]) -> list[bytes]:
    """Returns serialized tf.Examples, in order.

    Args:
      columns: by name the elements, one after the other (large_binary, float32 or int64), and offsets `[n + 1]` of the
        records in them.
    """
    count = len(next(iter(columns.values()))[1]) - 1 if columns else 0
    # So many that what is made of them stays near the processor.
    starts = range(0, count, _AT_ONCE)
    return [example for start in starts for example in _examples(columns, start, min(start + _AT_ONCE, count))]


def _examples(columns: Mapping[str, tuple[pa.Array, np.ndarray]], start: int, stop: int) -> list[bytes]:
    parts: list[_Pieces] = []
    # A name stands behind longer ones that begin with it.
    for name in sorted(columns, key=lambda name: name.encode() + b"\xff"):
        values, offsets = columns[name]
        first, last = int(offsets[start]), int(offsets[stop])
        part = _entry(name, values[first:last], offsets[start : stop + 1] - first)
        if parts and part.width is not None and parts[-1].width is not None:
            part = _side_by_side(parts.pop(), part)
        parts.append(part)
    features = parts[0] if len(parts) == 1 else _joined([part.array() for part in parts])
    examples = _headed(features, lambda length: _field(1, length))
    data, ends = examples.data.tobytes(), examples.offsets.tolist()
    return [data[start:stop] for start, stop in pairwise(ends)]


def _entry(name: str, values: pa.Array, offsets: np.ndarray) -> _Pieces:
    """Returns a feature with its name."""
    key = name.encode()
    key = _field(1, len(key)) + key
    if pa.types.is_large_binary(values.type):
        # Each element is a field of its own; of a single one its bytes come with all the others.
        kind, single = _BYTES, len(values) == len(offsets) - 1 and bool((np.diff(offsets) == 1).all())
        fields = _Pieces.of(values)
        fields = fields if single else _headed(fields, lambda length: _field(1, length))
        content = _Pieces(fields.data, fields.offsets[offsets])
    elif pa.types.is_floating(values.type):
        numbers = np.ascontiguousarray(values.to_numpy(zero_copy_only=False), "<f4")
        kind, single, content = _FLOAT, False, _Pieces(numbers.view(np.uint8), offsets * 4)
    else:
        digits = _varints(values.to_numpy(zero_copy_only=False))
        kind, single, content = _INT64, False, _Pieces(digits.data, digits.offsets[offsets])

    def before(length: int) -> bytes:
        inner = _field(1, length) if single or (kind != _BYTES and length) else b""
        feature = _field(kind, len(inner) + length) + inner
        value = _field(2, len(feature) + length) + feature
        return _field(1, len(key) + len(value) + length) + key + value

    return _headed(content, before)


def _headed(content: _Pieces, before: Callable[[int], bytes]) -> _Pieces:
    """Puts bytes before those of each record, which depend on the number of these."""
    lengths = content.lengths
    if not len(lengths):
        return content
    present = np.flatnonzero(np.bincount(lengths))
    headers, place = [before(length) for length in present.tolist()], np.zeros(int(present[-1]) + 1, np.int64)
    if len(headers) == 1:
        header = np.broadcast_to(np.frombuffer(headers[0], np.uint8), [len(lengths), len(headers[0])])
        rows = np.hstack([header, content.data.reshape(len(lengths), -1)])
        return _Pieces(rows.reshape(-1), np.arange(len(lengths) + 1) * rows.shape[1])
    place[present] = np.arange(len(present))
    return _joined([pa.array(headers, pa.large_binary()).take(pa.array(place[lengths])), content.array()])


def _joined(parts: Sequence[pa.Array]) -> _Pieces:
    return _Pieces.of(pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary())))


def _side_by_side(left: _Pieces, right: _Pieces) -> _Pieces:
    count = len(left.offsets) - 1
    rows = np.hstack([left.data.reshape(count, -1), right.data.reshape(count, -1)])
    return _Pieces(rows.reshape(-1), left.offsets + right.offsets)


def _field(number: int, length: int) -> bytes:
    """Returns what stands before a field of some bytes: its number and their number."""
    result = [number << 3 | 2]
    while length > 127:
        result.append(length & 127 | 128)
        length >>= 7
    return bytes([*result, length])


def _varints(values: np.ndarray) -> _Pieces:
    """Returns integers in base 128, the lowest digit first."""
    values = values.astype(np.int64)
    most = 10 if (values < 0).any() else max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    digits = values.view(np.uint64)[:, np.newaxis] >> np.arange(0, 7 * most, 7, dtype=np.uint64)
    lengths = np.maximum((digits != 0).sum(axis=1), 1)
    place = np.arange(most)
    # All digits but the last one have the highest bit.
    data = (digits & np.uint64(127)).astype(np.uint8)
    data[place < lengths[:, np.newaxis] - 1] |= 128
    return _Pieces(data[place < lengths[:, np.newaxis]], np.concatenate([[0], np.cumsum(lengths)]))
