"""What holds for every two-tower model: what its vectors depend on, and that it can be trained alone and by CS3."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.layers.set_vectors import SetVectors
from models.layers.tower_caches import Extras, TowerCaches
from models.registry import MODELS
from models.training.losses import ClickLoss
from models.training.optimizers import LazyAdam
from tests.helpers.backbones import BACKBONES, HIDDEN, backbone, in_cs3, moved
from tests.helpers.layer_check import check_layer, policy
from tests.helpers.model_batches import REQUEST, ROW, request_batch, row_batch
from tests.helpers.tower_pairs import events
from transforms.features import CANDIDATE

every_backbone = pytest.mark.parametrize("name", BACKBONES)


def _towers(model: Any, batch: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    user, item = model.both(model.look_up(batch))
    return user.numpy(), item.numpy()


def _rows(batch: dict[str, Any], places: list[int]) -> dict[str, Any]:
    return {name: tf.gather(value, places) for name, value in batch.items()}


def _caches(widths: dict[str, int] | None = None) -> TowerCaches:
    sizes = {"user": 5, "item": 7}
    return TowerCaches(sizes, widths or {"user": 2, "item": 3}, HIDDEN, features={"user": "user", "item": "item"})


@every_backbone
def test_batch_mates_their_number_and_their_order_change_nothing(name: str) -> None:
    # A row alone has no padding at all; the three together pad two histories.
    model = moved(backbone(name), row_batch())
    user, item = _towers(model, row_batch())
    order = [2, 0, 1]
    for found, expected in zip(_towers(model, _rows(row_batch(), order)), (user, item), strict=True):
        np.testing.assert_allclose(found, expected[order], rtol=1e-5, atol=1e-6)
    for row in range(3):
        for found, expected in zip(_towers(model, _rows(row_batch(), [row])), (user, item), strict=True):
            np.testing.assert_allclose(found[0], expected[row], rtol=1e-5, atol=1e-6)
    assert np.abs(user[0] - user[1]).max() > 1e-3 and np.abs(item[0] - item[1]).max() > 1e-3


@every_backbone
def test_what_stands_in_padding_changes_nothing(name: str) -> None:
    model = moved(backbone(name, REQUEST), request_batch())
    sets: SetVectors = model.look_up(request_batch()).sets
    padded = sets.resized(4, 5)
    noise = tf.where(padded.history_mask[..., None, None], 0.0, 9.0), tf.where(padded.candidate_mask, 0.0, 9.0)
    padded = padded._replace(
        history=padded.history + noise[0], candidates=padded.candidates + noise[1][..., None, None]
    )
    user, item = (part.numpy() for part in model.both(sets))
    other_user, other_item = (part.numpy() for part in model.both(padded))
    np.testing.assert_allclose(other_user, user, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(other_item[:, :2], item, rtol=1e-5, atol=1e-6)


@every_backbone
def test_a_candidates_vector_depends_on_itself_alone(name: str) -> None:
    model = moved(backbone(name, REQUEST), request_batch())
    scores = model(request_batch()).numpy()
    swapped = {**request_batch(), **{key: request_batch()[key][:, ::-1] for key in ("item", "price")}}
    np.testing.assert_allclose(model(swapped).numpy(), scores[:, ::-1], rtol=1e-5)
    rows = backbone(name, ROW)
    rows(row_batch())
    for target, source in zip(rows.weights, model.weights, strict=True):
        target.assign(source)
    for m in range(2):
        np.testing.assert_allclose(rows(row_batch(m)).numpy(), scores[:, m], rtol=1e-4)


@every_backbone
def test_each_tower_reads_its_own_side_alone_and_all_of_it(name: str) -> None:
    model = moved(backbone(name, hidden_units=(20, 4), caches=_caches()), row_batch())
    sets: SetVectors = model.look_up(row_batch()).sets
    widths = model.extra_widths
    extras = Extras(tf.ones([3, widths["user"]]), tf.ones([3, 1, widths["item"]]))
    own = {"user": [sets.request, sets.history, extras.user], "item": [sets.candidates, extras.item]}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([*own["user"], *own["item"]])
        user, item = model.head(sets, extras, False)
        found = {"user": tf.reduce_sum(user**2), "item": tf.reduce_sum(item**2)}
    for side, other in (("user", "item"), ("item", "user")):
        assert all(np.abs(part.numpy()).max() > 0 for part in tape.gradient(found[side], own[side]))
        assert tape.gradient(found[side], own[other]) == [None] * len(own[other])


@every_backbone
def test_histories_may_be_empty_all_of_them(name: str) -> None:
    model = moved(backbone(name), row_batch())
    user, _ = _towers(model, row_batch())
    empty = {**row_batch(), "history": tf.ragged.constant([[], [], []], tf.int64, ragged_rank=1)}
    # The second row's history is empty among others', too.
    np.testing.assert_allclose(_towers(model, empty)[0][1], user[1], rtol=1e-5, atol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(empty, training=True))
    gradients = tape.gradient(loss, model.trainable_weights, unconnected_gradients="zero")
    assert all(np.isfinite(tf.convert_to_tensor(gradient).numpy()).all() for gradient in gradients)


@every_backbone
def test_a_history_is_not_needed(name: str) -> None:
    inputs = tuple(item for item in ROW if item.name != "history")
    model = moved(backbone(name, inputs), row_batch())
    assert np.isfinite(model(row_batch()).numpy()).all()
    assert type(model).from_config(model.get_config())(row_batch()).shape == (3,)


@every_backbone
@pytest.mark.parametrize("sides", [("user",), ("item",), ("user", "item")])
def test_cas_begins_as_the_plain_model(name: str, sides: tuple[str, ...]) -> None:
    options: dict[str, Any] = {"hidden_units": (6, 5, 4)}
    plain, cycling = backbone(name, **options), backbone(name, cycle_adaptive=sides, **options)
    np.testing.assert_allclose(cycling(row_batch()).numpy(), plain(row_batch()).numpy(), rtol=1e-5, atol=1e-9)
    # R and r of every layer but the first: from 6 to 5, and from 5 to 4, which IntTower's user has none of.
    layers = {side: [(6, 5)] if (name, side) == ("int_tower", "user") else [(6, 5), (5, 4)] for side in sides}
    more = sum(before * after + before for side in sides for before, after in layers[side])
    assert cycling.count_params() - plain.count_params() == more


@every_backbone
@pytest.mark.parametrize("inputs", [ROW, REQUEST], ids=["rows", "requests"])
def test_is_sound_with_all_options(name: str, inputs: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"cycle_adaptive": ("user", "item"), "include_first_layer": True, "dropout": 0.2}
    batch = row_batch() if inputs is ROW else request_batch()
    check_layer(lambda: backbone(name, inputs, **options), batch, tmp_path, compiles=False)


@every_backbone
def test_is_sound_with_caches(name: str, tmp_path: Path) -> None:
    check_layer(lambda: backbone(name, caches=_caches()), row_batch(), tmp_path, compiles=False)


@every_backbone
def test_the_compiled_head_gives_the_same(name: str) -> None:
    plain, compiled = moved(backbone(name), row_batch()), moved(backbone(name, jit_compile=True), row_batch())
    np.testing.assert_allclose(compiled(row_batch()).numpy(), plain(row_batch()).numpy(), rtol=1e-4, atol=1e-5)


@every_backbone
def test_cs3_trains_it_and_keeps_what_it_says(name: str) -> None:
    features, label = events(24)
    model = moved(in_cs3(backbone(name, cycle_adaptive=("user",), hidden_units=(6, 5, 4))), features)
    widths = model.towers.kept_widths
    stores = model.caches.stores
    assert (stores["cross_user"].width, stores["cross_item"].width) == (widths["item"], widths["user"])
    _, sides = model(features, training=True, with_sides=True)
    kept_user, kept_item = (part.numpy() for part in model.towers.kept(*sides[0]))
    before = [weight.numpy() for weight in model.trainable_weights]
    model.compile(optimizer=LazyAdam(0.01))
    logs = tf.function(model.train_step, autograph=False)((features, label))
    assert all((weight.numpy() != old).any() for weight, old in zip(model.trainable_weights, before, strict=True))
    assert ("loss/auxiliary" in logs) == model.towers.has_auxiliary_losses == (name in ("int_tower", "dat"))
    total = sum(float(value) for key, value in logs.items() if key.startswith("loss/"))
    assert float(logs["loss"]) == pytest.approx(total, rel=1e-6)
    users, items, clicked = (part.numpy() for part in (features["user"], features["item"], label > 0))
    place = int(np.flatnonzero(clicked & (users > 0) & (items > 0))[0])
    expected_user, expected_item = np.zeros(widths["item"]), np.zeros(widths["user"])
    for row in np.flatnonzero(clicked):
        if users[row] == users[place]:
            expected_user = 0.8 * expected_user + 0.2 * kept_item[row]
        if items[row] == items[place]:
            expected_item = 0.8 * expected_item + 0.2 * kept_user[row]
    np.testing.assert_allclose(stores["cross_user"].vectors[users[place]].numpy(), expected_user, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stores["cross_item"].vectors[items[place]].numpy(), expected_item, rtol=1e-4, atol=1e-6)


@every_backbone
def test_the_towers_of_cs3_stand_alone_with_their_caches(name: str) -> None:
    features, label = events(24)
    model = moved(in_cs3(backbone(name)), features)
    model.compile(optimizer=LazyAdam(0.01))
    model.train_step((features, label))
    np.testing.assert_allclose(model.peer(0)(features).numpy(), model(features)["towers"].numpy(), rtol=1e-5)


def _stepped(model: Any, batch: dict[str, Any], label: tf.Tensor, weight: tf.Tensor | None = None) -> list[np.ndarray]:
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=ClickLoss())
    model.train_on_batch(batch, label, weight)
    return [value.numpy() for value in model.trainable_weights]


@pytest.mark.parametrize("name", ["int_tower", "dat"])
def test_fit_alone_adds_the_auxiliary_loss(name: str) -> None:
    label = tf.constant([1.0, 0.0, 1.0])
    model = moved(backbone(name, embedding_l2=0.3), row_batch())
    with tf.GradientTape() as tape:
        found = model.look_up(row_batch(), training=True)
        user, item = model.both(found, training=True)
        clicks = Clicks(label, None, row_batch())
        loss = clicks.log_loss(model.of_rows(model.similarity((user, item))))
        auxiliary = model.auxiliary_loss(user, item[:, 0], model.side_outputs(found.sets), clicks)
        penalty = tf.add_n(model.losses)
        loss += auxiliary + penalty
    gradients = tape.gradient(loss, model.trainable_weights)
    expected = [
        weight.numpy() - 0.1 * tf.convert_to_tensor(gradient).numpy()
        for weight, gradient in zip(model.trainable_weights, gradients, strict=True)
    ]
    assert float(auxiliary) > 1e-3 and float(penalty) > 1e-3
    for value, other in zip(_stepped(model, row_batch(), label), expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["int_tower", "dat"])
def test_a_request_is_trained_as_the_rows_of_its_candidates(name: str) -> None:
    requests, rows = moved(backbone(name, REQUEST), request_batch()), backbone(name, ROW)
    rows(row_batch())
    for target, source in zip(rows.weights, requests.weights, strict=True):
        target.assign(source)
    label = tf.constant([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    # The third request's last candidate is padding, the second's first was not shown.
    weight = tf.constant([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    mask = tf.constant([[1, 1], [1, 1], [1, 0]], tf.int64)
    found = _stepped(requests, {**request_batch(), CANDIDATE: mask}, label, weight)
    flat = {key: tf.repeat(request_batch()[key], 2, axis=0) for key in ("user",)}
    history = tf.gather(request_batch()["history"], [0, 0, 1, 1, 2, 2])
    items = {key: tf.reshape(request_batch()[key], [-1]) for key in ("item", "price")}
    real = [0, 1, 2, 3, 4]
    batch = _rows({**flat, "history": history, **items}, real)
    expected = _stepped(rows, batch, tf.reshape(label, [-1])[:5], tf.reshape(weight, [-1])[:5])
    for value, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["int_tower", "dat"])
def test_a_step_in_mixed_precision_is_near_that_in_float32(name: str) -> None:
    label, steps = tf.constant([1.0, 0.0, 1.0]), {}
    for precision in ("float32", "mixed_bfloat16"):
        with policy(precision):
            model = moved(backbone(name), row_batch())
            before = [weight.numpy() for weight in model.trainable_weights]
            after = _stepped(model, row_batch(), label)
        steps[precision] = np.concatenate([(new - old).ravel() for new, old in zip(after, before, strict=True)])
    size = np.linalg.norm(steps["float32"])
    assert size > 0.01 and np.linalg.norm(steps["mixed_bfloat16"] - steps["float32"]) < 0.05 * size


def test_all_backbones_have_short_names() -> None:
    # FISM, whose user is its history, has tests of its own.
    assert {name: path for name, path in MODELS.items() if ".retrieval." in path}.keys() == {*BACKBONES, "fism"}
