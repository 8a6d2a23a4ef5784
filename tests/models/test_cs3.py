"""CS3: what the caches hold, when they are read and written, and that nothing trains them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.cotraining.clicks import Clicks
from models.cotraining.cs3 import CS3
from models.ranking.target_attention_ranker import TargetAttentionRanker
from models.retrieval.dssm import DSSM
from models.retrieval.int_tower import IntTower
from models.training.optimizers import LazyAdam
from tests.helpers.model_batches import ROW, SIZES
from tests.helpers.tower_pairs import HIDDEN, VECTOR, cs3, events, moved

_FOUR = ("cross_user", "cross_item", "cascade_user", "cascade_item")


def _state(model: CS3) -> dict[str, np.ndarray]:
    return {name: store.vectors.numpy() for name, store in model.caches.stores.items()}


def _stepped(model: CS3, batch: Any, learning_rate: float = 0.01) -> CS3:
    model.compile(optimizer=LazyAdam(learning_rate))
    model.train_step(batch)
    return model


def _told(model: CS3, features: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """u, v and h of some rows."""
    _, ((user, item), (hidden,), _) = model(features, training=True, with_sides=True)
    return user.numpy(), item.numpy(), hidden.numpy()


def test_cts_and_cms_as_a_loop_over_the_events() -> None:
    features, label = events(40)
    model = moved(cs3(alpha=0.7, beta=0.6), features)
    user, item, hidden = _told(model, features)
    expected = {name: np.zeros_like(value) for name, value in _state(model).items()}
    rows = zip(features["user"].numpy(), features["item"].numpy(), label.numpy(), user, item, hidden, strict=True)
    for i, j, y, u, v, h in rows:
        written = {"cascade_user": (i, h, 0.6), "cascade_item": (j, h, 0.6)}
        if y:
            written |= {"cross_user": (i, v, 0.7), "cross_item": (j, u, 0.7)}
        for name, (key, vector, share) in written.items():
            if key:  # Row 0 is padding.
                expected[name][key] = share * expected[name][key] + (1 - share) * vector
    _stepped(model, (features, label))
    for name, value in _state(model).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert set(expected) == set(_FOUR)


def test_negatives_leave_the_cross_vectors_and_move_the_cascade_vectors() -> None:
    features, label = events(10)
    model = _stepped(moved(cs3(), features), (features, tf.zeros_like(label)))
    moves = {name: bool(value.any()) for name, value in _state(model).items()}
    assert moves == {"cross_user": False, "cross_item": False, "cascade_user": True, "cascade_item": True}


def test_a_step_reads_before_it_writes() -> None:
    # A sentinel stands in the caches: had anything been written before the forward pass, it would be gone.
    features, label = events(12)
    label = tf.ones_like(label)
    model = moved(cs3(alpha=0.0, beta=0.0), features)
    for store in model.caches.stores.values():
        store.vectors.assign(tf.fill(store.vectors.shape, 3.0))
    _, item, hidden = _told(model, features)
    _stepped(model, (features, label))
    last = {int(i): n for n, i in enumerate(features["user"].numpy()) if i}
    for i, n in last.items():
        np.testing.assert_allclose(model.caches.stores["cross_user"].vectors[i].numpy(), item[n], rtol=1e-5)
        np.testing.assert_allclose(model.caches.stores["cascade_user"].vectors[i].numpy(), hidden[n], rtol=1e-5)


def test_the_leaky_control_sees_what_its_own_labels_left() -> None:
    features, label = events(12)
    label = tf.ones_like(label)
    honest, leaky = (moved(cs3(alpha=0.0, leaky=leaky), features) for leaky in (False, True))
    # From empty caches the honest step's loss is that of zeros; the other's is not.
    before = float(Clicks(label, None, features).log_loss(honest(features, training=True)["towers"]))
    losses = []
    for model in (honest, leaky):
        model.compile(optimizer=LazyAdam(0.01))
        losses.append(float(model.train_step((features, label))["loss/bce"]))
    assert losses[0] == pytest.approx(before, rel=1e-6) and abs(losses[1] - before) > 1e-3


def test_no_gradient_enters_a_cache_and_the_towers_get_none_of_the_rankers() -> None:
    features, label = events(12)
    model = moved(cs3(), features)
    _stepped(model, (features, label), 0.0)
    trainable = {id(weight) for weight in model.trainable_weights}
    assert not any(id(weight) in trainable for store in model.caches.stores.values() for weight in store.weights)
    with tf.GradientTape(persistent=True) as tape:
        logits, sides = model(features, training=True, with_sides=True)
        terms = model.loss_terms(Clicks(label, None, features), list(logits.values()), sides)
    ranker = [weight for layer in (model.ranker.first, model.ranker.mlp, model.ranker.last) for weight in layer.weights]
    towers = [weight for tower in model.towers.towers.values() for weight in tower.weights]
    assert all(gradient is None for gradient in tape.gradient(terms["ranker"], towers))
    assert all(gradient is None for gradient in tape.gradient(terms["bce"], ranker))
    assert all(gradient is not None for gradient in tape.gradient(terms["bce"], towers))


def test_with_empty_caches_it_is_the_plain_towers_on_input_padded_with_zeros() -> None:
    features, _ = events(9)
    model = moved(cs3({"cycle_adaptive": ("user", "item")}), features)
    alone = model.peer(0)
    np.testing.assert_allclose(model(features)["towers"].numpy(), alone(features).numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "stores", "width"),
    [
        ({}, _FOUR, VECTOR + HIDDEN),
        ({"cms": False}, _FOUR[:2], VECTOR),
        ({"cts": False}, _FOUR[2:], HIDDEN),
        ({"cts": False, "cms": False}, (), 0),
    ],
)
def test_each_mechanism_can_be_left_out(options: dict[str, Any], stores: tuple[str, ...], width: int) -> None:
    features, label = events(6)
    model = moved(cs3(**options), features)
    assert tuple(model.caches.stores) == stores and model.towers.extra_widths == {"user": width, "item": width}
    _stepped(model, (features, label))


def test_evaluation_writes_nothing_and_a_reset_forgets() -> None:
    features, label = events(12)
    model = _stepped(moved(cs3(), features), (features, label))
    before = _state(model)
    model.test_step((features, label))
    for name, value in _state(model).items():
        np.testing.assert_array_equal(value, before[name])
    model.reset_state()
    assert not any(value.any() for value in _state(model).values())


def test_two_batches_leave_what_one_stream_of_single_events_leaves() -> None:
    features, label = events(8)
    whole, single = (moved(cs3(), features) for _ in range(2))
    frozen = 0.0
    _stepped(whole, (features, label), frozen)
    single.compile(optimizer=LazyAdam(frozen))
    # With caches that the model reads the two differ; so what is written comes from one forward pass.
    _, sides = single(features, training=True, with_sides=True)
    for event in range(8):
        one = {name: value[event : event + 1] for name, value in features.items()}
        own = [[part[event : event + 1] for part in side] for side in sides]
        single.write(Clicks(label[event : event + 1], None, one), own)
    for name, value in _state(whole).items():
        np.testing.assert_allclose(value, _state(single)[name], rtol=1e-4, atol=1e-7)


def test_a_compiled_step_is_the_eager_one() -> None:
    features, label = events(20)
    eager, compiled = (moved(cs3(), features) for _ in range(2))
    _stepped(eager, (features, label))
    compiled.compile(optimizer=LazyAdam(0.01))
    tf.function(compiled.train_step, autograph=False)((features, label))
    for one, other in zip(eager.weights, compiled.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)


def test_a_checkpoint_and_a_config_bring_model_and_caches_back(tmp_path: Path) -> None:
    features, label = events(12)
    model = _stepped(moved(cs3(), features), (features, label))
    tf.train.Checkpoint(model=model).write(str(tmp_path / "model"))
    again = CS3.from_config(model.get_config())
    again(features)
    tf.train.Checkpoint(model=again).read(str(tmp_path / "model")).expect_partial()
    np.testing.assert_array_equal(again(features)["towers"].numpy(), model(features)["towers"].numpy())
    for name, value in _state(model).items():
        np.testing.assert_array_equal(_state(again)[name], value)


def test_ids_out_of_the_vocabulary_are_never_written() -> None:
    features, label = events(40)
    model = _stepped(moved(cs3(in_vocabulary_ids={"users": 3}), features), (features, label))
    for name, value in _state(model).items():
        written = value.any(axis=1)
        if name.endswith("user"):
            assert written[1:3].all() and not written[3:].any() and not written[0]
        else:
            assert written[1:].any() and not written[0]


def test_features_that_are_no_ids_are_refused() -> None:
    ranker = TargetAttentionRanker(ROW, SIZES, embedding_dim=3, hidden_units=(5, HIDDEN))
    with pytest.raises(ValueError, match="user_feature is 'user_id'; expected an id among the inputs: user, history"):
        CS3(DSSM(ROW, SIZES, embedding_dim=3, hidden_units=(6, VECTOR)), ranker)


def test_the_softmax_weighs_items_by_how_often_they_were_seen_before() -> None:
    features, label = events(12)
    model = moved(cs3(softmax_weight=0.5, temperature=2.0), features)
    model.item_counts.assign(tf.range(7, dtype=tf.int64) * 3)
    clicks = Clicks(label, None, features)
    logits, sides = model(features, training=True, with_sides=True)
    found = float(model.loss_terms(clicks, list(logits.values()), sides)["softmax"])
    user, item, _ = _told(model, features)
    ids, scale = features["item"].numpy(), float(model.towers.similarity.scale)
    shares = (3.0 * ids + 1) / (3 * sum(range(7)) + 7)
    losses = []
    for i in np.flatnonzero(label.numpy() > 0):
        columns = [j for j in range(12) if j == i or ids[j] != ids[i]]
        scores = np.array([scale * user[i] @ item[j] / 2 - np.log(shares[j]) for j in columns])
        losses.append(np.log(np.exp(scores).sum()) - scores[columns.index(i)])
    assert found == pytest.approx(0.5 * np.mean(losses), rel=1e-4)


def test_items_are_counted_once_a_step_has_been_taken_and_forgotten_before_a_pass() -> None:
    features, label = events(12)
    model = _stepped(moved(cs3(softmax_weight=0.5), features), (features, label))
    np.testing.assert_array_equal(model.item_counts.numpy(), np.bincount(features["item"].numpy(), minlength=7))
    assert "loss/softmax" in model.get_metrics_result()
    model.reset_state()
    assert not model.item_counts.numpy().any()
    again = CS3.from_config(model.get_config())
    assert (again.options.softmax_weight, again.options.temperature) == (0.5, 1.0)


def test_a_softmax_is_refused_below_0_and_over_towers_without_a_product() -> None:
    ranker = TargetAttentionRanker(ROW, SIZES, embedding_dim=3, hidden_units=(5, HIDDEN))
    ids: dict[str, Any] = {"user_feature": "user", "item_feature": "item"}
    with pytest.raises(ValueError, match="softmax_weight is -1; expected 0 or more"):
        CS3(DSSM(ROW, SIZES, embedding_dim=3, hidden_units=(6, VECTOR)), ranker, softmax_weight=-1, **ids)
    heads = IntTower(ROW, SIZES, embedding_dim=3, hidden_units=(6, VECTOR), heads=2, head_width=2, item_feature="item")
    with pytest.raises(
        ValueError, match="softmax_weight is 1, of IntTower; expected towers that are compared by a pro"
    ):
        CS3(heads, ranker, softmax_weight=1, **ids)
