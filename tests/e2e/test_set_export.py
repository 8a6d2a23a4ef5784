"""What an exported set model consists of, and what becomes of it on a server that has XLA off."""

import os
import shutil
import subprocess
import sys

import numpy as np
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
    server = LocalServer({"m": sys.argv[1]}, xla=False)
    serve_forever(server, announce=lambda server: print(server.address, flush=True))
except ConsortError as error:
    print(error, flush=True)
"""


@pytest.fixture(scope="module")
def contract(set_ranker):
    from serving.contract import read_contract

    return read_contract(set_ranker)


def _server_without_xla(set_ranker):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(set_ranker.parent)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_without_xla_the_default_answers_and_the_compiled_one_is_internal(set_ranker, contract):
    from serving.client import PredictClient, ServingError

    # Its warm-up asks for nothing that needs XLA.
    with _server_without_xla(set_ranker) as process:
        try:
            values = request(contract["signatures"]["plain"]["inputs"], 7)
            with PredictClient(process.stdout.readline().strip(), timeout_s=20.0) as client:
                default, plain = (client.predict("m", values, name).outputs["logit"] for name in ("", "plain"))
                assert default.shape == (1, 7) and default.tolist() == plain.tolist()
                with pytest.raises(ServingError, match="INTERNAL.*XLA compilation disabled"):
                    client.predict("m", values, "compiled")
        finally:
            process.terminate()


def test_without_xla_warm_up_of_what_needs_it_keeps_the_version_from_being_served(set_ranker, tmp_path):
    from serving.export.warmup import WARMUP, XLA_WARMUP

    version = shutil.copytree(set_ranker, tmp_path / "m" / "1")
    with (version / WARMUP).open("ab") as requests:
        requests.write((version / XLA_WARMUP).read_bytes())
    with _server_without_xla(version) as process:
        said = process.stdout.read()
    assert "INTERNAL" in said and "warm-up record 2" in said and "XLA compilation disabled" in said


def test_the_contract_tells_buckets_limits_and_flags(contract):
    from serving.contract import XLA_FLAG

    compiled, default, plain = (contract["signatures"][name] for name in ("compiled", "serving_default", "plain"))
    assert contract["buckets"] == {"M": BUCKETS, "N": [20]}
    assert compiled["limits"] == {"M": 4608} and "limits" not in default
    assert compiled["server_flags_required"] == [XLA_FLAG] and contract["server_flags_required"] == []
    assert "server_flags_required" not in default and plain == default
    assert compiled["inputs"]["item_id"]["shape"] == default["outputs"]["logit"]["shape"] == ["B", "M"]


def test_a_model_on_requests_is_not_to_be_batched_and_loads_with_batches_of_32(contract, set_ranker):
    from serving.contract import BATCHING_PARAMETERS

    assert contract["batching"]["recommended"] is False and contract["batching"]["min_max_batch_size"] == 32
    assert not (set_ranker / BATCHING_PARAMETERS).exists()


def _warmed_up(path):
    """Signature, requests and candidates of each warm-up record."""
    from tensorflow_serving.apis import prediction_log_pb2

    found = []
    for record in tf.data.TFRecordDataset(str(path)):
        sent = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        sizes = [dim.size for dim in sent.inputs["candidate"].tensor_shape.dim]
        found.append((sent.model_spec.signature_name, *sizes))
        assert sizes[1] < 100 or len(record.numpy()) < 1000
        # A server that joins requests to batches takes no other ones.
        assert {proto.tensor_shape.dim[0].size for proto in sent.inputs.values()} == {sizes[0]}
    return found


def test_warm_up_asks_the_default_and_in_a_file_of_its_own_each_size_that_xla_compiles(set_ranker):
    from serving.export.warmup import WARMUP, XLA_WARMUP

    assert _warmed_up(set_ranker / WARMUP) == [("serving_default", batch, 12) for batch in (1, 8)]
    of_each_size = [("compiled", 1, size) for size in BUCKETS]
    assert _warmed_up(set_ranker / XLA_WARMUP) == of_each_size + [("compiled", batch, 12) for batch in (1, 8)]


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


def test_the_default_holds_no_xla_and_the_compiled_one_a_function_a_bucket(set_ranker):
    def compiled(signature):
        return [one for one in _functions_of(set_ranker, signature) if "_XlaMustCompile" in one.attr]

    assert not [one for one in compiled("serving_default") + compiled("examples") if one.attr["_XlaMustCompile"].b]
    calls = [one for one in compiled("compiled") if hasattr(one, "op") and one.attr["_XlaMustCompile"].b]
    assert len(calls) == len(BUCKETS)


def test_the_parameters_of_one_model_travel_and_no_optimizer(request_log, set_ranker):
    saved = dict(tf.train.list_variables(str(set_ranker / "variables" / "variables")))
    numbers = [shape for name, shape in saved.items() if name.endswith("VARIABLE_VALUE")]
    wanted = [weight.shape.as_list() for weight in model_of(request_log, "set_ranker").trainable_weights]
    assert sorted(numbers) == sorted(wanted)


def test_requests_that_are_joined_and_padded_get_their_scores(set_ranker, contract):
    from serving.loading import Scorer
    from tests.helpers.batching_server import answers_of_batch

    scorer, inputs = Scorer(set_ranker), contract["signatures"]["serving_default"]["inputs"]
    sizes = [(5, 1, 9), (12, 2, 3), (1, 1, 20)]
    requests = [
        {**request(inputs, *one, seed), "candidate_count": np.full(one[1], one[0])} for seed, one in enumerate(sizes)
    ]
    answers = answers_of_batch(lambda batch: scorer.ask("serving_default", batch), requests)
    for sent, answer, (candidates, _, _) in zip(requests, answers, sizes):
        alone = scorer.ask("serving_default", sent)["logit"]
        np.testing.assert_allclose(answer["logit"][:, :candidates], alone, atol=1e-6)
