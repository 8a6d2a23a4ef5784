"""Pairs whose peers see different things: other fields of a request, or the clicks of other requests."""

import numpy as np
import pytest
import tensorflow as tf

from experiments.duet.grid import DuetGrid
from experiments.duet.methods import METHODS
from experiments.duet.views import BaggedDuet, ContentRanker, IdRanker
from models.cotraining.clicks import Clicks
from runs.plan import check_model
from simulation.cascade_log import feature_set
from simulation.parameters import World
from tests.helpers.duet_pairs import ranker
from tests.helpers.set_batches import INPUTS, SIZES, moved, set_batch
from tests.helpers.tiny_grids import WORLD

NAMES = {"user": "user_id", "item": "item_id", "history": "history_item_id"}
ALTERED = {"user_id": 2, "item_id": 3, "hour": 9.0, "price": 5.0}


def batch(**altered):
    features = {NAMES.get(name, name): value for name, value in set_batch().items()}
    return {**features, **{name: tf.fill(features[name].shape, value) for name, value in altered.items()}}


@pytest.mark.parametrize(("view", "read"), [(IdRanker, {"user_id", "item_id"}), (ContentRanker, {"hour", "price"})])
def test_a_view_reads_its_fields_and_no_others(view, read):
    inputs = [item.model_copy(update={"name": NAMES.get(item.name, item.name)}) for item in INPUTS]
    model = moved(view(inputs, SIZES, embedding_dim=2, hidden_units=(6, 5), width=4, heads=2, seed=1), batch())
    before = model(batch()).numpy()
    for name, value in ALTERED.items():
        unchanged = np.allclose(before, model(batch(**{name: tf.constant(value, batch()[name].dtype)})), atol=1e-6)
        assert unchanged == (name not in read), name
    assert type(model).from_config(model.get_config()).get_config() == model.get_config()


def test_each_peer_of_a_bagged_pair_learns_from_its_half_of_the_clicks_and_labels_the_other_half():
    duet = BaggedDuet([ranker(1), ranker(2)], consistency_weight=0.0)
    one, other, label = np.array([[0.8], [0.4]]), np.array([[0.5], [0.1]]), np.array([[1.0], [1.0]])
    logits = [tf.constant(np.log(p / (1 - p)), tf.float32) for p in (one, other)]
    clicks = Clicks(tf.constant(label, tf.float32), tf.ones([2, 1]), {})
    terms = duet.loss_terms(clicks, logits, [[], []])
    # The first peer: the click of request 1, and label 0.1 of request 2; the second: label 0.8, and the click.
    first = -(np.log(0.8) + 0.1 * np.log(0.4) + 0.9 * np.log(0.6)) / 2
    second = -(0.8 * np.log(0.5) + 0.2 * np.log(0.5) + np.log(0.1)) / 2
    assert float(terms["bce"]) == pytest.approx(first + second, rel=1e-5)


def test_pairs_of_different_views_can_be_built_on_a_simulated_log():
    grid = DuetGrid.model_validate({"name": "tiny", "world": WORLD, "requests": 60, "main": ["duet_bagged"]})
    features = feature_set(World(**WORLD))
    for name in ("duet_classes", "duet_ids_content", "duet_bagged"):
        config = grid.cell_config("simulated", 48, name, 1, 0.01)
        check_model(config, config.features.apply(features))
        assert config.recipe.name == METHODS[name].recipe
