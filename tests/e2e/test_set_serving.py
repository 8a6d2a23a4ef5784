"""Models on request records behind the local server: any number of candidates, with XLA and without it."""

import numpy as np
import pytest

from tests.helpers.served_sets import LIST_SIZE, export, request

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def versions(request_log, set_ranker, tmp_path_factory):
    deepfm = export(request_log, "deepfm", tmp_path_factory.mktemp("versions") / "deepfm")
    return {"set_ranker": set_ranker, "deepfm": deepfm}


@pytest.fixture(scope="module")
def client(versions):
    from serving.client import PredictClient
    from serving.server.server import LocalServer

    with LocalServer({name: version.parent for name, version in versions.items()}, xla=True) as server:
        server.wait_ready(120)
        with PredictClient(server.address, timeout_s=20.0) as client:
            yield client


@pytest.fixture(scope="module")
def inputs(versions):
    from serving.contract import read_contract

    return read_contract(versions["set_ranker"])["signatures"]["serving_default"]["inputs"]


def _logits(client, values, signature="serving_default", model="set_ranker"):
    return client.predict(model, values, signature).outputs["logit"]


def _refused(client, values, signature):
    from serving.client import ServingError

    with pytest.raises(ServingError) as caught:
        client.predict("set_ranker", values, signature)
    assert caught.value.code == "INVALID_ARGUMENT"
    return caught.value.details


@pytest.mark.parametrize("number", [0, 1, LIST_SIZE, 127, 128, 129, 1000, 4608])
def test_any_number_of_candidates_gets_the_scores_of_the_default_by_xla(client, inputs, number):
    values = request(inputs, number)
    served = _logits(client, values)
    assert served.shape == (1, number)
    np.testing.assert_allclose(served, _logits(client, values, "compiled"), atol=1e-4)
    assert number < 2 or served.std() > 1e-3


def test_more_candidates_than_the_largest_bucket_are_refused_in_words_and_the_default_takes_them(client, inputs):
    values = request(inputs, 4609)
    said = _refused(client, values, "compiled")
    assert "received" in said and "4609" in said and "at most 4608" in said and "another request" in said
    assert _logits(client, values).shape == (1, 4609)


def test_candidates_of_unequal_numbers_are_refused_in_words(client, inputs):
    said = _refused(client, {**request(inputs, 20), "item_id": np.full([1, 19], b"7", object)}, "compiled")
    assert "candidates: received shapes" in said and "item_id" in said and "expected [B, M]" in said


@pytest.mark.parametrize("history", [0, 1, 20, 35])
def test_any_length_of_the_history_gets_the_scores_of_the_default_by_xla(client, inputs, history):
    values = request(inputs, 30, history=history)
    served = _logits(client, values, "compiled")
    np.testing.assert_allclose(served, _logits(client, values), atol=1e-4)
    longer = {**values, "history_item_id": np.pad(values["history_item_id"], [[0, 0], [0, 4]], constant_values=b"")}
    np.testing.assert_allclose(served, _logits(client, longer, "compiled"), atol=1e-4)


def test_several_requests_at_once_get_what_each_gets_alone(client, inputs):
    values = request(inputs, 40, batch=3)
    together = _logits(client, values)
    alone = [_logits(client, {name: value[k : k + 1] for name, value in values.items()}) for k in range(3)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_padding_changes_no_score_and_a_real_candidate_does(client, inputs):
    values, more = request(inputs, 50), {"item_id": b"1", "candidate": 0}
    padded = {
        name: np.concatenate([value, np.full([1, 90], more.get(name, value[0, 0]), value.dtype)], axis=1)
        if inputs[name]["shape"] == ["B", "M"]
        else value
        for name, value in values.items()
    }
    served = _logits(client, values)
    np.testing.assert_allclose(_logits(client, padded)[:, :50], served, atol=1e-4)
    padded["candidate"] = np.ones([1, 140], np.int64)
    assert np.abs(_logits(client, padded)[:, :50] - served).max() > 1e-3


def test_unknown_ids_share_a_row_and_numbers_that_are_none_count_as_missing(client, inputs, versions):
    known = (versions["set_ranker"] / "assets" / "item_id").read_bytes().split()[0]
    values = request(inputs, 6)
    values = {
        name: np.repeat(v[:, :1], 6, 1) if inputs[name]["shape"] == ["B", "M"] else v for name, v in values.items()
    }
    values["item_id"] = np.array([[known, known, b"nobody", b"nothing", known, known]], object)
    values["item_price"] = np.array([[3.0, 3.0, 3.0, 3.0, np.nan, np.inf]], np.float32)
    (scores,) = _logits(client, values)
    assert scores[0] == scores[1] and scores[2] == scores[3] and scores[4] == scores[5]
    assert len({round(float(score), 4) for score in scores}) == 3


def test_served_scores_are_the_golden_ones(client, versions, request_log):
    from serving.export.golden import TOLERANCE, read_golden
    from serving.export.requests import request_inputs, without_padding

    for name, version in versions.items():
        examples, expected = read_golden(version)
        values = request_inputs(examples, request_log.feature_set, "request")
        answer = client.predict(name, values).outputs["probability"]
        np.testing.assert_allclose(answer, expected, atol=TOLERANCE)
        for k in range(3):
            one = without_padding({key: value[k : k + 1] for key, value in values.items()}, request_log.feature_set)
            answer = client.predict(name, one).outputs["probability"]
            assert answer.shape[1] == values["candidate"][k].sum()
            np.testing.assert_allclose(answer[0], expected[k, : answer.shape[1]], atol=TOLERANCE)


@pytest.mark.parametrize("number", [0, 1, LIST_SIZE + 1, 300])
def test_a_model_that_scores_one_by_one_takes_any_number_too(client, inputs, number):
    values = request(inputs, number)
    together = _logits(client, values, model="deepfm")
    assert together.shape == (1, number)
    last = {n: v[:, -1:] if inputs[n]["shape"] == ["B", "M"] else v for n, v in values.items()}
    if number:
        np.testing.assert_allclose(_logits(client, last, model="deepfm")[:, 0], together[:, -1], atol=1e-4)
