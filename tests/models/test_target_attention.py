"""Target attention and the ranker that has it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.target_attention import TargetAttention
from models.ranking.target_attention_ranker import TargetAttentionRanker
from tests.helpers.layer_check import check_layer
from tests.helpers.model_batches import REQUEST, ROW, SIZES, request_batch, row_batch


class _OnTwoSets(TargetAttention):
    """Takes its inputs as one dict, as the check of layers gives them."""

    def call(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:  # type: ignore[override]
        return super().call(inputs["queries"], inputs["keys"], inputs["mask"])


def _inputs() -> dict[str, tf.Tensor]:
    return {
        "queries": tf.random.stateless_normal([3, 2, 4], [1, 2]),
        "keys": tf.random.stateless_normal([3, 5, 6], [3, 4]),
        "mask": tf.constant([[True] * 5, [True, True, False, False, False], [False] * 5]),
    }


def test_weights_are_a_softmax_over_the_real_keys_by_hand() -> None:
    layer, inputs = TargetAttention(3, (4,)), _inputs()
    layer(**inputs)
    for index, weight in enumerate(layer.trainable_weights):
        weight.assign_add(tf.random.stateless_normal(weight.shape, [7, index], stddev=0.5))
    named = {weight.name.split("/", 1)[1]: weight.numpy() for weight in layer.trainable_weights}
    w_query, w_key, last = (named[f"{name}/kernel:0"] for name in ("query", "key", "score"))
    kernel, bias = (value for name, value in named.items() if name.startswith("mlp"))
    queries, keys = inputs["queries"].numpy() @ w_query, inputs["keys"].numpy() @ w_key
    expected = np.zeros((3, 2, 3))
    for b, real in ((0, 5), (1, 2)):
        for m in range(2):
            pairs = [
                np.concatenate([queries[b, m], queries[b, m] - keys[b, n], queries[b, m] * keys[b, n], keys[b, n]])
                for n in range(real)
            ]
            scores = (np.maximum(np.array(pairs) @ kernel + bias, 0) @ last)[:, 0]
            weights = np.exp(scores) / np.exp(scores).sum()
            expected[b, m] = weights @ keys[b, :real]
    # The third history has no real element.
    np.testing.assert_allclose(layer(**inputs).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_is_a_sound_layer(tmp_path: Path) -> None:
    check_layer(lambda: _OnTwoSets(4, (5,), seed=3), _inputs(), tmp_path)


@pytest.mark.parametrize(("inputs", "batch"), [(ROW, row_batch()), (REQUEST, request_batch())])
def test_the_ranker_is_a_sound_model(inputs: Any, batch: dict[str, Any], tmp_path: Path) -> None:
    check_layer(
        lambda: TargetAttentionRanker(inputs, SIZES, embedding_dim=3, hidden_units=(9, 8), seed=5),
        batch,
        tmp_path,
        compiles=False,
    )


def test_the_rankers_logit_is_a_linear_function_of_what_it_shares() -> None:
    model = TargetAttentionRanker(ROW, SIZES, embedding_dim=3, hidden_units=(6, 4))
    model(row_batch())
    hidden = model.hidden(model.look_up(row_batch()))
    assert hidden.shape == (3, 1, 4) and model.hidden_width == 4
    kernel, bias = (weight.numpy() for weight in model.last.weights)
    np.testing.assert_allclose(model(row_batch()).numpy(), (hidden.numpy()[:, 0] @ kernel + bias)[:, 0], rtol=1e-5)


def test_one_hidden_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least two widths; the last is shared"):
        TargetAttentionRanker(ROW, SIZES, embedding_dim=3, hidden_units=(6,))


def test_without_a_mask_all_keys_are_real() -> None:
    queries, keys = tf.random.stateless_normal([2, 3, 4], [1, 2]), tf.random.stateless_normal([2, 5, 4], [3, 4])
    layer = TargetAttention(8, seed=1)
    np.testing.assert_array_equal(layer(queries, keys), layer(queries, keys, tf.ones([2, 5], tf.bool)))
