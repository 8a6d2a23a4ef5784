"""Sample weights in the losses: a candidate of weight 2 counts as if it stood there twice."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.cotraining.clicks import Clicks, conditional_loss, pairwise_loss, stage_loss
from models.cotraining.duet import Duet
from models.cotraining.entire_space import METHODS, EntireSpaceRecipe
from models.cotraining.mutual_learning import MutualLearning
from models.ranking.deepfm import DeepFM
from transforms.features import CANDIDATE, EXPOSED, STAGE, WEIGHT, ModelInput

_TIMES = [2, 0, 1, 3, 1, 2, 1]
_LABEL = [1, 1, 0, 0, 1, 0, 0.0]
_EXPOSED = [1, 1, 1, 0, 1, 0, 0]
_CANDIDATE = [1, 1, 1, 1, 1, 1, 0]
_STAGES = [3, 3, 3, 1, 3, 2, 0]


def _clicks(repeated: bool) -> Clicks:
    """One request, its candidates weighted or repeated."""

    def row(values: Any) -> tf.Tensor:
        return tf.constant([np.repeat(values, _TIMES) if repeated else values], tf.float32)

    exposed = row(_EXPOSED) * row(_CANDIDATE)
    features = {CANDIDATE: row(_CANDIDATE), STAGE: row(_STAGES)}
    if repeated:
        return Clicks(row(_LABEL), exposed, features)
    features |= {EXPOSED: row(_EXPOSED), WEIGHT: row(_TIMES)}
    return Clicks(row(_LABEL), exposed * row(_TIMES), features)


def _logits(repeated: bool, seed: int) -> tf.Tensor:
    values = np.random.default_rng(seed).normal(size=len(_TIMES))
    return tf.constant([np.repeat(values, _TIMES) if repeated else values], tf.float32)


_LOSSES: dict[str, Callable[[Clicks, tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "log loss": lambda clicks, one, other: clicks.log_loss(one),
    "union": lambda clicks, one, other: conditional_loss(clicks, one, tf.sigmoid(other), 0.7),
    "group mean": lambda clicks, one, other: conditional_loss(
        clicks, one, tf.sigmoid(other), 0.7, "group_mean", by_confidence=True
    ),
    "stage": lambda clicks, one, other: stage_loss(clicks, [one, other]),
    "pairs": lambda clicks, one, other: pairwise_loss(clicks.stage(), clicks.weighted(clicks.real), one),
}


def _peer(outputs: int = 1) -> DeepFM:
    inputs = [ModelInput(name="item_id", vocabulary="items", shape="candidates", entity="item")]
    peer = DeepFM(inputs, {"items": 5}, embedding_dim=2, hidden_units=(3,))
    peer.outputs = outputs
    return peer


def _of_method(name: str) -> Any:
    recipe = EntireSpaceRecipe(method=name)
    return recipe.group([_peer(outputs) for outputs in recipe.outputs()])


_GROUPS: dict[str, Callable[[], Any]] = {
    "duet": lambda: Duet([_peer(), _peer()], consistency_support="real"),
    "duet with stages": lambda: Duet([_peer(3), _peer(3)], stage_weight=0.5, consistency_support="unexposed"),
    "mutual_learning": lambda: MutualLearning([_peer(), _peer()]),
    **{name: partial(_of_method, name) for name in METHODS},
}


@pytest.mark.parametrize("name", _LOSSES)
def test_a_loss_counts_weights_as_repetitions(name: str) -> None:
    loss = _LOSSES[name]
    weighted, repeated = (loss(_clicks(times), _logits(times, 1), _logits(times, 2)).numpy() for times in (False, True))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-6)


@pytest.mark.parametrize("name", _GROUPS)
def test_the_losses_of_peers_count_weights_as_repetitions(name: str) -> None:
    group = _GROUPS[name]()

    def terms(repeated: bool) -> dict[str, tf.Tensor]:
        logits = [_logits(repeated, seed) for seed in range(len(group.peer_names))]
        sides = [[_logits(repeated, 10 * k + j) for j in range(n)] for k, n in enumerate(group.side_outputs, 1)]
        return group.loss_terms(_clicks(repeated), logits, sides)

    weighted, repeated = terms(repeated=False), terms(repeated=True)
    for term in weighted:
        np.testing.assert_allclose(weighted[term], repeated[term], rtol=1e-6, err_msg=term)


def test_a_shown_candidate_of_weight_zero_is_no_unexposed_one() -> None:
    clicks = _clicks(repeated=False)
    assert clicks.exposed.numpy().tolist() == [[1, 1, 1, 0, 1, 0, 0]]
    assert clicks.unexposed.numpy().tolist() == [[0, 0, 0, 1, 0, 1, 0]]


def test_a_row_of_weight_zero_has_a_known_label() -> None:
    weight = tf.constant([0.0, 2.0])
    assert Clicks(tf.constant([1.0, 0.0]), weight, {WEIGHT: weight}).exposed.numpy().tolist() == [1, 1]
