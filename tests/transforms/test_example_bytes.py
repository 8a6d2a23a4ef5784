"""tf.Examples as bytes: those of a deterministic serialization by TensorFlow's protocol buffers."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from transforms.arrow import pa
from transforms.example_bytes import encode_examples

_LISTS = {pa.large_binary(): "bytes_list", pa.float32(): "float_list", pa.int64(): "int64_list"}


def serialized(columns: dict[str, tuple[pa.DataType, list[list[Any]]]]) -> list[bytes]:
    """What protocol buffers make of lists by column."""
    result = []
    for row in range(len(next(iter(columns.values()))[1])):
        example = tf.train.Example()
        for name, (kind, lists) in columns.items():
            values = getattr(example.features.feature[name], _LISTS[kind])
            values.SetInParent()
            values.value.extend(lists[row])
        result.append(example.SerializeToString(deterministic=True))
    return result


def encoded(columns: dict[str, tuple[pa.DataType, list[list[Any]]]]) -> list[bytes]:
    """What is made of the same columns."""
    flat = {}
    for name, (kind, lists) in columns.items():
        offsets = np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)
        flat[name] = (pa.array([value for one in lists for value in one], kind), offsets)
    return encode_examples(flat)


def test_every_type_and_length_is_encoded_as_protocol_buffers_do() -> None:
    numbers = [0, 1, -1, 127, 128, 16_383, 16_384, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63)]
    generator = np.random.default_rng(5)
    columns: dict[str, tuple[pa.DataType, list[list[Any]]]] = {
        # The order is that of the names, longer ones first; lengths of keys and values take one byte or several.
        "zeta": (pa.int64(), [numbers, [], [7], [0]]),
        "b" * 130: (pa.large_binary(), [[b""], [b"x" * 127], [b"y" * 128, b""], []]),
        "zetas": (pa.large_binary(), [[b"0123456789"], [b"0"], [b"1"], [b"2"]]),
        "Zeta": (pa.float32(), [[0.5], [-0.0, float("nan")], [], [float("inf")] * 40]),
        "é": (pa.large_binary(), [[generator.bytes(20_000)], [b"\x00"], ["ü".encode()], []]),
        "a": (pa.int64(), [[int(one)] for one in generator.integers(-(2**63), 2**63 - 1, 4)]),
    }
    assert encoded(columns) == serialized(columns)


def test_a_part_of_an_array_is_encoded_from_where_it_begins() -> None:
    one = np.arange(3)
    columns = {
        "s": (pa.array([b"q", b"r", b"s"], pa.large_binary())[1:], one),
        "f": (pa.array([0.0, 1.0, 2.0], pa.float32())[1:], one),
        "i": (pa.array([300, 301, 302])[1:], one),
    }
    whole: dict[str, tuple[pa.DataType, list[list[Any]]]] = {
        "s": (pa.large_binary(), [[b"r"], [b"s"]]),
        "f": (pa.float32(), [[1.0], [2.0]]),
    }
    whole["i"] = (pa.int64(), [[301], [302]])
    assert encode_examples(columns) == serialized(whole)


@pytest.mark.parametrize("columns", [{}, {"a": (pa.array([], pa.int64()), np.zeros(1, np.int64))}])
def test_no_record_is_no_example(columns: Any) -> None:
    assert encode_examples(columns) == []
