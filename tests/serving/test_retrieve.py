"""An exported two-tower model behind the local server: vectors, the best items, and golden answers."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow_serving.apis import prediction_log_pb2

from models.ranking.deepfm import DeepFM
from models.retrieval.dssm import DSSM
from models.retrieval.int_tower import IntTower
from serving.client import PredictClient, ServingError
from serving.client.lists import padded_ids
from serving.contract import BATCHING_PARAMETERS, read_contract
from serving.export.golden import read_golden
from serving.export.requests import request_inputs
from serving.export.signatures import ServedModel
from serving.export.warmup import WARMUP
from serving.loading import Scorer
from serving.retrieval.catalogue import Catalogue, item_columns
from serving.retrieval.golden import GOLDEN_RETRIEVAL, asking_saved_model, check_golden_retrieval
from serving.retrieval.signatures import ServedTowers
from serving.server.server import LocalServer
from tests.helpers.batching_server import parameters_of
from tests.helpers.served_towers import ITEMS, NAME, ToyTowers, exact, export_towers, tower_model, user_inputs
from tests.helpers.toy_data import toy_features
from transforms.beam.transform_dataset import load_transform
from transforms.errors import GateRefused, InputError
from transforms.features import Column, Encoding, Feature, FeatureSet


@pytest.fixture(scope="module")
def client(towers: ToyTowers) -> Iterator[PredictClient]:
    with LocalServer({NAME: towers.base}) as server:
        server.wait_ready(120)
        with PredictClient(server.address, timeout_s=20.0) as client:
            yield client


@pytest.fixture(scope="module")
def rows(towers: ToyTowers) -> dict[str, Any]:
    """The model's inputs of the logged rows, both sides whole."""
    transform = load_transform(towers.folder / "transformed")
    return ServedModel(towers.model, transform, towers.features, "row").features_of(towers.examples)


@pytest.fixture(scope="module")
def vectors(towers: ToyTowers, client: PredictClient) -> np.ndarray:
    """Of all items, by id."""
    columns = dict(towers.catalogue().columns.items())
    found: np.ndarray = client.predict(NAME, columns, "item_embedding").outputs["embedding"]
    return found


def _scores(towers: ToyTowers, client: PredictClient, vectors: np.ndarray, inputs: dict[str, Any]) -> np.ndarray:
    users = client.predict(NAME, inputs, "user_embedding").outputs["embedding"]
    return exact(users, vectors, towers.model)


def test_each_side_alone_gives_the_vectors_that_the_model_gives_whole_rows(
    towers: ToyTowers, client: PredictClient, rows: dict[str, Any]
) -> None:
    items = [column.name for column in item_columns(towers.features)]
    sent = {
        "user_embedding": user_inputs(towers, 24),
        "item_embedding": request_inputs(towers.examples, towers.features, "row", items),
    }
    for name, inputs in sent.items():
        served = client.predict(NAME, inputs, name).outputs["embedding"]
        np.testing.assert_allclose(served, getattr(towers.model, name)(rows).numpy(), atol=1e-5)
        assert served.shape == (24, 6) and served.std() > 0.01
    assert not set(sent["user_embedding"]) & set(sent["item_embedding"])


def test_the_other_side_of_a_row_does_not_matter(towers: ToyTowers, rows: dict[str, Any]) -> None:
    entities = {item.name: item.entity for item in towers.features.model_inputs("row")}
    order = tf.random.experimental.stateless_shuffle(tf.range(24), [1, 2])
    for name, side in (("user_embedding", False), ("item_embedding", True)):
        mixed = {
            key: value if (entities[key] == "item") is side else tf.gather(value, order) for key, value in rows.items()
        }
        embed = getattr(towers.model, name)
        np.testing.assert_array_equal(embed(mixed).numpy(), embed(rows).numpy())


def test_the_best_items_are_those_of_numpy(towers: ToyTowers, client: PredictClient, vectors: np.ndarray) -> None:
    inputs, ids = user_inputs(towers), towers.catalogue().ids
    scores = _scores(towers, client, vectors, inputs)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :7]
    found = client.retrieve(NAME, inputs, k=7)
    assert found.item_ids.tolist() == ids[order].tolist() and (found.model, found.version) == (NAME, 1)
    np.testing.assert_allclose(found.scores, np.take_along_axis(scores, order, 1), atol=1e-5)
    assert found.scores.std(axis=1).min() > 0.01


def test_without_k_the_default_holds_and_without_a_list_nothing_is_left_out(
    towers: ToyTowers, client: PredictClient
) -> None:
    found = client.retrieve(NAME, user_inputs(towers))
    assert found.item_ids.shape == (5, ITEMS)
    assert all(set(row) == set(towers.catalogue().ids) for row in found.item_ids.tolist())
    columns = {"user_id", "history", "history_lengths"}
    assert client.metadata(NAME)["retrieve"].defaults == {"k", "exclude", "exclude_count", *columns}


def test_ids_to_leave_out_are_of_any_number_and_the_next_best_come(towers: ToyTowers, client: PredictClient) -> None:
    inputs = user_inputs(towers, 2)
    best = client.retrieve(NAME, inputs).item_ids
    found = client.retrieve(NAME, inputs, 3, [best[0, [0, 2]].tolist(), []])
    assert found.item_ids.tolist() == [best[0, [1, 3, 4]].tolist(), best[1, :3].tolist()]
    for_all = client.retrieve(NAME, inputs, 3, [["i1", "nobody"]])
    for row in range(2):
        assert for_all.item_ids[row].tolist() == [one for one in best[row] if one != b"i1"][:3]
    few = client.retrieve(NAME, inputs, ITEMS, [[b"i1", b"i2"]])
    assert few.item_ids[:, -2:].tolist() == [[b"", b""]] * 2 and np.isneginf(few.scores[:, -2:]).all()


@pytest.mark.parametrize("k", [0, -3, ITEMS + 1])
def test_a_k_beyond_the_catalogue_is_an_invalid_argument(towers: ToyTowers, client: PredictClient, k: int) -> None:
    with pytest.raises(ServingError, match=rf"(?s)INVALID_ARGUMENT.*k: received.*{k}.*expected 1 to {ITEMS}"):
        client.retrieve(NAME, user_inputs(towers), k)


def test_no_graph_is_shown_to_who_asks_for_too_many(towers: ToyTowers, client: PredictClient) -> None:
    with pytest.raises(ServingError) as caught:
        client.retrieve(NAME, user_inputs(towers), 10_000)
    expected = f"expected 1 to {ITEMS}, the items of the catalogue; lower it"
    assert caught.value.details == f"k: received 10000; {expected}"


def test_each_user_may_ask_for_another_number(towers: ToyTowers, client: PredictClient) -> None:
    inputs = user_inputs(towers, 3)
    best = client.retrieve(NAME, inputs, 4)
    nobody: dict[str, Any] = {"exclude": np.zeros([3, 0], object)}
    found = client.predict(NAME, {**inputs, "k": np.array([1, 4, 2], np.int32), **nobody}, "retrieve").outputs
    assert found["item_id"].shape == (3, 4)
    for row, k in enumerate((1, 4, 2)):
        assert found["item_id"][row].tolist() == [*best.item_ids[row, :k], *[b""] * (4 - k)]
        np.testing.assert_allclose(found["score"][row, :k], best.scores[row, :k], atol=1e-5)
        assert np.isneginf(found["score"][row, k:]).all()


@pytest.mark.parametrize("sent", [np.int32(3), np.array([3], np.int32), np.array([3, 3], np.int32)])
def test_k_may_be_one_number_as_earlier_clients_send_it(towers: ToyTowers, client: PredictClient, sent: Any) -> None:
    inputs = user_inputs(towers, 2)
    with PredictClient(client.address, timeout_s=20.0, check_inputs=False) as earlier:
        found = earlier.predict(NAME, {**inputs, "k": sent}, "retrieve").outputs["item_id"]
    assert found.tolist() == client.retrieve(NAME, inputs, 3).item_ids.tolist()


def _refusal(client: PredictClient, inputs: dict[str, Any], signature: str) -> str:
    with pytest.raises(ServingError) as caught:
        client.predict(NAME, inputs, signature)
    assert caught.value.code == "INVALID_ARGUMENT"
    return caught.value.details


def test_every_signature_refuses_inputs_of_another_batch_size(towers: ToyTowers, client: PredictClient) -> None:
    names = client.metadata(NAME)
    with PredictClient(client.address, timeout_s=20.0, check_inputs=False) as unchecked:
        for signature in ("serving_default", "user_embedding", "item_embedding", "retrieve"):
            inputs = request_inputs(towers.examples[:4], towers.features, "row", names[signature].inputs)
            assert len(unchecked.predict(NAME, inputs, signature).outputs) > 0
            for name, values in inputs.items():
                for size in (1, 2, 3):
                    expected = f"input {name}: received batch size {size}; expected 4, that of the other inputs"
                    # What the graph says is what the client says before it sends anything.
                    for asked in (unchecked, client):
                        assert expected in _refusal(asked, {**inputs, name: values[:size]}, signature)


def test_lists_with_holes_are_sent_as_they_are(towers: ToyTowers, client: PredictClient) -> None:
    inputs = user_inputs(towers, 3)
    lists: list[list[Any]] = [["i1", None, "i3"], [], ["i1", "i2", None]]
    padded = [["i1", "", "i3", ""], [""] * 4, ["i1", "i2", "", ""]]
    given = {**inputs, "history": np.array(padded, object), "history_lengths": np.array([3, 0, 3])}
    expected = client.predict(NAME, given, "user_embedding").outputs["embedding"]
    del inputs["history_lengths"]
    found = client.predict(NAME, {**inputs, "history": lists}, "user_embedding").outputs["embedding"]
    np.testing.assert_array_equal(found, expected)
    # The model reads the last two elements, of which the last user's last one is missing.
    dense = {**inputs, "history": np.array(padded, object)}
    without = client.predict(NAME, dense, "user_embedding").outputs["embedding"]
    np.testing.assert_array_equal(without[:2], expected[:2])
    assert np.abs(without[2] - expected[2]).max() > 1e-6


def test_users_together_get_what_each_gets_alone_and_unknown_ones_share_an_answer(
    towers: ToyTowers, client: PredictClient
) -> None:
    inputs = user_inputs(towers, 4)
    inputs["user_id"] = np.array([*inputs["user_id"][:2], b"nobody", b"none"], object)
    for name in ("timestamp", "history", "history_lengths"):
        inputs[name][3] = inputs[name][2]
    together = client.retrieve(NAME, inputs, 5)
    for row in range(4):
        alone = client.retrieve(NAME, {name: value[row : row + 1] for name, value in inputs.items()}, 5)
        assert alone.item_ids[0].tolist() == together.item_ids[row].tolist()
        np.testing.assert_allclose(alone.scores[0], together.scores[row], atol=1e-5)
    assert together.item_ids[2].tolist() == together.item_ids[3].tolist()
    assert np.isfinite(together.scores).all()


def test_the_default_signature_scores_rows_as_before(towers: ToyTowers) -> None:
    examples, expected = read_golden(towers.version)
    np.testing.assert_allclose(Scorer(towers.version)(examples), expected, atol=1e-5)
    assert len(expected) == 24


def test_golden_answers_hold_on_the_server_and_for_the_saved_model(towers: ToyTowers, client: PredictClient) -> None:
    def ask(inputs: dict[str, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        found = client.retrieve(NAME, inputs, k)
        return found.item_ids, found.scores

    check_golden_retrieval(towers.version, ask)
    check_golden_retrieval(towers.version, asking_saved_model(towers.version))


def _other_score(told: dict[str, Any]) -> None:
    told["score"][1][3] += 0.01


def _other_item(told: dict[str, Any]) -> None:
    told["item_id"][1][0], told["item_id"][1][5] = told["item_id"][1][5], told["item_id"][1][0]


@pytest.mark.parametrize("change", [_other_score, _other_item])
def test_other_answers_than_the_golden_ones_are_refused(towers: ToyTowers, tmp_path: Path, change: Any) -> None:
    copy = tmp_path / "1"
    shutil.copytree(towers.version, copy)
    told = json.loads((copy / GOLDEN_RETRIEVAL).read_text())
    change(told)
    (copy / GOLDEN_RETRIEVAL).write_text(json.dumps(told))
    with pytest.raises(GateRefused, match="rejected by golden retrieval:\n  - user 1: .*expected") as caught:
        check_golden_retrieval(copy, asking_saved_model(towers.version))
    assert len(caught.value.reasons) == 1


def test_the_contract_tells_signatures_catalogue_and_digest_and_no_flag(towers: ToyTowers) -> None:
    contract = read_contract(towers.version)
    signatures = contract["signatures"]
    assert {"serving_default", "user_embedding", "item_embedding", "retrieve"} <= set(signatures)
    assert list(signatures["item_embedding"]["inputs"]) == ["item_id", "price", "count"]
    assert signatures["user_embedding"]["outputs"] == {"embedding": {"dtype": "float", "shape": ["B", 6]}}
    assert (
        signatures["retrieve"]["limits"] == {"k": ITEMS} and signatures["retrieve"]["inputs"]["k"]["default"] == ITEMS
    )
    assert signatures["retrieve"]["inputs"]["history_lengths"] == {
        "dtype": "int64", "shape": ["B"], "lengths_of": "history", "default": -1,
    }  # fmt: skip
    assert contract["batching"]["min_max_batch_size"] == 32 and contract["batching"]["recommended"]
    assert contract["batching"]["pad_variable_length_inputs"] == "safe"
    parameters = parameters_of((towers.version / BATCHING_PARAMETERS).read_text())
    assert parameters.max_batch_size.value == contract["batching"]["max_batch_size"] >= 32
    assert parameters.pad_variable_length_inputs
    told = contract["retrieval"]
    assert told["items"] == ITEMS and told["vector_shape"] == [6] and len(told["sha256"]) == 64
    assert told["similarity"] == {"kind": "inner_product", "scale": 2.0, "bias": -0.5}
    assert contract["buckets"] is None and contract["server_flags_required"] == []


def test_warm_up_asks_for_items_too(towers: ToyTowers) -> None:
    found: list[int] = []
    for record in tf.data.TFRecordDataset(str(towers.version / WARMUP)):
        sent = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        if sent.model_spec.signature_name == "retrieve":
            columns = {"user_id", "timestamp", "history", "history_lengths"}
            assert set(sent.inputs) == columns | {"k", "exclude", "exclude_count"}
            sizes = {proto.tensor_shape.dim[0].size for proto in sent.inputs.values()}
            # A server that joins requests to batches takes no other ones.
            assert len(sizes) == 1
            found += sizes
    assert found == [1, 8]


def test_without_a_catalogue_there_are_vectors_only(towers: ToyTowers, tmp_path: Path) -> None:
    made = export_towers(towers.folder, tmp_path / NAME, towers.model, catalogue=None)
    contract = read_contract(made.version)
    assert "retrieve" not in contract["signatures"] and "user_embedding" in contract["signatures"]
    assert "retrieval" not in contract
    with pytest.raises(InputError, match="expected golden answers beside the model"):
        check_golden_retrieval(made.version, asking_saved_model(towers.version))


def test_a_catalogue_is_refused_without_towers_and_without_its_columns(towers: ToyTowers, tmp_path: Path) -> None:
    inputs = towers.features.model_inputs("row")
    ranker = DeepFM(inputs, {str(item.vocabulary): 9 for item in inputs}, embedding_dim=2, hidden_units=(3,))
    with pytest.raises(ValueError, match="is a DeepFM; expected a TowerModel"):
        export_towers(towers.folder, tmp_path / NAME, ranker)
    catalogue = towers.catalogue()
    with pytest.raises(InputError, match="received no column price, count"):
        bare = Catalogue(catalogue.ids, {"item_id": catalogue.ids})
        export_towers(towers.folder, tmp_path / NAME, towers.model, catalogue=bare)
    assert not (tmp_path / NAME / "1").exists()


@pytest.mark.parametrize("name", ["k", "exclude"])
def test_a_column_named_as_an_input_of_retrieve_is_refused(towers: ToyTowers, name: str) -> None:
    features = toy_features()
    columns = (*features.columns, Column(name=name, dtype="string", entity="user"))
    declared = (*features.features, Feature(name="more", column=name, encoding=Encoding.ID))
    named = FeatureSet(columns=columns, features=declared, vocabularies=features.vocabularies)
    expected = (
        rf"a user's column named '{name}'; expected other names than k and exclude, which are inputs of `retrieve`"
    )
    with pytest.raises(InputError, match=expected):
        ServedTowers(towers.model, dict, named, "row", towers.catalogue())
    # Without items there is nothing to ask for, and an item's column is no input of it.
    ServedTowers(towers.model, dict, named, "row", None)
    columns = (*features.columns, Column(name=name, dtype="string", entity="item"))
    with pytest.raises(InputError, match=f"received no column {name}"):
        of_item = FeatureSet(columns=columns, features=declared, vocabularies=features.vocabularies)
        ServedTowers(towers.model, dict, of_item, "row", towers.catalogue())


@pytest.mark.parametrize("model_class", [DSSM, IntTower])
def test_no_user_gets_no_items(towers: ToyTowers, tmp_path: Path, model_class: Any) -> None:
    made = export_towers(towers.folder, tmp_path / NAME, tower_model(towers.folder, model_class))
    nobody = {name: values[:0] for name, values in user_inputs(made, 1).items()}
    ids, scores = asking_saved_model(made.version)(nobody, 3)
    assert ids.shape == scores.shape == (0, 3)


class _Halves(keras.layers.Layer):
    """The sum, over two parts of u, of the larger product with a part of v; no inner product."""

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        user, item = (tf.stack(tf.split(part, 2, axis=-1), axis=-2) for part in inputs)
        return tf.reduce_sum(tf.reduce_max(tf.einsum("bhw,bmgw->bmhg", user, item), axis=3), axis=2)


class _TwoHeads(DSSM):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.similarity = _Halves()


@pytest.mark.parametrize(("model_class", "scale"), [(DSSM, -1.5), (_TwoHeads, 1.0)])
def test_any_similarity_is_retrieved_by(towers: ToyTowers, tmp_path: Path, model_class: Any, scale: float) -> None:
    model = tower_model(towers.folder, model_class, scale)
    made = export_towers(towers.folder, tmp_path / NAME, model)
    ask = asking_saved_model(made.version)
    check_golden_retrieval(made.version, ask)
    inputs = user_inputs(made, 3)
    loaded = tf.saved_model.load(str(made.version))
    users = loaded.signatures["user_embedding"](**{name: tf.constant(value) for name, value in inputs.items()})
    items = {name: tf.constant(value.tolist() if value.dtype == object else value)
             for name, value in made.catalogue().columns.items()}  # fmt: skip
    vectors = loaded.signatures["item_embedding"](**items)["embedding"].numpy()
    scores = exact(users["embedding"].numpy(), vectors, model)
    ids, found = ask(inputs, 4)
    assert ids.tolist() == made.catalogue().ids[np.argsort(-scores, axis=1)[:, :4]].tolist()
    np.testing.assert_allclose(found, -np.sort(-scores, axis=1)[:, :4], atol=1e-5)
    kind = read_contract(made.version)["retrieval"]["similarity"]
    assert kind["kind"] == ("inner_product" if model_class is DSSM else "model")


@pytest.mark.parametrize(
    ("lists", "wanted"),
    [
        ([["a"], []], [["a"], [b""]]),
        ([[], []], [[], []]),
        ([[], [3, 4]], [[-1, -1], [3, 4]]),
        ([[b"x", "y"]], [[b"x", "y"]]),
    ],
)
def test_ids_to_leave_out_are_padded_with_the_missing_marker_of_their_type(lists: Any, wanted: Any) -> None:
    assert padded_ids(lists).tolist() == wanted
