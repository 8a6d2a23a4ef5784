"""Arrays to TensorProto and back, against TensorFlow's own conversion."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving import tensors
from serving.protocol import TensorProto

NUMBERS = "float32 float64 float16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 complex64 complex128".split()


def _official(proto):
    return tensor_pb2.TensorProto.FromString(proto.SerializeToString())


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (2, 0, 3)])
def test_tensorflow_reads_the_numbers_that_we_write(dtype, shape):
    array = (np.arange(np.prod(shape)).reshape(shape) + 1).astype(dtype)
    read = tf.make_ndarray(_official(tensors.to_proto(array)))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_numbers_go_into_tensor_content():
    proto = tensors.to_proto(np.ones([1000], np.float32))
    assert len(proto.tensor_content) == 4000
    assert not proto.float_val


def test_an_array_in_fortran_order_or_big_endian_is_written_by_rows():
    array = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    np.testing.assert_array_equal(tf.make_ndarray(_official(tensors.to_proto(array))), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("dtype", [*NUMBERS, "bool"])
def test_we_read_repeated_fields_and_one_repeated_value(dtype):
    values = np.array([[1, 0], [3, 2]]).astype(dtype)
    proto = tensor_pb2.TensorProto(dtype=tf.as_dtype(dtype).as_datatype_enum)
    proto.tensor_shape.dim.add(size=2)
    proto.tensor_shape.dim.add(size=2)
    kind = tensors.KINDS[proto.dtype]
    getattr(proto, kind.field).extend(_wire_values(values, dtype))
    np.testing.assert_array_equal(tf.make_ndarray(proto), values)
    np.testing.assert_array_equal(tensors.from_proto(proto), values)
    del getattr(proto, kind.field)[len(_wire_values(values[:1, :1], dtype)) :]
    np.testing.assert_array_equal(tensors.from_proto(proto), np.full([2, 2], values[0, 0]))


def _wire_values(values, dtype):
    if dtype == "float16":
        return values.reshape(-1).view(np.uint16).tolist()
    if dtype.startswith("complex"):
        return np.stack([values.real, values.imag], axis=-1).reshape(-1).tolist()
    return values.reshape(-1).tolist()


def test_a_tensor_without_values_is_zeros():
    proto = TensorProto(dtype=1)
    proto.tensor_shape.dim.add(size=3)
    np.testing.assert_array_equal(tensors.from_proto(proto), np.zeros(3, np.float32))


def test_bfloat16_is_read_as_float32():
    proto = tf.make_tensor_proto(tf.constant([1.5, -2.0], tf.bfloat16))
    read = tensors.from_proto(proto)
    assert read.dtype == np.float32
    assert read.tolist() == [1.5, -2.0]


STRINGS = [[b"a", "zoë".encode()], [b"", b"ends with zero\x00"]]


def test_strings_survive_whole_in_string_val():
    proto = tensors.to_proto(STRINGS)
    assert list(proto.string_val) == [value for row in STRINGS for value in row]
    assert tensors.from_proto(proto).tolist() == STRINGS
    assert tf.io.parse_tensor(proto.SerializeToString(), tf.string).numpy().tolist() == STRINGS


def test_text_becomes_utf8():
    assert tensors.from_proto(tensors.to_proto(["zoë"])).tolist() == ["zoë".encode()]
    assert tensors.from_proto(tensors.to_proto(np.array(["zoë"]))).tolist() == ["zoë".encode()]
    assert tensors.from_proto(tensors.to_proto("zoë")).shape == ()


def test_strings_in_tensor_content_are_read():
    long = b"x" * 300  # its length takes two bytes
    proto = TensorProto(dtype=7, tensor_content=b"\x02\xac\x02\x00" + b"ab" + long)
    proto.tensor_shape.dim.add(size=3)
    assert tensors.from_proto(proto).tolist() == [b"ab", long, b""]
    assert tf.io.parse_tensor(proto.SerializeToString(), tf.string).numpy().tolist() == [b"ab", long, b""]


def test_fewer_strings_than_elements_repeat_the_last():
    proto = TensorProto(dtype=7, string_val=[b"a", b"b"])
    proto.tensor_shape.dim.add(size=4)
    assert tensors.from_proto(proto).tolist() == [b"a", b"b", b"b", b"b"]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1.5], np.float32),
        ([1], np.int64),
        (2.0, np.float32),
        ([True], np.bool_),
        (np.array([1.5]), np.float64),
        (np.array([1], np.int32), np.int32),
        ([], np.float32),
    ],
)
def test_lists_become_what_models_take_and_arrays_keep_their_dtype(values, dtype):
    assert tensors.from_proto(tensors.to_proto(values)).dtype == dtype


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([[1.0], [1.0, 2.0]], "ragged"),
        (["a", 1], "received 1; expected str or bytes"),
        ([None], "received None"),
        (np.array(["2020-01-01"], "datetime64[D]"), "received dtype datetime64"),
    ],
)
def test_values_that_no_tensor_holds_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        tensors.to_proto(values)


def _broken(**fields):
    proto = TensorProto(**{"dtype": 1, **fields})
    proto.tensor_shape.dim.add(size=2)
    return proto


@pytest.mark.parametrize(
    ("proto", "said"),
    [
        (_broken(tensor_content=b"\x00" * 9), "received 9 bytes; expected 8"),
        (_broken(dtype=0), "received data type 0"),
        (_broken(dtype=7, tensor_content=b"\x02\x05ab"), "received 4 bytes; expected 9"),
        (_broken(dtype=7, tensor_content=b"\xff"), "lengths of 2 strings"),
    ],
)
def test_a_tensor_whose_content_does_not_fit_is_refused(proto, said):
    with pytest.raises(ValueError, match=said):
        tensors.from_proto(proto)


def test_an_unknown_shape_is_refused():
    proto = TensorProto(dtype=1)
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(ValueError, match="full shape"):
        tensors.from_proto(proto)
