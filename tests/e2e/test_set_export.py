"""What an exported set model consists of, and what becomes of it on a server that has XLA off."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf

from tests.helpers.served_sets import model_of, request
from tests.helpers.source_tree import ROOT

pytestmark = pytest.mark.e2e
BUCKETS = [128, 256, 512, 1024, 2048, 4608]
SCRIPT = """
import sys
from serving.server.server import LocalServer, serve_forever
from transforms.errors import ConsortError
try:
    server = LocalServer({"m": sys.argv[1]}, xla=False, warmup=sys.argv[2] == "warmup")
    serve_forever(server, announce=lambda server: print(server.address, flush=True))
except ConsortError as error:
    print(error, flush=True)
"""


@pytest.fixture(scope="module")
def contract(set_ranker):
    from serving.contract import read_contract

    return read_contract(set_ranker)


def _server_without_xla(set_ranker, warmup):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(set_ranker.parent), warmup],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_without_xla_plain_answers_and_the_default_is_internal(set_ranker, contract):
    from serving.client import PredictClient, ServingError

    with _server_without_xla(set_ranker, "no warmup") as process:
        try:
            values = request(contract["signatures"]["plain"]["inputs"], 7)
            with PredictClient(process.stdout.readline().strip(), timeout_s=20.0) as client:
                assert client.predict("m", values, "plain").outputs["logit"].shape == (1, 7)
                with pytest.raises(ServingError, match="INTERNAL.*XLA compilation disabled"):
                    client.predict("m", values)
        finally:
            process.terminate()


def test_without_xla_warm_up_keeps_the_version_from_being_served(set_ranker):
    with _server_without_xla(set_ranker, "warmup") as process:
        said = process.stdout.read()
    assert "INTERNAL" in said and "warm-up record 0" in said and "XLA compilation disabled" in said


def test_the_contract_tells_buckets_limits_and_flags(contract):
    from serving.contract import XLA_FLAG

    default, plain = (contract["signatures"][name] for name in ("serving_default", "plain"))
    assert contract["buckets"] == {"M": BUCKETS, "N": [20]}
    assert default["limits"] == {"M": 4608} and "limits" not in plain
    assert default["server_flags_required"] == [XLA_FLAG] == contract["server_flags_required"]
    assert "server_flags_required" not in plain
    assert default["inputs"]["item_id"]["shape"] == plain["outputs"]["logit"]["shape"] == ["B", "M"]


def test_there_is_a_small_warm_up_record_of_each_size_and_logged_ones_of_both_signatures(set_ranker):
    from tensorflow_serving.apis import prediction_log_pb2

    from serving.warmup_records import WARMUP

    found = []
    for record in tf.data.TFRecordDataset(str(set_ranker / WARMUP)):
        sent = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        sizes = [dim.size for dim in sent.inputs["candidate"].tensor_shape.dim]
        found.append((sent.model_spec.signature_name, *sizes))
        assert sizes[1] < 100 or len(record.numpy()) < 1000
    of_each_size = [("serving_default", 1, size) for size in BUCKETS]
    logged = [(name, batch, 12) for name in ("serving_default", "plain") for batch in (1, 8)]
    assert found == of_each_size + logged


def _functions_of(set_ranker, signature):
    """The nodes of all functions that a signature may call."""
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel.FromString((set_ranker / "saved_model.pb").read_bytes()).meta_graphs[0]
    library = {function.signature.name: function for function in graph.graph_def.library.function}
    nodes = {node.name: node for node in graph.graph_def.node}
    output = next(iter(graph.signature_def[signature].outputs.values())).name
    reached, found = [nodes[output.partition(":")[0]]], []
    seen = set()
    while reached:
        node = reached.pop()
        found.append(node)
        for value in node.attr.values():
            for name in [value.func.name, *(function.name for function in value.list.func)]:
                if name in library and name not in seen:
                    seen.add(name)
                    reached += library[name].node_def
                    found += [library[name]]
    return found


def test_plain_holds_no_xla_and_the_default_a_compiled_function_a_bucket(set_ranker):
    def compiled(signature):
        return [one for one in _functions_of(set_ranker, signature) if "_XlaMustCompile" in one.attr]

    assert not [one for one in compiled("plain") + compiled("examples") if one.attr["_XlaMustCompile"].b]
    calls = [one for one in compiled("serving_default") if hasattr(one, "op") and one.attr["_XlaMustCompile"].b]
    assert len(calls) == len(BUCKETS)


def test_the_parameters_of_one_model_travel_and_no_optimizer(request_log, set_ranker):
    saved = dict(tf.train.list_variables(str(set_ranker / "variables" / "variables")))
    numbers = [shape for name, shape in saved.items() if name.endswith("VARIABLE_VALUE")]
    wanted = [weight.shape.as_list() for weight in model_of(request_log, "set_ranker").trainable_weights]
    assert sorted(numbers) == sorted(wanted)
