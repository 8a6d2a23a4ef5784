"""CS3 as a run: what is kept, what a second pass sees, what is refused, and what a kill costs."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.cotraining.base import Trained, build_recipe
from models.cotraining.cs3 import RANKER, CS3Recipe
from models.cotraining.tower_pretraining import give_weights, pretrain_options, pretrain_towers
from models.layers.vector_store import StoreContent
from models.registry import build_model
from models.retrieval.tower_model import TowerModel
from models.training.job import FitSettings, RetrievalData, TrainingJob
from tests.helpers.model_batches import REQUEST, ROW, SIZES
from tests.helpers.tower_pairs import events, moved
from transforms.features import CATALOGUE_PLACE

pytestmark = pytest.mark.usefixtures("eagerly")

_STEPS, _BATCH = 4, 12
_IDS: dict[str, Any] = {"user_feature": "user", "item_feature": "item"}


def _stream(seed: int) -> tf.data.Dataset:
    batches = [events(_BATCH, seed * 100 + step) for step in range(_STEPS)]
    signature = tf.nest.map_structure(_any_number, batches[0])
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)


def _any_number(value: Any) -> Any:
    if isinstance(value, tf.RaggedTensor):
        return tf.RaggedTensorSpec([None, None], value.dtype, ragged_rank=1, row_splits_dtype=value.row_splits.dtype)
    return tf.TensorSpec([None, *value.shape[1:]], value.dtype)


def _build(seed: int, name: str | None) -> keras.Model:
    return build_model(name or "dssm", ROW, SIZES, embedding_dim=2, hidden_units=(5, 3), seed=seed)


def _job(**settings: Any) -> TrainingJob:
    return TrainingJob(
        build=_build,
        train_dataset=lambda seed, epoch: _stream(1),
        eval_dataset=_stream(2),
        steps_per_epoch=_STEPS,
        settings=FitSettings(**{"learning_rate": 0.02, "checkpoint_steps": 1, **settings}),
        seed=3,
        in_vocabulary_ids={"users": 4},
    )


def _caches(trained: Trained) -> dict[str, np.ndarray]:
    model: Any = trained.model
    return {name: store.vectors.numpy() for name, store in model.caches.stores.items()}


def test_the_towers_are_kept_with_their_caches_and_nothing_of_the_ranker(tmp_path: Path) -> None:
    trained = CS3Recipe(**_IDS).train(_job(), tmp_path)
    assert isinstance(trained.model, TowerModel) and trained.result.steps == _STEPS
    kept = _caches(trained)
    assert set(kept) == {"cross_user", "cross_item", "cascade_user", "cascade_item"}
    assert all(values[1:].any() for values in kept.values())
    # The last user id is out of the vocabulary.
    assert not kept["cross_user"][4].any() and not kept["cascade_user"][4].any()
    cached = trained.report["cached_ids"]
    assert cached["cascade_user"] == 3 and cached["cascade_item"] == 6
    assert trained.report["towers"] == "DSSM" and trained.report["ranker"] == "TargetAttentionRanker"
    ranker = {weight.name for weight in _build(1, RANKER).weights}
    assert not ranker & {weight.name for weight in trained.model.weights}


def test_what_is_kept_scores_as_the_group_did(tmp_path: Path) -> None:
    trained = CS3Recipe(**_IDS).train(_job(), tmp_path)
    losses = [
        tf.nn.sigmoid_cross_entropy_with_logits(label, trained.model(features)).numpy().mean()
        for features, label in _stream(2)
    ]
    assert np.mean(losses) == pytest.approx(trained.result.history[-1]["eval_logloss"], rel=1e-5)


def test_a_second_pass_begins_with_empty_caches(tmp_path: Path) -> None:
    once = CS3Recipe(**_IDS, alpha=0.0).train(_job(learning_rate=1e-12), tmp_path / "once")
    twice = CS3Recipe(**_IDS, alpha=0.0).train(_job(learning_rate=1e-12, epochs=2), tmp_path / "twice")
    # Weights that do not move leave the same in the caches, unless these went on from the first pass.
    for name, values in _caches(once).items():
        np.testing.assert_allclose(_caches(twice)[name], values, rtol=1e-4, atol=1e-9, err_msg=name)
    assert twice.result.steps == 2 * _STEPS


def test_each_pass_begins_with_what_an_earlier_run_left(tmp_path: Path) -> None:
    left = {"cascade_user": StoreContent(np.full((5, 3), 7.0, np.float32), np.full(5, 2), np.full(5, 9))}
    job = dataclasses.replace(_job(epochs=2), external={"caches_from": left})
    # With shares of 1 the old vector stays, however many events come.
    trained = CS3Recipe(**_IDS, alpha=1.0, beta=1.0).train(job, tmp_path)
    kept = _caches(trained)
    assert (kept["cascade_user"] == 7.0).all()
    assert not kept["cross_user"].any() and not kept["cascade_item"].any()
    model: Any = trained.model
    counts = model.caches.stores["cascade_user"].counts.numpy()
    events_of = sum(np.bincount(features["user"], minlength=5) for features, _ in _stream(1))
    # Of one pass, on top of those before: neither padding nor the id of strangers is written.
    np.testing.assert_array_equal(counts, 2 + np.where([False, True, True, True, False], events_of, 0))


def test_a_run_that_was_killed_ends_with_the_same_towers_and_caches(tmp_path: Path) -> None:
    whole = CS3Recipe(**_IDS).train(_job(), tmp_path / "whole")
    CS3Recipe(**_IDS).train(_job(max_steps=2), tmp_path / "killed")
    again = CS3Recipe(**_IDS).train(_job(), tmp_path / "killed")
    assert again.result.resumed_from == 2
    for one, other in zip(whole.model.weights, again.model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.name)


@pytest.mark.parametrize(
    ("inputs", "name", "told"),
    [(ROW, "deepfm", "the model is DeepFM; expected two towers"), (REQUEST, "dssm", "records are requests")],
)
def test_what_has_no_towers_or_is_no_stream_is_refused(inputs: Any, name: str, told: str) -> None:
    models = [build_model(model, inputs, SIZES, hidden_units=(4, 3)) for model in (name, RANKER)]
    with pytest.raises(ValueError, match=told):
        CS3Recipe(**_IDS).check(models)


def test_both_models_begin_with_the_share_of_clicks() -> None:
    job = dataclasses.replace(_job(), base_rate=0.2)
    features, _ = events(50)
    for logits in CS3Recipe(**_IDS).streamed(job)(features).values():
        # First weights are so small that nothing else is said.
        np.testing.assert_allclose(tf.sigmoid(logits).numpy(), 0.2, atol=0.01)
    group = CS3Recipe(**_IDS).streamed(dataclasses.replace(_job(), base_rate=0.0))
    assert np.isfinite(group(features)["towers"].numpy()).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dssm", {"cycle_adaptive": ("user", "item"), "include_first_layer": True}),
        ("fism", {"residual": True}),
        ("transformer_two_tower", {"heads": 1, "width": 4}),
    ],
)
def test_towers_with_caches_begin_as_the_pretrained_ones_whatever_the_caches_hold(name: str, options: Any) -> None:
    def build(seed: int, _: Any) -> Any:
        return build_model(name, ROW, SIZES, embedding_dim=3, hidden_units=(5, 3), seed=seed, **options)

    group = CS3Recipe(**_IDS).group(build(3, None), _build(4, RANKER), {}, 0)
    group.build_variables()
    for store in group.caches.stores.values():
        store.vectors.assign(tf.fill(store.vectors.shape, 7.0))
    features, _ = events(_BATCH)
    plain = moved(build(5, None), features)
    towers: Any = group.peer(0)
    give_weights(towers, plain)
    group.load_peer(0, towers)
    np.testing.assert_allclose(group(features)["towers"], plain(features), rtol=1e-5, atol=1e-6)


def test_the_online_pass_begins_with_the_towers_of_the_softmax_over_the_catalogue(tmp_path: Path) -> None:
    options = {"log_loss_weight": 1.0, "history_dropout": 0.0, "user_feature": "user", "epochs": 1, "half_life_days": 0}
    job = dataclasses.replace(_job(learning_rate=1e-12), retrieval=lambda *_: _catalogue())
    pretrain = {**options, "learning_rate": 0.05}
    trained = CS3Recipe(**_IDS, pretrain=pretrain).train(job, tmp_path)
    plain, report = pretrain_towers(job, pretrain_options(pretrain), tmp_path / "alone")
    assert trained.report["pretraining_of_towers"] == report and report["steps"] == _STEPS
    features, _ = events(_BATCH)
    np.testing.assert_allclose(trained.model(features), plain(features), rtol=1e-4, atol=1e-5)
    assert np.abs(plain(features) - _build(3, None)(features)).max() > 0.01


def _catalogue() -> RetrievalData:
    places = np.arange(7)

    def batches(*_: int) -> tf.data.Dataset:
        return _stream(1).map(lambda features, label: ({**features, CATALOGUE_PLACE: features["item"]}, label))

    items = {"item": places, "price": np.linspace(-1, 1, 7).astype(np.float32)}
    times = np.full(7, 100)
    return RetrievalData(batches, None, _STEPS, items, 7, np.ones(7, np.int64), places, times, places[:0], times[:0])


def test_pretraining_needs_known_options_and_a_catalogue(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pretrain has no option 'epoch'"):
        CS3Recipe(**_IDS, pretrain={"epoch": 3})
    with pytest.raises(ValueError, match="pretrain is True; expected options"):
        build_recipe("cs3", pretrain=True)
    with pytest.raises(ValueError, match="there is no catalogue"):
        CS3Recipe(**_IDS, pretrain={}).train(_job(), tmp_path)


@pytest.mark.parametrize("option", ["alpha", "beta"])
def test_shares_outside_of_0_and_1_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=rf"{option} is 1.5; expected in \[0, 1\]"):
        build_recipe("cs3", **{option: 1.5})


def test_strategies_are_refused(tmp_path: Path) -> None:
    with (
        tf.distribute.OneDeviceStrategy("/cpu:0").scope(),
        pytest.raises(ValueError, match=r"set training.distribution to none"),
    ):
        CS3Recipe(**_IDS).train(dataclasses.replace(_job()), tmp_path)
