"""Requests that would end TensorFlow's process, fill its memory or make no sense: each gets its answer."""

import gzip
import tracemalloc
import zlib

import grpc
import numpy as np
import pytest

from serving import protocol, tensors
from serving.client import PredictClient
from serving.protocol import SERVICES, ServingError
from serving.server import limits
from serving.server.limits import parse
from serving.server.servable import Servable
from tests.helpers.fuzz_server import MOST_BYTES, check_answers, fuzz, sender, server_process, valid_request
from tests.helpers.hostile_requests import CORPUS, KNOWN_DEADLY, request, tensor
from tests.serving import toy_models

REQUESTS, WARM = 3000, 1000
MOST_GROWTH_MB, MOST_MORE = 48, 4


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def process(root):
    with server_process(root) as process:
        yield process


@pytest.fixture(scope="module")
def send(process):
    with sender(process.address) as send:
        yield send


@pytest.mark.parametrize(("dtype", "shape"), KNOWN_DEADLY)
@pytest.mark.parametrize(("model", "name"), [("default", "x"), ("colours", "colour")])
def test_a_shape_of_more_bytes_than_can_be_counted_is_refused(send, process, model, name, dtype, shape):
    message = request(model, "", **{name: tensor(protocol.DATA_TYPES[dtype], shape)}).SerializeToString()
    assert send(message)[0] == "INVALID_ARGUMENT"
    assert process.poll() is None


def test_one_value_for_a_large_shape_is_refused_before_memory_is_taken(send, process):
    before = process.memory_mb("VmHWM")
    for proto in (
        tensor(1, (250_000_000,), float_val=[1.0]),
        tensor(1, (250_000_000,)),
        tensor(1, (0, 2**40)),
        tensor(1, (2**20, 2**10, 0)),
    ):
        code, details = send(request("default", "", x=proto).SerializeToString())
        assert code == "INVALID_ARGUMENT"
        assert f"expected at most {limits.MOST_REPEATED_BYTES}" in details
    long = tensor(7, (100_000,), string_val=[b"x" * 100])
    assert send(request("colours", "", colour=long).SerializeToString())[0] == "INVALID_ARGUMENT"
    assert process.memory_mb("VmHWM") - before < 100
    check_answers(process.address)


def test_one_value_stands_for_all_of_a_shape_within_the_bound(process):
    with PredictClient(process.address) as client:
        asked = request("default", "", x=tensor(1, (1000, 64), float_val=[6.0]))
        answer = protocol.PredictResponse()
        answer.ParseFromString(client._predict(asked, timeout=10.0).SerializeToString())
    np.testing.assert_array_equal(tensors.from_proto(answer.outputs["y"]), np.full([1000, 64], 5.0, np.float32))


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (tensor(1, (), float_val=[1.0]), 0),
        (tensor(1, (2, 3), float_val=[1.0] * 6), 0),
        (tensor(1, (2, 3), float_val=[1.0] * 5), 24),
        (tensor(1, (2, 3), int_val=[1] * 6), 24),
        (tensor(1, (3,), tensor_content=bytes(12)), 0),
        (tensor(9, (10,), int64_val=[1]), 80),
        (tensor(8, (10,), scomplex_val=[1.0] * 20), 0),
        (tensor(8, (10,), scomplex_val=[1.0] * 18), 80),
        (tensor(7, (10,), string_val=[b"a"]), 240),
        (tensor(7, (10,), string_val=[b"x" * 50]), 740),
        (tensor(7, (2,), tensor_content=b"\1\1ab"), 0),
        (tensor(1, (5, 0)), 20),
    ],
)
def test_memory_is_counted_where_the_values_were_not_sent(proto, expected):
    assert limits.repeated_bytes("x", proto) == expected


@pytest.mark.parametrize(
    ("proto", "said"),
    [
        (tensor(0, (1,)), ""),
        (tensor(99, (1,)), ""),
        (tensor(20, (2,)), ": no request carries resource"),
        (tensor(1, (-1,)), ""),
        (tensor(1, (2**63 - 1, 2)), ""),
        (tensor(1, (2**50,)), f": received shape [{2**50}], which no memory holds"),
        (tensor(1, (1,) * 33), ": received 33 dimensions; expected at most 32"),
        (tensor(1, (3,), tensor_content=bytes(11)), ""),
        (tensor(7, (3,), tensor_content=b"\0\0"), ""),
    ],
)
def test_what_is_no_tensor_is_refused_by_its_name(proto, said):
    with pytest.raises(ServingError) as caught:
        limits.repeated_bytes("x", proto)
    assert (caught.value.code, caught.value.details) == ("INVALID_ARGUMENT", f"tensor parsing error: x{said}")


def test_the_bound_holds_for_all_inputs_together(root):
    sets = toy_models.with_default(root / "two_inputs")
    half = tensor(1, (limits.MOST_REPEATED_BYTES // 8 + 1,), float_val=[1.0])
    model = Servable(sets)
    response = protocol.PredictResponse()
    model.predict(request("m", "", x=half), response)
    with pytest.raises(ServingError, match="fewer values than elements"):
        model.predict(request("m", "", x=half, scale=half), response)
    model.close()


@pytest.mark.parametrize(("dtype", "name"), [(20, "resource"), (21, "variant"), (11, "qint8"), (7, "string")])
def test_a_data_type_is_compared_with_the_signature_before_the_tensor_is_made(send, dtype, name):
    message = request("default", "", x=tensor(dtype, (2,))).SerializeToString()
    assert send(message) == ("INVALID_ARGUMENT", f"Expects arg[0] to be float but {name} is provided")


def test_a_message_is_as_large_as_allowed_also_when_it_is_decompressed():
    whole = valid_request()
    for sent in (whole, gzip.compress(whole), zlib.compress(whole)):
        assert parse(sent, protocol.PredictRequest, len(whole)).model_spec.name == "default"
        with pytest.raises(ServingError, match="RESOURCE_EXHAUSTED: Received message larger than max"):
            parse(sent, protocol.PredictRequest, len(whole) - 1)


def test_decompressing_takes_no_more_memory_than_is_allowed():
    swelling = gzip.compress(bytes(100 << 20), 1)
    tracemalloc.start()
    with pytest.raises(ServingError, match="larger than max"):
        parse(swelling, protocol.PredictRequest, 1 << 20)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 5 << 20


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_answered_and_those_that_swell_are_refused_in_little_memory(process, compression):
    before = process.memory_mb("VmHWM")
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(process.address, options, compression) as channel:
        call = channel.unary_unary(f"/{SERVICES['predict']}/Predict")
        answer = protocol.PredictResponse.FromString(call(valid_request(), timeout=10.0))
        assert list(answer.outputs["y"].float_val) == [3.0, 4.0]
        with pytest.raises(grpc.RpcError) as caught:
            call(bytes(150 << 20), timeout=60.0)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == f"Received message larger than max ({MOST_BYTES + 1} vs. {MOST_BYTES})"
    assert process.memory_mb("VmHWM") - before < 75


def test_a_message_above_the_limit_is_refused(process):
    with grpc.insecure_channel(process.address, [("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary(f"/{SERVICES['predict']}/Predict")
        with pytest.raises(grpc.RpcError) as caught:
            call(bytes(MOST_BYTES + 1), timeout=60.0)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_zero_byte_does_not_end_an_error_text(send):
    code, details = send(request("default", "no\x00such").SerializeToString())
    assert (code, details) == ("FAILED_PRECONDITION", 'Serving signature key "no\x00such" not found.')


def test_a_zero_byte_does_not_end_the_text_of_tensorflow_itself(send):
    proto = tensor(7, (1,), string_val=[b"a\x00tail"])
    code, details = send(request("odds", "parse", examples=proto).SerializeToString())
    assert code == "INVALID_ARGUMENT"
    assert "Could not parse example input, value: 'a\x00tail'" in details


def test_texts_of_many_bytes_are_cut_to_what_a_status_carries(send):
    code, details = send(request("default", "\U0001f600" * 1000).SerializeToString())
    assert code == "FAILED_PRECONDITION"
    assert details.endswith("...TRUNCATED")
    assert len(details.encode()) <= 1024 + len("...TRUNCATED")


@pytest.mark.parametrize("case", CORPUS)
def test_bad_input_of_each_kind_has_its_code(send, process, case):
    message, expected = CORPUS[case]
    code, details = send(message)
    assert (code, process.poll()) == (expected, None), details
    assert code == "OK" or details


def test_a_server_outlives_malformed_requests_and_crafted_tensors(process, root):
    fuzz(process, root, WARM, seed=2)
    before = process.usage()
    answers = fuzz(process, root, REQUESTS, seed=3)["answers"]
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= set(answers)
    growth = {name: value - before[name] for name, value in process.usage().items()}
    assert growth["memory_mb"] < MOST_GROWTH_MB
    assert max(growth["threads"], growth["files"]) <= MOST_MORE
