"""A message as it came over the wire to a protobuf message, of a bounded size also where it was compressed.

gRPC itself compares a compressed message's size with its limit only after decompressing all of it.
"""

import zlib
from typing import Any

from google.protobuf.message import DecodeError

from serving.protocol import ServingError

MOST_MESSAGE_BYTES = 64 << 20
"""Of a request, and of what it is when decompressed."""

_GZIP, _ZLIB = b"\x1f\x8b", b"\x78"
_EITHER_HEADER = zlib.MAX_WBITS | 32


def parse(message: bytes, message_type: Any, most_bytes: int) -> Any:
    """The request in a message, decompressed if it has to be.

    Args:
      message: as gRPC received it, by gzip, by deflate or plain.
      message_type: the protobuf class.
      most_bytes: how large it may be.

    Raises:
      ServingError: RESOURCE_EXHAUSTED: it is larger; INTERNAL, as gRPC itself answers: it is no such message.
    """
    plain = _plain(message, most_bytes)
    if len(plain) > most_bytes:
        # In gRPC's words, by which clients tell it from a server that is busy.
        raise ServingError("RESOURCE_EXHAUSTED", f"Received message larger than max ({len(plain)} vs. {most_bytes})")
    try:
        return message_type.FromString(plain)
    except DecodeError:
        name = message_type.DESCRIPTOR.full_name
        raise ServingError("INTERNAL", f"received {len(plain)} bytes that are no {name}") from None


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
