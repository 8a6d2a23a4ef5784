"""What holds for every model over field embeddings, and only together with a head."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.ranking.field_model import FieldModel
from models.registry import build_model
from tests.helpers.layer_check import check_layer, policy
from tests.helpers.model_batches import REQUEST, ROW, SIZES, request_batch, row_batch, with_random_weights
from transforms.features import ModelInput

_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "deepfm": ("deepfm", {}),
    "dcn": ("dcn", {}),
    "dcn_v2": ("dcn", {"cross": "v2", "structure": "stacked"}),
    "dcn_mixture": ("dcn", {"cross": "mixture", "structure": "stacked_parallel", "cross_rank": 2, "num_experts": 2}),
    "dcn_crossnet": ("dcn", {"structure": "crossnet_only", "num_cross_layers": 2}),
    "pnn": ("pnn", {}),
    "pnn_mat": ("pnn", {"product": "outer"}),
    "pnn_num": ("pnn", {"product": "outer", "outer_kernel": "num"}),
    # Of few means all may be negative, which leaves SENET without a gradient; so all four are kept.
    "fibinet": ("fibinet", {"reduction_ratio": 1}),
    "fibinet_each": ("fibinet", {"reduction_ratio": 1, "bilinear_type": "field_each"}),
}


def _model(variant: str, inputs: tuple[ModelInput, ...] = ROW, sizes: Any = None, **options: Any) -> FieldModel:
    name, own = _VARIANTS[variant]
    arguments = {"embedding_dim": 2, "hidden_units": (4, 3), **own, **options}
    return build_model(name, inputs, sizes or SIZES, **arguments)


@pytest.mark.parametrize("variant", _VARIANTS)
def test_scores_of_a_request_are_those_of_its_candidates_one_by_one(variant: str) -> None:
    model = with_random_weights(_model(variant, REQUEST), request_batch())
    logits = model(request_batch()).numpy()
    assert logits.shape == (3, 2)
    embeddings, linear = model.embeddings(request_batch())
    for m in range(2):
        alone = model.interact((embeddings[:, m], None if linear is None else linear[:, m]))
        np.testing.assert_allclose(logits[:, m], alone.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", _VARIANTS)
def test_call_is_the_head_on_what_was_looked_up(variant: str) -> None:
    model = with_random_weights(_model(variant), row_batch())
    embeddings, linear = model.embeddings(row_batch(), training=False)
    alone = model.interact((embeddings, linear), training=False)
    np.testing.assert_array_equal(model(row_batch(), training=False).numpy(), alone.numpy())


@pytest.mark.parametrize("variant", _VARIANTS)
def test_head_builds_and_works_without_tables(variant: str) -> None:
    whole = _model(variant, batch_norm=True, dropout=0.2)
    whole(row_batch())
    head = _model(variant, batch_norm=True, dropout=0.2)
    head.build_head()
    assert not head.embeddings.built
    own = [weight.shape for weight in head.weights]
    tables = {id(weight) for weight in whole.embeddings.weights}
    assert own == [weight.shape for weight in whole.weights if id(weight) not in tables]
    embeddings, linear = whole.embeddings(row_batch())
    for training in (False, True):
        logits = head.interact((embeddings, linear), training=training).numpy()
        np.testing.assert_array_equal(logits, whole.interact((embeddings, linear), training=training).numpy())
    assert not head.embeddings.built


@pytest.mark.parametrize("variant", _VARIANTS)
def test_gradient_of_the_head_is_that_of_finite_differences(variant: str) -> None:
    with policy("float64"):
        model = _model(variant, hidden_units=(5,))
    embeddings = tf.random.stateless_normal([2, 4, 2], [1, 2], dtype=tf.float64)
    linear = tf.random.stateless_normal([2, 4], [3, 4], dtype=tf.float64) if model.uses_linear else None
    model.interact((embeddings, linear))
    for index, weight in enumerate(model.trainable_weights):
        weight.assign(tf.random.stateless_normal(weight.shape, [5, index], dtype=tf.float64))
    analytic, numeric = tf.test.compute_gradient(lambda vectors: model.interact((vectors, linear)), [embeddings], 1e-5)
    np.testing.assert_allclose(analytic[0], numeric[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", _VARIANTS)
def test_only_models_with_linear_terms_have_linear_weights(variant: str) -> None:
    model = _model(variant)
    _, linear = model.embeddings(row_batch())
    assert (linear is not None) == (_VARIANTS[variant][0] in ("deepfm", "fibinet"))


@pytest.mark.parametrize("variant", _VARIANTS)
def test_seed_decides_all_weights(variant: str) -> None:
    first, same, other = (_model(variant, seed=seed) for seed in (1, 1, 2))
    for model in (first, same, other):
        model(row_batch())
    for one, two, three in zip(first.weights, same.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())
        constant = np.unique(one.numpy()).size == 1  # biases
        assert constant or (one.numpy() != three.numpy()).any()


@pytest.mark.parametrize("variant", ["dcn", "dcn_v2", "dcn_mixture", "pnn", "pnn_mat", "fibinet", "fibinet_each"])
def test_no_two_kernels_of_a_model_start_alike(variant: str) -> None:
    model = _model(variant, hidden_units=(8, 8, 8))
    model.build_head()
    kernels = [weight.numpy().ravel()[:3] for weight in model.trainable_weights]
    starts = [kernel for kernel in kernels if kernel.any()]  # Biases start at 0.
    # The same seed twice would give the same numbers but for their scale.
    pairs = [(a, b) for k, a in enumerate(starts) for b in starts[:k]]
    assert pairs and not any(np.allclose(a / np.abs(a).max(), b / np.abs(b).max()) for a, b in pairs)


_FIELDS = tuple(ModelInput(name=name, vocabulary=name, shape="scalar", entity="user") for name in ("a", "b", "c"))


def _separable(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Labels that depend on a and b together and on neither alone."""
    rng = np.random.default_rng(seed)
    features = {name: rng.integers(1, 7, n) for name in ("a", "b", "c")}
    return features, ((features["a"] + features["b"]) % 2).astype(np.float32)


@pytest.mark.parametrize("variant", [name for name in _VARIANTS if name != "dcn_crossnet"])
def test_learns_what_only_a_pair_of_fields_tells(variant: str) -> None:
    sizes = dict.fromkeys(("a", "b", "c"), 7)
    model = _model(variant, _FIELDS, sizes, embedding_dim=4, hidden_units=(16,))
    optimizer = keras.optimizers.Adam(0.02)
    unseen, truth = _separable(300, 2)

    def loss(features: dict[str, np.ndarray], label: np.ndarray) -> tf.Tensor:
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(label, model(features, training=True)))

    @tf.function(autograph=False)
    def train(steps: tf.Tensor) -> tf.Tensor:
        features, label = _separable(600, 1)
        return tf.while_loop(lambda k: k < steps, lambda k: _step(k, features, label), [0])

    def _step(k: tf.Tensor, features: dict[str, np.ndarray], label: np.ndarray) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = loss(features, label)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
        return [k + 1]

    assert abs(float(loss(unseen, truth)) - np.log(2)) < 0.01
    optimizer.build(model.trainable_variables)
    train(tf.constant(200))
    assert float(loss(unseen, truth)) < 0.1


@pytest.mark.parametrize("variant", _VARIANTS)
@pytest.mark.parametrize(
    ("inputs", "batch", "options"),
    [(ROW, row_batch(), {"dropout": 0.2}), (REQUEST, request_batch(), {"batch_norm": True, "embedding_l2": 1e-3})],
)
def test_is_a_sound_model(
    variant: str, inputs: tuple[ModelInput, ...], batch: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    check_layer(lambda: _model(variant, inputs, hidden_units=(16, 8), **options), batch, tmp_path)


@pytest.mark.parametrize("variant", _VARIANTS)
def test_config_gives_the_arguments_back(variant: str) -> None:
    options: dict[str, Any] = {"dropout": 0.3, "batch_norm": True, "embedding_l2": 0.5, "seed": 9}
    config = _model(variant, **options).get_config()
    expected = {"embedding_dim": 2, "hidden_units": [4, 3], **options, **_VARIANTS[variant][1]}
    assert {key: config[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dcn", {"cross": "mix"}, "cross is 'mix'; expected one of v1, v2, mixture; did you mean 'mixture'"),
        ("dcn", {"structure": "paralel"}, "structure is 'paralel'; .* did you mean 'parallel'"),
        ("dcn", {"num_cross_layers": 0}, "num_cross_layers is 0; expected a whole number of at least 1"),
        ("dcn", {"cross_rank": 0}, "cross_rank is 0"),
        ("dcn", {"num_experts": -1}, "num_experts is -1"),
        ("dcn", {"hidden_units": ()}, "hidden_units is empty"),
        ("pnn", {"product": "iner"}, "product is 'iner'; expected one of inner, outer; did you mean 'inner'"),
        ("pnn", {"outer_kernel": "vector"}, "kernel is 'vector'; .* did you mean 'vec'"),
        ("fibinet", {"bilinear_type": "interaction"}, "bilinear_type is 'interaction'; .* 'field_interaction'"),
        ("fibinet", {"reduction_ratio": 0}, "reduction_ratio is 0"),
    ],
)
def test_bad_arguments_are_refused_with_advice(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(name, ROW, SIZES, **options)


@pytest.mark.parametrize("name", ["pnn", "fibinet"])
def test_a_model_of_pairs_refuses_a_single_field(name: str) -> None:
    with pytest.raises(ValueError, match="has one, a; expected at least two"):
        build_model(name, _FIELDS[:1], {"a": 3}).build_head()


def test_a_head_must_be_given() -> None:
    with pytest.raises(TypeError, match="abstract"):
        FieldModel(ROW, SIZES)
