"""Two towers trained on request records, exported with the catalogue of their candidates."""

import numpy as np
import pytest

from tests.helpers.served_sets import RequestLog
from transforms.features import Split

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def made(request_log: RequestLog, tmp_path_factory: pytest.TempPathFactory):
    from models.retrieval.dssm import DSSM
    from serving.export.export import export_model
    from serving.retrieval.catalogue import catalogue_of
    from transforms.beam.transform_dataset import load_transform
    from transforms.records import load_dataset, shard_paths
    from transforms.vocabularies import table_sizes

    features, transform = request_log.feature_set, load_transform(request_log.folder / "transformed")
    model = DSSM(
        features.model_inputs("request"), table_sizes(features, transform), embedding_dim=4, hidden_units=(8, 6)
    )
    model.embeddings.build(None)
    model.build_head()
    random = np.random.default_rng(3)
    for weight in model.trainable_weights:
        weight.assign_add(random.normal(0.0, 0.3, weight.shape).astype(np.float32))
    data = request_log.folder / "data"
    catalogue = catalogue_of(shard_paths(data, load_dataset(data), "request", "train"), features, "request")
    version = tmp_path_factory.mktemp("versions") / "dssm" / "1"
    export_model(version, "dssm", model, transform, features, "request", {}, request_log.examples, catalogue)
    return version, model, catalogue


@pytest.fixture(scope="module")
def client(made):
    from serving.client import PredictClient
    from serving.server.server import LocalServer

    # Towers need no XLA, and are served without.
    with LocalServer({"dssm": made[0].parent}) as server:
        server.wait_ready(120)
        with PredictClient(server.address, timeout_s=20.0) as client:
            yield client


def test_retrieved_items_have_the_scores_that_the_default_signature_gives_them(made, client, request_log):
    from serving.retrieval.golden import read_golden_retrieval

    version, _, catalogue = made
    inputs, _, _ = read_golden_retrieval(version)
    found = client.retrieve("dssm", inputs, 20)
    positions = np.searchsorted(catalogue.ids, found.item_ids.ravel()).reshape(found.item_ids.shape)
    candidates = {name: values[positions] for name, values in catalogue.columns.items()}
    whole = {**inputs, **candidates, "candidate": np.ones(positions.shape, np.int64)}
    np.testing.assert_allclose(client.predict("dssm", whole).outputs["logit"], found.scores, atol=1e-4)
    assert (np.diff(found.scores) <= 0).all() and found.scores.std() > 1e-3


def test_golden_answers_hold_and_nothing_is_compiled(made, client):
    from serving.contract import read_contract
    from serving.retrieval.golden import check_golden_retrieval

    def ask(inputs, k):
        found = client.retrieve("dssm", inputs, k)
        return found.item_ids, found.scores

    check_golden_retrieval(made[0], ask)
    contract = read_contract(made[0])
    assert contract["buckets"] is None and "compiled" not in contract["signatures"]
    assert contract["signatures"]["item_embedding"]["inputs"]["item_id"]["shape"] == ["B"]


def test_the_commands_take_users_from_request_records(made, client, request_log):
    from tests.helpers.command_line import consort

    data = request_log.folder / "data"
    answer = consort("query", "dssm", "--data", data, "--retrieve", "--k", 3, "--address", client.address)
    assert answer.code == 0, answer.err
    assert "outputs.item_id" in answer.out


def test_recall_in_the_catalogue_is_that_of_what_is_retrieved(made, client, request_log, tmp_path):
    import json

    import tensorflow as tf

    from serving.export.requests import request_inputs
    from tests.helpers.command_line import consort
    from transforms.input import first_examples
    from transforms.records import load_dataset, shard_paths
    from transforms.schema import parse_spec

    data, features = request_log.folder / "data", request_log.feature_set
    command = ("evaluate", made[0], "--data", data, "--split", "eval+test", "--resamples", 0)
    answer = consort(*command, "--json", tmp_path / "told.json")
    assert answer.code == 0, answer.err
    told = json.loads((tmp_path / "told.json").read_text())["retrieval"]
    dataset = load_dataset(data)
    # The catalogue is that of the train split: its items are as they were when the eval split began.
    splits: tuple[Split, ...] = ("eval", "test")
    files = [file for split in splits for file in shard_paths(data, dataset, "request", split)]
    examples = first_examples(files, 10_000)
    batch = tf.io.parse_example(list(examples), parse_spec(features, "request"))
    shown = (batch["candidate"].numpy() == 1) & (batch["exposed"].numpy() == 1)
    request, place = np.nonzero(shown & (batch["label"].numpy() > 0))
    inputs = request_inputs(examples, features, "request", list(client.metadata("dssm")["user_embedding"].inputs))
    best = client.retrieve("dssm", inputs, 50).item_ids[request]
    hits = best == batch["item_id"].numpy()[request, place][:, np.newaxis]
    assert told["clicks"] == len(hits) > 3
    assert 0 < hits.any(axis=1).mean() < 1
    for k in (10, 50):
        share = hits[:, :k].any(axis=1).mean()
        assert told[f"catalogue_recall@{k}"] == pytest.approx(share, abs=1e-6)
