"""DUET's set-wise network; tests of the attention alone: test_linear_attention.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.layers.set_vectors import SetVectors
from models.preranking.set_ranker import SetRanker
from models.registry import build_model
from models.training.compiling import compile_model
from tests.helpers.layer_check import check_layer, policy
from tests.helpers.model_batches import ROW
from tests.helpers.set_batches import HISTORY, INPUTS, REAL, SIZES, moved, ordered, set_batch, with_more_padding
from transforms.features import CANDIDATE

_VARIANTS: dict[str, dict[str, Any]] = {
    "elu1": {},
    "relu": {"feature_map": "relu"},
    "softmax_qk": {"feature_map": "softmax_qk"},
    "exact": {"feature_map": "exact"},
    "history_alone": {"streams": ["history"]},
    "candidates_alone": {"streams": ["candidates"]},
    "point_wise": {"streams": []},
    "bare": {"recency": False, "cross": False},
}
_NO_HISTORY = tuple(item for item in INPUTS if item.name not in HISTORY)


def _model(variant: str = "elu1", inputs: Any = INPUTS, **options: Any) -> SetRanker:
    own = {"embedding_dim": 2, "hidden_units": (6, 5), "width": 4, "heads": 2, **_VARIANTS[variant], **options}
    return SetRanker(inputs, SIZES, **own)


def _made(variant: str = "elu1", inputs: Any = INPUTS, **options: Any) -> SetRanker:
    return moved(_model(variant, inputs, **options), set_batch())


def _same(one: Any, other: Any) -> None:
    np.testing.assert_allclose(np.asarray(one)[REAL], np.asarray(other)[REAL], rtol=1e-4, atol=1e-5)


def _norm(rows: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    deviation = np.sqrt(rows.var(1, keepdims=True) + 1e-3)
    return (rows - rows.mean(1, keepdims=True)) / deviation * gamma + beta


def _attention(queries: np.ndarray, keys: np.ndarray, kernels: list[np.ndarray]) -> np.ndarray:
    """Two heads, phi(x) = elu(x) + 1, real keys alone."""

    def phi(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))

    query, key, value = (np.split(x @ kernel, 2, axis=1) for x, kernel in zip((queries, keys, keys), kernels))
    similar = [phi(q) @ phi(k).T for q, k in zip(query, key)]
    return np.concatenate([s / (s.sum(1, keepdims=True) + 1e-6) @ v for s, v in zip(similar, value)], axis=1)


def test_eq3_eq4_and_the_head_equal_plain_numpy() -> None:
    model = _made()
    vectors = model.look_up(set_batch())
    assert model.ages is not None
    history, offered = (np.asarray(part, np.float64) for part in (vectors.history, vectors.candidates))
    for record, (n, m) in enumerate([(3, 4), (0, 2), (1, 3)]):
        c, s = offered[record, :m].reshape(m, 6), history[record, :n].reshape(n, 4)
        ages = model.ages.get_weights()[0][np.arange(n)[::-1]]
        attended = []
        for name, keys in (("history", s + ages), ("candidates", c)):
            found = _attention(c, keys, model.attentions[name].get_weights())
            attended.append(_norm(found, *model.norms[name].get_weights()))
        u = np.asarray(vectors.request[record], np.float64)
        products = np.einsum("fd,mgd->mfg", u, offered[record, :m]).reshape(m, -1)
        h = np.concatenate([c, *attended, products, np.tile(u.reshape(1, -1), (m, 1))], axis=1)
        own, shared, bias = model.first.get_weights()
        hidden = np.maximum(h @ np.concatenate([own, shared]) + bias, 0)
        w1, b1, w2, b2 = model.mlp.get_weights()
        expected = np.maximum(hidden @ w1 + b1, 0) @ w2 + b2
        np.testing.assert_allclose(model(set_batch())[record, :m], expected[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
def test_numbers_apart_from_their_vectors_give_the_same_scores(training: bool) -> None:
    scores = []
    for with_factors in (True, False):
        # A new model each time, as each call in training hides other fields.
        model = _made(field_dropout=0.5 if training else 0.0)
        vectors = model.look_up(set_batch())
        assert vectors.factored is not None and vectors.factored.columns.shape == (3, 4, 5)
        scores.append(model.interact(vectors if with_factors else vectors._replace(factored=None), training=training))
    _same(*scores)


@pytest.mark.parametrize("variant", _VARIANTS)
def test_permuting_candidates_permutes_scores(variant: str) -> None:
    model, order = _made(variant), [2, 0, 3, 1]
    expected = model(set_batch()).numpy()[:, order]
    found = model(ordered(set_batch(), order)).numpy()
    real = REAL[:, order]
    np.testing.assert_allclose(found[real], expected[real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("recency", [True, False])
def test_order_of_the_history_matters_by_recency_alone(recency: bool) -> None:
    model = _made(recency=recency)
    other = model(set_batch(((2, 4, 6), (), (1,)), ((1, 1, 2), (), (3,)))).numpy()
    if recency:
        assert np.abs(other - model(set_batch()).numpy())[0].min() > 1e-4
    else:
        _same(other, model(set_batch()))


@pytest.mark.parametrize("variant", _VARIANTS)
def test_padding_and_batch_mates_change_nothing(variant: str) -> None:
    model = _made(variant)
    whole = model(set_batch())
    _same(model(with_more_padding(set_batch()))[:, :4], whole)
    # A longer history in the batch pads the others'.
    longer = set_batch(((4, 6, 2), (), (1, 2, 3, 4)), ((1, 2, 1), (), (3, 1, 1, 1)))
    np.testing.assert_allclose(model(longer)[:2].numpy()[REAL[:2]], whole[:2].numpy()[REAL[:2]], rtol=1e-4, atol=1e-5)
    for k in range(3):
        alone = model(tf.nest.map_structure(lambda part, k=k: part[k : k + 1], set_batch()))
        np.testing.assert_allclose(alone.numpy()[0][REAL[k]], whole.numpy()[k][REAL[k]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", _VARIANTS)
def test_without_history_or_with_nothing_but_padding_all_is_finite(variant: str) -> None:
    model, batch = _made(variant), set_batch(((), (), ()), ((), (), ()))
    nothing = {**batch, CANDIDATE: tf.zeros([3, 4], tf.int64)}
    for features in (batch, nothing):
        with tf.GradientTape() as tape:
            logits = model(features, training=True)
            loss = tf.reduce_sum(logits)
        assert np.isfinite(logits).all()
        gradients = tape.gradient(loss, model.trainable_weights, unconnected_gradients="zero")
        assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)


def test_an_empty_history_is_one_of_zeros() -> None:
    model = _made()
    vectors = model.look_up(set_batch())
    attended, degrees = model.attentions["history"](
        tf.ones([3, 4, 6]), tf.reshape(vectors.history, [3, 3, 4]), vectors.history_mask
    )
    assert attended.numpy()[[0, 2]].any() and not attended.numpy()[1].any() and not degrees.numpy()[1].any()


def test_a_history_longer_than_max_length_keeps_the_last() -> None:
    model = _made()
    longer = set_batch(((7, 8, 4, 6, 2, 1), (), (1,)), ((1, 1, 1, 2, 1, 3), (), (3,)))
    last = set_batch(((4, 6, 2, 1), (), (1,)), ((1, 2, 1, 3), (), (3,)))
    np.testing.assert_array_equal(model(longer), model(last))


def test_a_candidate_that_comes_twice_scores_twice_alike_and_moves_the_others() -> None:
    model, batch = _made(), set_batch()
    twice = {**batch, **{name: tf.gather(batch[name], [0, 1, 2, 1], axis=1) for name in ("item", "category", "price")}}
    scores = model(twice).numpy()[0]
    assert scores[1] == pytest.approx(scores[3], rel=1e-5)
    assert abs(scores[0] - model(batch).numpy()[0, 0]) > 1e-5


def test_a_history_without_a_feature_of_it_is_a_stream_less() -> None:
    model = _made(inputs=_NO_HISTORY)
    assert set(model.attentions) == {"candidates"} and np.isfinite(model(set_batch())).all()
    assert model.get_config()["streams"] == ["history", "candidates"]


def test_degrees_are_watched_while_training() -> None:
    model = _made(width=2, heads=1)
    compile_model(model, 0.0)
    model.run_eagerly = True  # Of one step alone; tracing takes longer.
    weight = tf.constant(REAL, tf.float32)
    logs = model.train_on_batch(set_batch(), tf.zeros([3, 4]), weight, return_dict=True)
    vectors = model.look_up(set_batch())
    c = tf.reshape(vectors.candidates, [3, 4, 6])
    _, degrees = model.attentions["candidates"](c, c, vectors.candidate_mask)
    real = degrees.numpy()[REAL]
    assert logs["degree_min/candidates"] == pytest.approx(real.min(), rel=1e-4)
    assert logs["degree_max/candidates"] == pytest.approx(real.max(), rel=1e-4)
    # The request without a history, whose degrees are 0, tells nothing of attention.
    assert logs["degree_min/history"] > 0
    model.test_on_batch(set_batch(), tf.zeros([3, 4]), weight)
    assert float(model.degrees["candidates"][0].result()) == np.inf


def test_hidden_fields_are_hidden_in_training_alone_and_by_the_seed() -> None:
    def scores(seed: int, training: bool) -> np.ndarray:
        model = _made(field_dropout=0.5, recency=False)
        for side, layer in model.hiding.items():
            layer.seed = seed + len(side)
        logits: np.ndarray = model(set_batch(), training=training).numpy()
        return logits

    np.testing.assert_array_equal(scores(1, False), scores(2, False))
    np.testing.assert_array_equal(scores(1, True), scores(1, True))
    assert (scores(1, True) != scores(1, False)).any() and (scores(1, True) != scores(2, True)).any()


def test_a_hidden_field_is_hidden_for_all_candidates_of_a_request_alike() -> None:
    model = _model(field_dropout=0.5)
    vectors = model.look_up(set_batch())
    ones = vectors._replace(candidates=tf.ones_like(vectors.candidates), request=tf.ones_like(vectors.request))
    hidden = model._hidden(ones)
    assert set(np.unique(hidden.candidates)) | set(np.unique(hidden.request)) <= {0.0, 2.0}
    assert (hidden.candidates.numpy() == hidden.candidates.numpy()[:, :1, :, :1]).all()
    assert 0 < np.mean(hidden.candidates) < 2


def test_several_outputs_share_a_backbone_and_each_can_stand_alone() -> None:
    model = _made(outputs=2)
    logits = model(set_batch())
    assert logits.shape == (3, 4, 2)
    single = _model()
    single(set_batch())
    for output in range(2):
        alone = model.with_output(output)
        np.testing.assert_allclose(alone(set_batch()), logits[..., output], rtol=1e-5, atol=1e-6)
        assert [weight.shape for weight in alone.weights] == [weight.shape for weight in single.weights]


def _static(vectors: SetVectors) -> SetVectors:
    return vectors.resized(6, 5)


@pytest.mark.parametrize("variant", ["elu1", "relu", "softmax_qk", "exact"])
def test_xla_compiles_the_head_for_static_shapes(variant: str) -> None:
    model = _made(variant)
    run = tf.function(lambda vectors: model.interact(vectors, training=False), jit_compile=True, autograph=False)
    _same(run(_static(model.look_up(set_batch())))[:, :4], model(set_batch()))


def test_the_option_jit_compile_changes_no_score() -> None:
    plain, compiled = _made(), _made(jit_compile=True)
    vectors = _static(plain.look_up(set_batch()))
    for _ in range(2):
        _same(compiled.interact(vectors, training=False)[:, :4], plain(set_batch()))


def test_logits_are_float32_in_mixed_precision_and_degrees_too() -> None:
    exact = _made()
    with policy("mixed_bfloat16"):
        mixed = _made()
    logits = mixed(set_batch())
    assert logits.dtype == tf.float32
    np.testing.assert_allclose(logits.numpy()[REAL], exact(set_batch()).numpy()[REAL], atol=0.06 * 20)
    assert {weight.dtype for weight in mixed.trainable_weights} == {tf.float32}


class _Head(keras.layers.Layer):
    """The head as a layer of one argument."""

    def __init__(self, ranker: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.ranker = ranker if isinstance(ranker, SetRanker) else SetRanker.from_config(ranker)

    def call(self, vectors: dict[str, tf.Tensor], training: bool | None = None) -> tf.Tensor:
        return self.ranker.interact(SetVectors(**vectors), training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "ranker": self.ranker.get_config()}


@pytest.mark.parametrize("variant", ["elu1", "exact", "bare"])
def test_is_a_sound_model(variant: str, tmp_path: Path) -> None:
    def make() -> SetRanker:
        return _model(variant, hidden_units=(24, 16), dropout=0.2, embedding_l2=1e-3, field_dropout=0.2, name="ranker")

    # Lists become dense outside of what XLA takes; the head is compiled below.
    check_layer(make, set_batch(), tmp_path, compiles=False)


@pytest.mark.parametrize("variant", ["elu1", "softmax_qk"])
def test_has_a_sound_head(variant: str, tmp_path: Path) -> None:
    looked_up = _made(variant).look_up(set_batch())._asdict()
    del looked_up["factored"]  # It has a part without a batch.
    vectors = {name: part for name, part in looked_up.items() if part is not None}
    check_layer(lambda: _Head(_model(variant, hidden_units=(24, 16), outputs=2, name="r"), name="h"), vectors, tmp_path)


def test_config_gives_the_arguments_back() -> None:
    options: dict[str, Any] = {"dropout": 0.3, "embedding_l2": 0.5, "seed": 9, "feature_map": "relu", "heads": 1}
    options |= {"streams": ["history"], "recency": False, "cross": False, "field_dropout": 0.1, "outputs": 3}
    config = _model(**options).get_config()
    assert {key: config[key] for key in options} == options


def test_the_registry_knows_it_and_its_arguments() -> None:
    model = build_model("set_ranker", INPUTS, SIZES, width=8, l2_scope="table")
    assert isinstance(model, SetRanker) and model.options.width == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_units": ()}, "hidden_units is empty"),
        ({"batch_norm": True}, "batch_norm is True; expected False"),
        ({"streams": ["candidate"]}, "streams is 'candidate'; expected one of history, candidates"),
        ({"inputs": INPUTS[:4]}, "no feature is of an item; received user, hour, history, history_category"),
        ({"inputs": ROW}, "no feature has candidates; .* set `record: request`"),
        ({"feature_map": "cosformer"}, "feature_map is 'cosformer'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _model(**options)
