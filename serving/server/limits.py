"""Bounds on the messages and tensors of requests, checked before TensorFlow sees them.

gRPC compares a compressed message's size with its limit only after decompressing all of it. Some shapes end
TensorFlow's process (more bytes than 64 bits count), and where a tensor has fewer values than elements its last one
stands for the rest, so that a few bytes ask for any amount of memory. So a message is decompressed up to a bound, and a
tensor takes the memory of the values that were sent, and of a stated amount that was not.
"""

import math
import zlib
from typing import Any

from google.protobuf.message import DecodeError

from serving.protocol import DATA_TYPES, ServingError
from serving.tensors import KINDS, Kind

MOST_MESSAGE_BYTES = 64 << 20
"""Largest request, compressed or not."""

_GZIP, _ZLIB = b"\x1f\x8b", b"\x78"
_EITHER_HEADER = zlib.MAX_WBITS | 32


def parse(message: bytes, message_type: Any, most_bytes: int) -> Any:
    """The request in a message, decompressed if it has to be.

    Args:
      message: as gRPC received it, by gzip, by deflate or plain.
      message_type: the protobuf class.
      most_bytes: how large it may be.

    Raises:
      ServingError: RESOURCE_EXHAUSTED: it is larger; INVALID_ARGUMENT: it is no such message. (TensorFlow Serving
        answers that with gRPC's INTERNAL and no text, as if the server were at fault.)
    """
    plain = _plain(message, most_bytes)
    if len(plain) > most_bytes:
        # In gRPC's words, by which clients tell it from a server that is busy.
        raise ServingError("RESOURCE_EXHAUSTED", f"Received message larger than max ({len(plain)} vs. {most_bytes})")
    try:
        return message_type.FromString(plain)
    except DecodeError:
        name = message_type.DESCRIPTOR.full_name
        raise ServingError("INVALID_ARGUMENT", f"received {len(plain)} bytes that are no {name}") from None


def _plain(message: bytes, most_bytes: int) -> bytes:
    # No request begins like gzip's header, which would be a field of no known type. Like deflate's it might.
    if not message.startswith((_GZIP, _ZLIB)):
        return message
    reader = zlib.decompressobj(_EITHER_HEADER)
    try:
        plain = reader.decompress(message, most_bytes + 1)
    except zlib.error:
        return message
    return plain if reader.eof or len(plain) > most_bytes else message


MOST_DIMENSIONS = 32
"""Largest number of dimensions of a tensor, as in NumPy."""
MOST_REPEATED_BYTES = 4 << 20
"""Memory of all tensors of a request that hold fewer values than elements."""

_NAMES = {number: name.removeprefix("DT_").lower() for name, number in DATA_TYPES.items()}
_STRING = DATA_TYPES["DT_STRING"]
_TEXT_BYTES, _TEXT_INSIDE = 24, 22
"""Size of a string object in memory, and the characters that fit into it."""
_EMPTY_BYTES = 4
"""Counted for what would be an element, were no dimension 0."""
_ADDRESSABLE = 2**48


def is_type(dtype: int) -> bool:
    """Returns True if TensorFlow has a data type of this number."""
    return dtype in _NAMES and dtype != DATA_TYPES["DT_INVALID"]


def type_name(dtype: int) -> str:
    """A data type in TensorFlow's words."""
    return _NAMES.get(dtype, f"data type {dtype}")


def repeated_bytes(alias: str, proto: Any) -> int:
    """Memory that a TensorProto asks for without sending what is to stand in it: 0 where all values were sent.

    A dimension of 0 counts as 1, since operations make other tensors of a shape's other dimensions.

    Args:
      alias: the input's name, for the message.
      proto: a TensorProto.

    Raises:
      ServingError: INVALID_ARGUMENT: no data type that a request can carry, no shape, or content that does not fit it.
    """
    kind = KINDS.get(proto.dtype)
    if kind is None:
        raise _unparsable(alias, f"no request carries {type_name(proto.dtype)}" if is_type(proto.dtype) else "")
    sizes = [dim.size for dim in proto.tensor_shape.dim[: MOST_DIMENSIONS + 1]]
    if len(sizes) > MOST_DIMENSIONS:
        dimensions = len(proto.tensor_shape.dim)
        raise _unparsable(alias, f"received {dimensions} dimensions; expected at most {MOST_DIMENSIONS}")
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise _unparsable(alias)
    elements, extent = math.prod(sizes), math.prod(size or 1 for size in sizes)
    if extent > _ADDRESSABLE:
        # Of more elements than 64 bits count TensorFlow Serving says no more than this, too.
        raise _unparsable(alias, f"received shape {sizes}, which no memory holds" if extent < 2**63 else "")
    sent = _values_sent(alias, kind, proto, elements)
    if sent >= extent:
        return 0
    return extent * (_bytes_each(kind, proto) if elements else _EMPTY_BYTES)


def _bytes_each(kind: Kind, proto: Any) -> int:
    if kind.number != _STRING:
        return kind.memory.itemsize
    last = len(proto.string_val[-1]) if proto.string_val else 0
    return _TEXT_BYTES + (last if last > _TEXT_INSIDE else 0)


def _values_sent(alias: str, kind: Kind, proto: Any, elements: int) -> int:
    content = len(proto.tensor_content)
    if not elements or not content:
        values = len(getattr(proto, kind.field))
        return values * kind.wire.itemsize // kind.memory.itemsize if kind.memory.kind == "c" else values
    # A string's length takes a byte at least; TensorFlow reads the lengths into a list of `elements`.
    fits = content >= elements if kind.number == _STRING else content == elements * kind.memory.itemsize
    if not fits:
        raise _unparsable(alias)
    return elements


def _unparsable(alias: str, why: str = "") -> ServingError:
    return ServingError("INVALID_ARGUMENT", f"tensor parsing error: {alias}{': ' + why if why else ''}")
