"""IntTower: its parts and its logit in plain NumPy, what is kept, and its contrastive loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.cotraining.clicks import Clicks
from models.layers.field_weights import LightSE
from models.layers.set_vectors import SetVectors
from models.layers.tower import HeadTower
from models.retrieval.int_tower import FEScore, IntTower
from tests.helpers.backbones import backbone, moved
from tests.helpers.layer_check import check_layer
from tests.helpers.model_batches import ROW, SIZES, row_batch
from transforms.features import CANDIDATE


def _model(**options: Any) -> IntTower:
    return backbone("int_tower", **options)


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values)
    return powers / powers.sum(axis=-1, keepdims=True)


def test_light_se_by_hand() -> None:
    layer, fields = LightSE(), tf.constant([[[1.0, 3.0], [4.0, -2.0]]])
    layer.build(fields.shape)
    layer._kernel.assign([[np.log(2.0), 0.0], [0.0, np.log(3.0)]])
    # The means are 2 and 1; so the softmax is of ln 4 and ln 3.
    expected = [[[1 + 4 / 7, 3 + 12 / 7], [4 + 12 / 7, -2 - 6 / 7]]]
    np.testing.assert_allclose(layer(fields).numpy(), expected, rtol=1e-6)


def test_light_se_is_a_sound_layer(tmp_path: Path) -> None:
    check_layer(lambda: LightSE(seed=3), tf.random.stateless_normal([4, 2, 3, 5], [1, 2]), tmp_path)


@pytest.mark.parametrize("every_layer", [True, False])
def test_a_head_tower_gives_every_layers_vector_or_the_last_ones_by_hand(every_layer: bool) -> None:
    layer, inputs = HeadTower((5, 4), 3, every_layer), tf.random.stateless_normal([2, 6], [1, 2])
    layer(inputs)
    for index, weight in enumerate(layer.trainable_weights):
        weight.assign(tf.random.stateless_normal(weight.shape, [7, index]))
    layers = [inputs.numpy()]
    for dense in layer.hidden:
        layers.append(np.maximum(layers[-1] @ dense.kernel.numpy() + dense.bias.numpy(), 0))
    depths = [0, 1, 2] if every_layer else [2]
    heads = [layer.heads[str(depth)] for depth in depths]
    found = [layers[d] @ head.kernel.numpy() + head.bias.numpy() for d, head in zip(depths, heads, strict=True)]
    assert len(layer.heads) == len(depths) and layer.compute_output_shape([2, 6]) == [2, 3 * len(depths)]
    np.testing.assert_allclose(layer(inputs).numpy(), np.concatenate(found, axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"every_layer": True, "cycle_adaptive": True, "dropout": 0.2}, {"units": (), "every_layer": True}]
)
def test_a_head_tower_is_a_sound_layer(options: dict[str, Any], tmp_path: Path) -> None:
    inputs = tf.random.stateless_normal([4, 2, 6], [1, 2])
    check_layer(lambda: HeadTower(**{"units": (5, 4), "head_units": 3, "seed": 3, **options}), inputs, tmp_path)


def test_the_fe_score_by_hand() -> None:
    layer = FEScore(2, 2)
    # Three heads of the user, from any layers; two candidates of two heads each.
    user = tf.constant([[1.0, 0.0, 0.0, 2.0, -1.0, 1.0]])
    item = tf.constant([[[3.0, 1.0, 2.0, 4.0], [0.0, 0.0, -1.0, -5.0]]])
    # First candidate: max(3, 2) + max(2, 8) + max(-2, 2). Second: max(0, -1) + max(0, -10) + max(0, -4).
    np.testing.assert_allclose(layer((user, item)).numpy(), [[3 + 8 + 2, 0]])
    for weight, value in zip(layer.weights, (0.5, 7.0), strict=True):
        weight.assign(value)
    np.testing.assert_allclose(layer((user, item)).numpy(), [[0.5 * 13 + 7, 7]])


def test_the_logit_equals_plain_numpy() -> None:
    model = moved(_model(), row_batch())
    vectors: SetVectors = model.look_up(row_batch()).sets
    history, mask = vectors.history.numpy(), vectors.history_mask.numpy()[..., None, None]
    mean = (history * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
    fields = {
        "user": np.concatenate([vectors.request.numpy(), mean], axis=1),
        "item": vectors.candidates.numpy()[:, 0],
    }
    heads = {}
    for side, own in fields.items():
        weights = _softmax(own.mean(axis=-1) @ model.weighing[side]._kernel.numpy())
        tower, layers = model.towers[side], [(own * (1 + weights[..., None])).reshape(3, -1)]
        for dense in tower.hidden:
            layers.append(np.maximum(layers[-1] @ dense.kernel.numpy() + dense.bias.numpy(), 0))
        heads[side] = [
            (layers[int(depth)] @ head.kernel.numpy() + head.bias.numpy()).reshape(3, 2, 3)
            for depth, head in tower.heads.items()
        ]
    # Two widths: the user has two layers of heads, of x and of h_1; the item one, of h_2.
    assert (len(heads["user"]), len(heads["item"])) == (2, 1) and len(model.towers["user"].hidden) == 1
    scale, bias = (weight.numpy() for weight in model.similarity.weights)
    scores = np.zeros(3)
    for row in range(3):
        for layer in heads["user"]:
            for head in layer[row]:
                scores[row] += max(head @ other for other in heads["item"][0][row])
    np.testing.assert_allclose(model(row_batch()).numpy(), scale * scores + bias, rtol=1e-4)


def test_caches_keep_the_last_layers_heads_of_both() -> None:
    model = moved(_model(), row_batch())
    user, item = model.both(model.look_up(row_batch()))
    assert user.shape == (3, 2 * 2 * 3) and item.shape == (3, 1, 2 * 3)
    kept_user, kept_item = model.kept(user, item[:, 0])
    np.testing.assert_array_equal(kept_user.numpy(), user.numpy()[:, 6:])
    np.testing.assert_array_equal(kept_item.numpy(), item.numpy()[:, 0])
    assert model.kept_widths == {"user": 6, "item": 6}
    last = model.towers["user"].heads["1"].bias
    last.assign_add(tf.ones_like(last))
    np.testing.assert_allclose(model.user_embedding(row_batch())[:, 6:].numpy(), kept_user.numpy() + 1, rtol=1e-4)


def _cir(user: np.ndarray, item: np.ndarray, rows: list[int], negatives: dict[int, list[int]], t: float) -> float:
    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return one @ other / np.sqrt((one @ one) * (other @ other))

    losses = []
    for i in rows:
        own = np.exp(cosine(user[i], item[i]) / t)
        losses.append(-np.log(own / (own + sum(np.exp(cosine(user[i], item[j]) / t) for j in negatives[i]))))
    return float(np.mean(losses))


def test_cir_by_hand() -> None:
    model = _model(cir_weight=0.5, temperature=0.4)
    random = np.random.default_rng(3)
    # Of twelve numbers the last six are the last layer's.
    user, item = random.normal(size=(5, 12)), random.normal(size=(5, 6))
    label, weight = tf.constant([1.0, 0.0, 1.0, 1.0, 0.0]), tf.constant([1.0, 1.0, 1.0, 0.0, 0.0])
    # Rows 0 and 1 have one item, row 3 was not shown, row 4 is padding.
    features = {"item": tf.constant([2, 2, 5, 6, 0]), CANDIDATE: tf.constant([1, 1, 1, 1, 0])}
    found = model.auxiliary_loss(tf.constant(user), tf.constant(item), [], Clicks(label, weight, features))
    expected = _cir(user[:, 6:], item, [0, 2], {0: [2, 3], 2: [0, 1, 3]}, 0.4)
    assert float(found) == pytest.approx(0.5 * expected, rel=1e-5)
    blind = _model(cir_weight=0.5, temperature=0.4, item_feature=None)
    found = blind.auxiliary_loss(tf.constant(user), tf.constant(item), [], Clicks(label, weight, features))
    expected = _cir(user[:, 6:], item, [0, 2], {0: [1, 2, 3], 2: [0, 1, 3]}, 0.4)
    assert float(found) == pytest.approx(0.5 * expected, rel=1e-5)


def test_cir_of_a_batch_without_clicks_is_zero_and_so_is_its_gradient() -> None:
    model = moved(_model(), row_batch())
    with tf.GradientTape() as tape:
        user, item = model.both(model.look_up(row_batch()))
        loss = model.auxiliary_loss(user, item[:, 0], [], Clicks(tf.zeros([3]), None, row_batch()))
    assert float(loss) == 0
    heads = [head.kernel for tower in model.towers.values() for head in tower.heads.values()]
    assert not any(gradient.numpy().any() for gradient in tape.gradient(loss, heads))


def test_cir_moves_the_last_layers_heads_of_both_towers_and_no_others() -> None:
    model = moved(_model(), row_batch())
    with tf.GradientTape() as tape:
        user, item = model.both(model.look_up(row_batch()))
        loss = model.auxiliary_loss(user, item[:, 0], [], Clicks(tf.ones([3]), None, row_batch()))
    first, last = model.towers["user"].heads["0"], model.towers["user"].heads["1"]
    kernels = [first.kernel, last.kernel, model.towers["item"].heads["2"].kernel]
    moves = [bool(gradient.numpy().any()) for gradient in tape.gradient(loss, kernels)]
    assert moves == [False, True, True]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"heads": 0}, "heads is 0; expected a whole number"),
        ({"head_width": 0}, "head_width is 0"),
        ({"temperature": 0.0}, "temperature is 0.0; expected more than 0"),
        ({"item_feature": "user"}, "item_feature is 'user'; expected an id among the candidates inputs: item;"),
        ({"item_feature": "price"}, "item_feature is 'price'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        _model(**options)


def test_an_item_id_by_another_name_has_to_be_told() -> None:
    with pytest.raises(ValueError, match="item_feature is 'item_id'; expected an id among the candidates inputs: item"):
        IntTower(ROW, SIZES)
