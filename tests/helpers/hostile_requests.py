"""Requests that no client of good will sends: seeded, so that a failure can be looked at again."""

import gzip
import random
import zlib
from collections.abc import Iterator
from typing import Any

from serving import protocol

EDGES = (-1, 0, 1, 2, 3, 7, 24, 255, 2**16, 2**20, 2**24, 2**28, 2**31 - 1, 2**31, 2**32, 2**40)
OVERFLOWS = (2**48, 2**56, 2**59, 2**60 - 1, 2**61 - 1, 2**62 - 1, 2**62, 2**63 - 1, (2**64 - 1) // 24, -(2**63))
FIELDS = (
    *("float_val", "double_val", "int_val", "string_val", "int64_val", "bool_val", "half_val"),
    *("scomplex_val", "dcomplex_val", "uint32_val", "uint64_val"),
)
DTYPES = (*range(34), 101, 107, 109, 120, 999, -1)

KNOWN_DEADLY = tuple(
    (dtype, (size,))
    for dtype, size in (
        ("DT_HALF", 2**63 - 1),
        ("DT_FLOAT", 2**62 - 1),
        ("DT_INT64", 2**61 - 1),
        ("DT_STRING", (2**64 - 1) // 24),
        ("DT_RESOURCE", 2),
        ("DT_VARIANT", 2),
    )
)
"""What has ended a server: a data type and a shape, in 28 to 38 bytes."""


def tensor(dtype: int, shape: tuple[int, ...], **fields: Any) -> Any:
    """A TensorProto of these fields, whether they fit each other or not."""
    proto = protocol.TensorProto(**fields)
    proto.dtype = dtype
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def request(model: str, signature: str, **inputs: Any) -> Any:
    """A PredictRequest of TensorProtos."""
    asked = protocol.PredictRequest()
    asked.model_spec.name, asked.model_spec.signature_name = model, signature
    for name, proto in inputs.items():
        asked.inputs[name].CopyFrom(proto)
    return asked


def crafted_tensors(seed: int) -> Iterator[Any]:
    """Tensors whose parts contradict each other, without end."""
    chance = random.Random(seed)
    while True:
        dtype = chance.choice(DTYPES)
        sizes = OVERFLOWS if chance.random() < 0.3 else EDGES
        rank = chance.choice((0, 1, 1, 1, 2, 2, 3, 4, 9, 33, 300))
        proto = tensor(dtype, tuple(chance.choice(sizes if chance.random() < 0.5 else EDGES[:7]) for _ in range(rank)))
        proto.tensor_shape.unknown_rank = chance.random() < 0.05
        for field in chance.sample(FIELDS, chance.choice((0, 1, 1, 2))):
            values = [b"\xff" * chance.choice((0, 1, 30))] if field == "string_val" else [1]
            getattr(proto, field).extend(values * chance.choice((1, 1, 2, 5)))
        if chance.random() < 0.3:
            proto.tensor_content = chance.randbytes(chance.choice((1, 4, 8, 24, 1000)))
        yield proto


def malformed(seed: int, whole: bytes) -> Iterator[bytes]:
    """Messages around a right one, `whole`: cut, flipped, nested, compressed, repeated; without end."""
    chance = random.Random(seed)
    makers = (_random, _cut, _flipped, _spliced, _nested, _compressed, _many, _named)
    while True:
        yield chance.choice(makers)(chance, whole)


def _random(chance: random.Random, whole: bytes) -> bytes:
    return chance.randbytes(chance.randrange(200))


def _cut(chance: random.Random, whole: bytes) -> bytes:
    return whole[: chance.randrange(len(whole))]


def _flipped(chance: random.Random, whole: bytes) -> bytes:
    changed = bytearray(whole)
    for _ in range(chance.randrange(1, 4)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _spliced(chance: random.Random, whole: bytes) -> bytes:
    at = chance.randrange(len(whole))
    return whole[:at] + chance.randbytes(chance.randrange(1, 20)) + whole[at:]


def _nested(chance: random.Random, whole: bytes) -> bytes:
    # Groups of an unknown field that nobody closes, or a message within a message within a message.
    depth = chance.randrange(1, 5000)
    if chance.random() < 0.5:
        return whole + b"\x7b" * depth
    inner = b""
    for _ in range(min(depth, 60)):
        inner = b"\x12" + _varint(len(inner)) + inner
    return inner


def _compressed(chance: random.Random, whole: bytes) -> bytes:
    plain = chance.choice((whole, bytes(1 << 21), chance.randbytes(100)))
    packed = gzip.compress(plain, 1) if chance.random() < 0.5 else zlib.compress(plain, 1)
    return packed if chance.random() < 0.5 else packed[: chance.randrange(1, len(packed))]


def _many(chance: random.Random, whole: bytes) -> bytes:
    asked = protocol.PredictRequest.FromString(whole)
    asked.output_filter.extend(["y", "", "no such"][: chance.randrange(4)] * chance.randrange(200))
    for number in range(chance.randrange(200)):
        asked.inputs[f"x{number}"].dtype = number % 30
    return bytes(asked.SerializeToString())


def _named(chance: random.Random, whole: bytes) -> bytes:
    asked = protocol.PredictRequest.FromString(whole)
    text = chance.choice(("", "\x00", "a\x00b", "é" * 600, "\U0001f600" * 600, "../..", "{}%s", "x" * 5000))
    part = chance.randrange(4)
    if part == 0:
        asked.model_spec.name = text
    elif part == 1:
        asked.model_spec.signature_name = text
    elif part == 2:
        asked.model_spec.version_label = text
    else:
        asked.inputs[text].dtype = 1
    return bytes(asked.SerializeToString())


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])
