from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.cotraining.mutual_learning import MutualLearning
from models.ranking.dcn import DCN
from models.ranking.deepfm import DeepFM
from models.ranking.field_model import FieldModel
from models.ranking.pnn import PNN
from models.training.compiling import compile_model
from transforms.features import ModelInput

_SIZES = {"items": 7, "users": 5}
_INPUTS = (
    ModelInput(name="user", vocabulary="users", shape="scalar", entity="user"),
    ModelInput(name="item", vocabulary="items", shape="scalar", entity="item"),
    ModelInput(name="price", vocabulary=None, shape="scalar", entity="item"),
)
_CANDIDATES = (
    _INPUTS[0],
    ModelInput(name="item", vocabulary="items", shape="candidates", entity="item"),
)


def _batch(seed: int = 0) -> dict[str, tf.Tensor]:
    random = np.random.default_rng(seed)
    return {
        "user": tf.constant(random.integers(0, 5, 6)),
        "item": tf.constant(random.integers(0, 7, 6)),
        "price": tf.constant(random.normal(size=6), tf.float32),
    }


def _label(seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).integers(0, 2, 6), tf.float32)


def _deepfm(seed: int = 1, **options: Any) -> DeepFM:
    return DeepFM(_INPUTS, _SIZES, embedding_dim=3, hidden_units=(4,), seed=seed, **options)


def _mixed() -> list[FieldModel]:
    """Peers of three classes, widths and kinds of table."""
    return [
        _deepfm(seed=1),
        DCN(_INPUTS, _SIZES, embedding_dim=2, hidden_units=(5,), seed=2),
        PNN(_INPUTS, _SIZES, embedding_dim=4, hidden_units=(3,), seed=3, embedding_l2=0.1),
    ]


def _group(count: int, **options: Any) -> MutualLearning:
    return MutualLearning([_deepfm(seed) for seed in range(count)], **options)


def _compiled(model: keras.Model, learning_rate: float, optimizer: Any = "adam") -> None:
    compile_model(model, learning_rate, optimizer)
    model.run_eagerly = True  # A few steps of many models: compiling each would take longer.


def _mutual(group: MutualLearning, logits: Any, weight: Any = None) -> float:
    values = tf.unstack(tf.constant(logits, tf.float32), axis=-1)
    return float(_terms(group, values, tf.zeros_like(values[0]), weight)["mutual"])


def _terms(group: MutualLearning, logits: list[tf.Tensor], label: tf.Tensor, weight: Any = None) -> Any:
    return group.loss_terms(Clicks(label, weight, {}), logits, [[]] * len(logits))


def _logit(probability: Any) -> Any:
    return np.log(probability) - np.log1p(-np.asarray(probability))


def test_eq1_and_eq3_mean_squared_distance_to_the_other_peers_by_hand() -> None:
    # One example, p = 0.5, 0.7, 0.2. Peer 0: (0.04 + 0.09) / 2; peer 1: (0.04 + 0.25) / 2; peer 2: (0.09 + 0.25) / 2.
    assert _mutual(_group(3), [_logit([0.5, 0.7, 0.2])]) == pytest.approx(0.38, rel=1e-5)
    # A second example in full agreement halves the mean.
    assert _mutual(_group(3), [_logit([0.5, 0.7, 0.2]), [1.0] * 3]) == pytest.approx(0.19, rel=1e-5)
    assert _mutual(_group(3, mutual_weight=0.5), [_logit([0.5, 0.7, 0.2])]) == pytest.approx(0.19, rel=1e-5)


def test_eq2_click_loss_of_each_peer_by_hand() -> None:
    group = _group(2)
    logits = [tf.constant(_logit(each), tf.float32) for each in ([0.8, 0.5], [0.1, 0.6])]
    terms = _terms(group, logits, tf.constant([1.0, 0.0]))
    expected = [-(np.log(0.8) + np.log(0.5)) / 2, -(np.log(0.1) + np.log(0.4)) / 2]
    assert float(terms["bce"]) == pytest.approx(sum(expected), rel=1e-5)


def test_two_peers_have_the_squared_difference_each() -> None:
    assert _mutual(_group(2), [_logit([0.9, 0.6])]) == pytest.approx(2 * 0.09, rel=1e-5)


def test_one_peer_has_no_mutual_loss() -> None:
    assert _mutual(_group(1), [[3.0], [-1.0]]) == 0


@pytest.mark.parametrize("loss", ["mse", "logit_mse", "symmetric_kl"])
def test_equal_predictions_have_no_mutual_loss(loss: Any) -> None:
    assert _mutual(_group(3, loss=loss), [[0.3] * 3, [-2.0] * 3]) == 0


def test_other_distances_by_hand() -> None:
    p, q = 0.9, 0.6
    apart = _logit(p) - _logit(q)
    assert _mutual(_group(2, loss="logit_mse"), [_logit([p, q])]) == pytest.approx(2 * apart**2, rel=1e-5)
    one = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    other = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    # Both directions halved are the loss of each of the two peers.
    kl = _mutual(_group(2, loss="symmetric_kl"), [_logit([p, q])])
    assert kl == pytest.approx(2 * (one + other) / 2, rel=1e-4)


def test_weights_leave_elements_out() -> None:
    logits = [[_logit([0.9, 0.6]), [5.0, -5.0]]]  # one request of two candidates, the second without weight
    assert _mutual(_group(2), logits, tf.constant([[1.0, 0.0]])) == pytest.approx(0.18, rel=1e-5)
    assert _mutual(_group(2), logits, tf.constant([[0.0, 0.0]])) == 0


def _mutual_gradient(group: MutualLearning, logits: np.ndarray) -> np.ndarray:
    values = tf.constant(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(values)
        each = tf.unstack(values, axis=-1)
        loss = _terms(group, each, tf.zeros_like(each[0]))["mutual"]
    gradient: np.ndarray = tape.gradient(loss, values).numpy()
    return gradient


def test_each_loss_moves_its_own_peer_only() -> None:
    p = np.array([0.5, 0.7, 0.2])
    # d/d logit_n of (1/2) sum_i (p_i - p_n)^2 with p_i constant; other peers' losses would add as much again.
    expected = [sum(p[n] - p[i] for i in range(3)) * p[n] * (1 - p[n]) for n in range(3)]
    np.testing.assert_allclose(_mutual_gradient(_group(3), _logit(p)[None]), [expected], rtol=1e-5)
    both = _mutual_gradient(_group(3, stop_gradient=False), _logit(p)[None])
    np.testing.assert_allclose(both, [2 * np.array(expected)], rtol=1e-5)


def test_a_peer_starts_as_the_model_alone_would() -> None:
    group = MutualLearning(_mixed())
    outputs = group(_batch())
    for name, alone in zip(outputs, _mixed(), strict=True):
        np.testing.assert_allclose(outputs[name], alone(_batch()), rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "ftrl"])
def test_peers_without_mutual_loss_train_as_they_would_alone(optimizer: Any) -> None:
    group, alone = MutualLearning(_mixed(), mutual_weight=0), _mixed()
    models: list[keras.Model] = [group, *alone]
    for model in models:
        _compiled(model, 0.01, optimizer)
    for step in range(4):
        for model in models:
            model.train_on_batch(_batch(step), _label(step))
    outputs = group(_batch(9))
    for name, model in zip(outputs, alone, strict=True):
        np.testing.assert_allclose(outputs[name], model(_batch(9)), rtol=1e-3, atol=1e-5)


def test_the_mutual_loss_draws_peers_together() -> None:
    def spread(weight: float) -> float:
        group = _group(3, mutual_weight=weight)
        _compiled(group, 0.02)
        for _ in range(12):
            group.train_on_batch(_batch(), _label())
        return float(np.std(list(tf.nest.map_structure(tf.sigmoid, group(_batch())).values()), axis=0).mean())

    assert spread(100.0) < 0.5 * spread(0.0)


def test_without_mutual_loss_and_learning_rate_nothing_moves_by_a_bit() -> None:
    pretrained = _mixed()
    for model in pretrained:
        _compiled(model, 0.1)
        model.train_on_batch(_batch(), _label())
    group = MutualLearning(_mixed(), mutual_weight=0.0)
    group(_batch())
    for index, model in enumerate(pretrained):
        group.load_peer(index, model)
    _compiled(group, 0.0)
    group.train_on_batch(_batch(1), _label(1))
    for index, model in enumerate(pretrained):
        np.testing.assert_array_equal(group.peer(index)(_batch()), model(_batch()))


def test_a_peer_taken_out_answers_alike_and_holds_nothing_of_the_others() -> None:
    group = MutualLearning(_mixed())
    _compiled(group, 0.1)
    group.train_on_batch(_batch(), _label())
    outputs = group(_batch())
    for index, name in enumerate(outputs):
        alone = group.peer(index)
        np.testing.assert_allclose(alone(_batch()), outputs[name], rtol=1e-6)
        like = _mixed()[index]
        like(_batch())
        assert [weight.shape for weight in alone.weights] == [weight.shape for weight in like.weights]


def test_candidates_are_scored_by_every_peer() -> None:
    peers = [DeepFM(_CANDIDATES, _SIZES, embedding_dim=2, hidden_units=(3,), seed=seed) for seed in (1, 2)]
    group = MutualLearning(peers)
    _compiled(group, 0.1)
    batch = {"user": tf.constant([1, 2], tf.int64), "item": tf.constant([[1, 2, 0], [3, 0, 0]], tf.int64)}
    label, real = tf.constant([[1.0, 0, 0], [0, 0, 0]]), tf.constant([[1.0, 1, 0], [1, 0, 0]])
    logs = group.train_on_batch(batch, label, sample_weight=real, return_dict=True)
    # Everybody starts at 0.5, and nobody differs.
    assert logs["loss/bce"] == pytest.approx(2 * np.log(2), rel=1e-3) and logs["loss/mutual"] < 1e-6
    assert {name: logits.shape for name, logits in group(batch).items()} == {"peer_0": (2, 3), "peer_1": (2, 3)}


def test_each_term_and_each_peer_is_a_metric_and_compiled_ones_are_honoured() -> None:
    group = _group(2)
    group.compile(optimizer="sgd", run_eagerly=True, metrics=[keras.metrics.MeanSquaredError(name="squares")])
    dataset = tf.data.Dataset.from_tensors((_batch(), _label()))
    history = group.fit(dataset, validation_data=dataset, verbose=0).history
    expected = {"loss", "loss/bce", "loss/mutual", "logloss", "examples"}
    expected |= {f"{metric}/peer_{k}" for metric in ("auc", "logloss") for k in range(2)}
    expected |= {"peer_0_squares", "peer_1_squares"}
    assert set(history) == expected | {f"val_{name}" for name in expected}
    assert history["loss"] == pytest.approx([history["loss/bce"][0] + history["loss/mutual"][0]])


def test_a_saved_config_gives_the_group_back() -> None:
    group = MutualLearning(_mixed(), mutual_weight=0.5, loss="logit_mse", stop_gradient=False)
    copy = MutualLearning.from_config(group.get_config())
    assert copy.get_config() == group.get_config()
    for one, other in zip(copy(_batch()).values(), group(_batch()).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_peer_is_refused() -> None:
    with pytest.raises(ValueError, match="peers is empty; expected at least one"):
        MutualLearning([])


def test_peers_of_other_features_or_vocabularies_are_refused() -> None:
    fewer = DeepFM(_INPUTS[:2], _SIZES, embedding_dim=3)
    with pytest.raises(ValueError, match=r"features of peer 1 differ from those of peer 0 \(price\)"):
        MutualLearning([_deepfm(), fewer])
    with pytest.raises(ValueError, match="peer 1 has table sizes"):
        MutualLearning([_deepfm(), DeepFM(_INPUTS, {"items": 8, "users": 5}, embedding_dim=3)])


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda: DCN(_INPUTS, _SIZES, embedding_dim=3, hidden_units=(4,)), "class DCN"),
        (lambda: DeepFM(_INPUTS, {"items": 9, "users": 5}, embedding_dim=3, hidden_units=(4,)), "'items': 9"),
        (lambda: DeepFM(_INPUTS, _SIZES, embedding_dim=3, hidden_units=(8,)), r"hidden_units \[8\]"),
    ],
)
def test_a_checkpoint_of_another_model_or_vocabulary_is_refused(other: Any, told: str) -> None:
    group, model = _group(2), other()
    group(_batch())
    model(_batch())
    with pytest.raises(ValueError, match=told):
        group.load_peer(0, model)


@pytest.mark.parametrize(
    ("options", "told"), [({"mutual_weight": -1.0}, "mutual_weight is -1"), ({"loss": "l1"}, "'l1'")]
)
def test_wrong_options_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        _group(2, **options)
