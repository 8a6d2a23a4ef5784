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


def malformed(seed: int, whole: bytes, message_type: Any = protocol.PredictRequest) -> Iterator[bytes]:
    """Messages around a valid one, `whole`: cut, flipped, nested, compressed, repeated; without end."""
    chance = random.Random(seed)
    makers = [_random, _cut, _flipped, _spliced, _nested, _compressed]
    makers += [_many, _named] if message_type is protocol.PredictRequest else [_config]
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


def _config(chance: random.Random, whole: bytes) -> bytes:
    asked = protocol.ReloadConfigRequest.FromString(whole)
    models = asked.config.model_config_list.config
    model = chance.choice(models)
    text = chance.choice(("", "\x00", "/", "/tmp/\x00", "é" * 300, "../..", "/no/such/folder"))
    part = chance.randrange(7)
    if part == 0:
        model.base_path = text
    elif part == 1:
        model.name = text
    elif part == 2:
        model.model_platform = text
    elif part == 3:
        model.model_type = chance.choice((1, 2, -1, 99))
    elif part == 4:
        model.model_version_policy.specific.versions.extend([-1, 2**63 - 1])
    elif part == 5:
        model.version_labels[text] = chance.choice((-1, 1, 2**63 - 1))
    else:
        del models[chance.randrange(len(models)) :]
    return bytes(asked.SerializeToString())


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _field(number: int, content: bytes) -> bytes:
    """A field of the wire type of texts, bytes and messages."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _asked(content: bytes, name: bytes = b"default", alias: bytes = b"x", more: bytes = b"") -> bytes:
    """A PredictRequest with these bytes as its one TensorProto."""
    spec = _field(1, name) + more
    return _field(1, spec) + _field(2, _field(1, alias) + _field(2, content))


def _shaped(dtype: int, sizes: tuple[int, ...], content: bytes = b"") -> bytes:
    """The bytes of a TensorProto."""
    return bytes(tensor(dtype, sizes).SerializeToString()) + content


_INVALID = "INVALID_ARGUMENT"
_NAN, _INFINITY = b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f"
CORPUS: dict[str, tuple[bytes, str]] = {
    "a shape of more bytes than 64 bits count, 34 bytes": (_asked(_shaped(1, (2**62 - 1,))), _INVALID),
    "a product of dimensions that overflows to 0": (_asked(_shaped(1, (2**32, 2**32))), _INVALID),
    "a product of dimensions that overflows to 1": (_asked(_shaped(1, (2**63 - 1, 2**63 - 1))), _INVALID),
    "a negative dimension": (_asked(_shaped(1, (-1,))), _INVALID),
    "the most negative dimension": (_asked(_shaped(1, (-(2**63), 2))), _INVALID),
    "two negative dimensions": (_asked(_shaped(1, (-2, -2), _field(4, bytes(16)))), _INVALID),
    "an unknown rank": (_asked(_field(2, b"\x18\x01") + b"\x08\x01"), _INVALID),
    "a large shape without content": (_asked(_shaped(1, (2**26,))), _INVALID),
    "content shorter than its shape": (_asked(_shaped(1, (2,), _field(4, bytes(7)))), _INVALID),
    "content longer than its shape": (_asked(_shaped(1, (2,), _field(4, bytes(9)))), _INVALID),
    "content for a shape of 0": (_asked(_shaped(1, (0,), _field(4, bytes(4)))), "OK"),
    "more values than the shape has": (_asked(_shaped(1, (1,), _field(5, bytes(8)))), "OK"),
    "strings of a huge shape": (_asked(_shaped(7, ((2**64 - 1) // 24,)), b"colours", b"colour"), _INVALID),
    "strings whose lengths are cut": (_asked(_shaped(7, (2,), _field(4, b"\xff")), b"colours", b"colour"), _INVALID),
    "strings longer than the content": (
        _asked(_shaped(7, (1,), _field(4, b"\xff\xff\xff\xff\x0f")), b"colours", b"colour"),
        _INVALID,
    ),
    "strings that are no UTF-8": (_asked(_shaped(7, (1,), _field(8, b"\xff\xfe")), b"colours", b"colour"), "OK"),
    "a string with a zero byte": (_asked(_shaped(7, (1,), _field(8, b"a\x00b")), b"colours", b"colour"), "OK"),
    "no data type": (_asked(_shaped(0, (1,))), _INVALID),
    "an unknown data type": (_asked(_shaped(999, (1,))), _INVALID),
    "a reference": (_asked(_shaped(101, (1,))), _INVALID),
    "a resource": (_asked(_shaped(20, (2,))), _INVALID),
    "a variant": (_asked(_shaped(21, (2,))), _INVALID),
    "another data type than the signature has": (_asked(_shaped(9, (1,), _field(4, bytes(8)))), _INVALID),
    "NaN in floats": (_asked(_shaped(1, (1,), _field(4, _NAN))), "OK"),
    "infinity in floats": (_asked(_shaped(1, (1,), _field(4, _INFINITY))), "OK"),
    "NaN where ids are expected": (
        _asked(_shaped(1, (1,), _field(4, _NAN)), b"odds", b"ids", _field(3, b"gather")),
        _INVALID,
    ),
    "an id out of range": (
        _asked(_shaped(9, (1,), _field(4, b"\xff" * 7 + b"\x7f")), b"odds", b"ids", _field(3, b"gather")),
        _INVALID,
    ),
    "a model's name that is no UTF-8": (_asked(b"", b"\xff\xfe"), _INVALID),
    "a model's name with a zero byte": (_asked(b"", b"de\x00fault"), "NOT_FOUND"),
    "an alias that is no UTF-8": (_asked(_shaped(1, (1,)), alias=b"\xff"), _INVALID),
    "an alias with a zero byte": (_asked(_shaped(1, (1,)), alias=b"x\x00"), _INVALID),
    "a signature that is no UTF-8": (_asked(_shaped(1, (1,)), more=_field(3, b"\x80")), _INVALID),
    "a signature with a zero byte": (_asked(_shaped(1, (1,)), more=_field(3, b"s\x00")), "FAILED_PRECONDITION"),
    "a label that is no UTF-8": (_asked(_shaped(1, (1,)), more=_field(4, b"\xc3\x28")), _INVALID),
    "a version of 10 bytes": (_asked(_shaped(1, (1,)), more=_field(2, b"\x08" + b"\xff" * 9 + b"\x01")), "NOT_FOUND"),
    "an output that is no UTF-8": (_asked(_shaped(1, (1,))) + _field(3, b"\xff"), _INVALID),
    "a shape within a shape within a shape": (_asked(_field(2, _field(2, _field(2, _field(2, b""))))), _INVALID),
    "groups that nobody closes": (_asked(_shaped(1, (1,))) + b"\x7b" * 10_000, _INVALID),
    "a message cut in a length": (_asked(_shaped(1, (1,)))[:-1], _INVALID),
    "a length beyond the end": (b"\x0a\xff\xff\xff\xff\x07", _INVALID),
    "a number of 11 bytes": (b"\x08" + b"\xff" * 11, _INVALID),
    "a wire type that does not exist": (b"\x0f\x01", _INVALID),
    "a field of number 0": (b"\x02\x00", _INVALID),
    "the end of a group that was not begun": (b"\x7c", _INVALID),
    "nothing": (b"", _INVALID),
    "gzip of nothing": (gzip.compress(b""), _INVALID),
    "gzip of zeros": (gzip.compress(bytes(1000)), _INVALID),
    "gzip cut short": (gzip.compress(b"abc" * 100)[:-9], _INVALID),
    "gzip of what is too large": (gzip.compress(bytes(64 << 20)), "RESOURCE_EXHAUSTED"),
}
"""Messages to Predict, and the code of the answer: bad input by its kind."""
