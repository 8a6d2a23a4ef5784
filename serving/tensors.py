"""NumPy arrays to and from TensorProto, in both of its encodings, without TensorFlow."""

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.protocol import DATA_TYPES, TensorProto


@dataclass(frozen=True)
class Kind:
    """How one TensorFlow data type is held in memory and on the wire.

    Args:
      number: its DataType.
      name: its NumPy name, or `string`, `bfloat16`.
      memory: dtype of its bytes in `tensor_content`; object for strings.
      wire: dtype of the values in its repeated field; values and memory may differ, as for half floats.
      field: that repeated field.
    """

    number: int
    name: str
    memory: np.dtype[Any]
    wire: np.dtype[Any]
    field: str


def _kind(name: str, memory: Any, field: str, wire: Any = None) -> Kind:
    number = DATA_TYPES["DT_HALF" if name == "float16" else f"DT_{_TF_NAMES.get(name, name.upper())}"]
    return Kind(number, name, np.dtype(memory), np.dtype(memory if wire is None else wire), field)


_TF_NAMES = {"float32": "FLOAT", "float64": "DOUBLE"}
_KINDS = (
    _kind("float32", np.float32, "float_val"),
    _kind("float64", np.float64, "double_val"),
    _kind("int64", np.int64, "int64_val"),
    _kind("int32", np.int32, "int_val"),
    _kind("int16", np.int16, "int_val"),
    _kind("int8", np.int8, "int_val"),
    _kind("uint8", np.uint8, "int_val"),
    _kind("uint16", np.uint16, "int_val"),
    _kind("uint32", np.uint32, "uint32_val"),
    _kind("uint64", np.uint64, "uint64_val"),
    _kind("bool", np.bool_, "bool_val"),
    _kind("string", object, "string_val"),
    # The repeated field holds the bits of a half float as an integer, a complex number as two floats.
    _kind("float16", np.float16, "half_val", np.uint16),
    _kind("bfloat16", np.uint16, "half_val"),
    _kind("complex64", np.complex64, "scomplex_val", np.float32),
    _kind("complex128", np.complex128, "dcomplex_val", np.float64),
)
KINDS: dict[int, Kind] = {kind.number: kind for kind in _KINDS}
_BY_NAME = {kind.name: kind for kind in _KINDS}
_STRING = _BY_NAME["string"]
_PACKED = {"float32": 5, "float64": 6}
"""Field numbers in TensorProto of `float_val` and `double_val`, whose numbers have a fixed width on the wire."""


@functools.lru_cache(maxsize=64)
def _name_of(dtype: "np.dtype[Any]") -> str:
    """Returns a dtype's name, which NumPy puts together anew each time."""
    return str(dtype.name)


def as_array(values: Any) -> np.ndarray:
    """An array in a dtype that TensorFlow knows, of an array or of nested lists.

    Arrays keep their dtype. Python floats become float32 and Python ints int64, as models here take them; text
    becomes UTF-8 bytes.

    Raises:
      ValueError: ragged lists, None, or another type that no tensor holds.
    """
    is_array = isinstance(values, np.ndarray | np.generic)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"a tensor's values: received ragged lists ({error}); expected equal lengths; pad them"
        ) from None
    if not is_array and array.dtype == np.float64:
        array = array.astype(np.float32)
    if not is_array and array.dtype.kind in "US":
        # NumPy's own strings drop trailing zero bytes and turn a stray number into text.
        array = np.array(values, object)
    if array.dtype.kind == "O" and set(map(type, array.ravel().tolist())) <= {bytes}:
        return array
    if array.dtype.kind in "USO":
        flat = [_as_bytes(value) for value in array.ravel().tolist()]
        array = np.array([*flat, None], object)[:-1].reshape(array.shape)
    elif _name_of(array.dtype) not in _BY_NAME:
        raise ValueError(
            f"a tensor's values: received dtype {array.dtype}; expected one of {', '.join(sorted(_BY_NAME))}"
        )
    return array


def _as_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise ValueError(f"a string tensor's value: received {value!r}; expected str or bytes; replace or encode it")


def to_proto(values: Any, proto: Any = None) -> Any:
    """Writes values to a TensorProto: numbers as `tensor_content`, strings as `string_val`.

    Args:
      values: an array or nested lists; see `as_array`.
      proto: the message to fill, e.g. an entry of a request's map; None makes one.
    """
    array = as_array(values)
    kind = _STRING if array.dtype == object else _BY_NAME[_name_of(array.dtype)]
    proto = TensorProto() if proto is None else proto
    flat = array.ravel().tolist() if kind is _STRING else array.astype(kind.memory.newbyteorder("<"), copy=False)
    fill(proto, kind, array.shape, flat, content=True)
    return proto


def fill(proto: Any, kind: Kind, shape: Sequence[int], values: Any, content: bool) -> None:
    """Fills a TensorProto of ours or of TensorFlow's.

    Args:
      proto: an empty message.
      kind: the data type.
      shape: the dimensions.
      values: a list of bytes for strings, else an array in `kind.memory`.
      content: numbers as `tensor_content` instead of the repeated field.
    """
    proto.dtype = kind.number
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    # A tensor without dimensions has a shape too, and TensorFlow's parser asks that the message be there.
    proto.tensor_shape.SetInParent()
    if kind is _STRING:
        proto.string_val.extend(values)
    elif content:
        proto.tensor_content = values.tobytes()
    elif kind.name in _PACKED:
        # As the field stands on the wire: some 50 times faster than to append numbers one by one.
        numbers = np.ascontiguousarray(values, kind.memory.newbyteorder("<")).tobytes()
        proto.MergeFromString(bytes([_PACKED[kind.name] << 3 | 2]) + _varint(len(numbers)) + numbers)
    else:
        getattr(proto, kind.field).extend(np.ascontiguousarray(values).reshape(-1).view(kind.wire).tolist())


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])


def from_proto(proto: Any) -> np.ndarray:
    """The array that a TensorProto holds, in either encoding, as TensorFlow reads it.

    Fewer repeated values than elements: the last one stands for the rest; none: zeros or empty strings. Strings come
    as an object array of bytes, bfloat16 as float32.

    Raises:
      ValueError: no known dtype, an unknown shape, or content that does not fit the shape.
    """
    kind = KINDS.get(proto.dtype)
    if kind is None:
        raise ValueError(f"a tensor: received data type {proto.dtype}; expected one of {sorted(KINDS)}")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError(f"a tensor: received shape {shape} with unknown parts; expected a full shape")
    count = int(np.prod(shape, dtype=np.int64))
    if kind is _STRING:
        array = np.array([*_strings(proto, count), None], object)[:-1]
    elif proto.tensor_content:
        if len(proto.tensor_content) != count * kind.memory.itemsize:
            raise ValueError(
                f"a tensor: received {len(proto.tensor_content)} bytes; expected {count * kind.memory.itemsize} for "
                f"shape {shape} of {kind.name}"
            )
        array = np.frombuffer(proto.tensor_content, kind.memory).copy()
    else:
        array = _repeated(getattr(proto, kind.field), kind, count)
    if kind.name == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape)


def _repeated(values: Iterable[Any], kind: Kind, count: int) -> np.ndarray:
    decoded = np.array(list(values), dtype=kind.wire).view(kind.memory)[:count]
    if len(decoded) == count:
        return decoded
    last = decoded[-1] if len(decoded) else kind.memory.type(0)
    return np.concatenate([decoded, np.full(count - len(decoded), last, kind.memory)])


def _strings(proto: Any, count: int) -> list[bytes]:
    if proto.tensor_content:
        return _split(proto.tensor_content, count)
    values = list(proto.string_val)[:count]
    return values + [values[-1] if values else b""] * (count - len(values))


def _split(content: bytes, count: int) -> list[bytes]:
    """Strings in `tensor_content`: all lengths as varints, then all bytes."""
    lengths, position = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if position >= len(content):
                raise ValueError(f"a string tensor: received {len(content)} bytes; expected lengths of {count} strings")
            byte = content[position]
            position += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise ValueError(f"a string tensor: received {len(content)} bytes; expected {position + sum(lengths)}")
    ends = np.cumsum([position, *lengths]).tolist()
    return [content[start:end] for start, end in itertools.pairwise(ends)]
