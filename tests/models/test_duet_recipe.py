"""DUET as a run: which peer is kept, what the report warns of, what is refused, and what a kill costs."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.cotraining.base import Trained, build_recipe
from models.cotraining.duet import Duet, DuetRecipe, peer_warnings
from models.ranking.deepfm import DeepFM
from models.registry import build_model
from models.training.fit import FitResult
from models.training.job import FitSettings, TrainingJob
from models.training.losses import ClickLoss
from tests.helpers.set_batches import INPUTS, REAL, SIZES, set_batch
from transforms.features import STAGE, ModelInput

pytestmark = pytest.mark.usefixtures("eagerly")

_STEPS = 4


def _rows(seed: int, steps: int = _STEPS) -> tf.data.Dataset:
    """The same requests again and again, with other candidates shown and clicked."""
    random = np.random.default_rng(seed)
    shown = ((random.random((steps, *REAL.shape)) < 0.5) & REAL).astype(np.float32)
    label = shown * (random.random(shown.shape) < 0.6)
    stage = REAL * 1 + shown.astype(np.int64)
    label = label.astype(np.float32)
    batches = [({**set_batch(), STAGE: tf.constant(stage[k])}, label[k], shown[k]) for k in range(steps)]
    signature = tf.nest.map_structure(_any_number, batches[0])
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)


def _any_number(value: Any) -> Any:
    if isinstance(value, tf.RaggedTensor):
        return tf.RaggedTensorSpec([None, None], value.dtype, ragged_rank=1)
    return tf.TensorSpec([None, *value.shape[1:]], value.dtype)


def _job(model: dict[str, Any] | None = None, **settings: Any) -> TrainingJob:
    def build(seed: int, name: str | None) -> keras.Model:
        own = {} if name else {"width": 4, "heads": 2, **(model or {})}
        return build_model(name or "set_ranker", INPUTS, SIZES, embedding_dim=2, hidden_units=(4, 3), seed=seed, **own)

    return TrainingJob(
        build=build,
        train_dataset=lambda seed, epoch: _rows(1000 * seed + epoch),
        eval_dataset=_rows(5),
        steps_per_epoch=_STEPS,
        settings=FitSettings(**{"learning_rate": 0.02, "checkpoint_steps": 2, **settings}),
        seed=3,
    )


def _log_loss(trained: Trained) -> float:
    """Of the model to serve, over everything shown in the eval data."""
    loss, found, weights = ClickLoss(), [], []
    for features, label, shown in _rows(5):
        found.append(float(loss(label, trained.model(features), shown)))
        weights.append(float(tf.reduce_sum(shown)))
    return float(np.average(found, weights=weights))


def _is_the_better_peer(trained: Trained) -> bool:
    row, best = trained.result.history[trained.result.best_epoch - 1], trained.report["best_peer"]
    losses = [row[f"eval_logloss/peer_{k}"] for k in range(2)]
    assert losses[0] != losses[1]
    return losses[best] == min(losses) and _log_loss(trained) == pytest.approx(losses[best], rel=1e-5)


@pytest.mark.parametrize("seed", [3, 4])
def test_two_rankers_are_trained_and_the_better_one_is_kept_alone(seed: int, tmp_path: Path) -> None:
    trained = DuetRecipe().train(dataclasses.replace(_job(), seed=seed), tmp_path)
    assert trained.report["recipe"] == "duet"
    peers = [{"seed": seed, "model": "SetRanker"}, {"seed": seed + 1, "model": "SetRanker"}]
    assert trained.report["peers"] == peers
    assert _is_the_better_peer(trained) and trained.result.steps == _STEPS
    single = _job().build(1, None)
    single(set_batch())
    assert [w.shape for w in trained.model.trainable_weights] == [w.shape for w in single.trainable_weights]


def test_the_history_has_the_monitors_and_the_report_its_warnings(tmp_path: Path) -> None:
    trained = DuetRecipe(consistency_weight=0.2).train(_job(learning_rate=1e-6), tmp_path)
    row = trained.result.history[-1]
    assert {"agreement", "eval_agreement", "eval_disagreement", "degree_min/history/peer_1"} <= set(row)
    assert not any(name.startswith("eval_degree") for name in row)
    # Before they have learned anything the peers are alike.
    assert row["eval_agreement"] > 0.95
    (told,) = trained.report["warnings"]
    assert "their views have collapsed" in told


def test_peers_with_views_of_their_own_are_kept_alone_too(tmp_path: Path) -> None:
    assert _is_the_better_peer(DuetRecipe().train(_job({"field_dropout": 0.3}), tmp_path))


def test_peers_may_be_of_two_classes(tmp_path: Path) -> None:
    recipe = DuetRecipe(models=("set_ranker", "two_tower"))
    assert recipe.model_names() == ["set_ranker", "two_tower"] and recipe.row_widths(3) == [3, 3]
    job = _job()
    recipe.check([job.build(3, name) for name in (None, *recipe.model_names())])
    trained = recipe.train(job, tmp_path)
    assert [peer["model"] for peer in trained.report["peers"]] == ["SetRanker", "TwoTower"]
    assert type(trained.model).__name__ == ["SetRanker", "TwoTower"][trained.report["best_peer"]]
    assert _is_the_better_peer(trained)


def test_a_shared_backbone_has_two_heads_of_which_one_is_kept(tmp_path: Path) -> None:
    recipe, job = DuetRecipe(shared_backbone=True), _job({"outputs": 2})
    assert recipe.row_widths(3) == [3]
    recipe.check([job.build(3, None)])
    trained = recipe.train(job, tmp_path)
    assert len(trained.report["peers"]) == 1 and trained.model.outputs == 1
    assert trained.model(set_batch()).shape == (3, 4)
    assert _is_the_better_peer(trained)


def test_stages_are_learned_beside_the_clicks_and_not_served(tmp_path: Path) -> None:
    recipe, job = DuetRecipe(stage_weight=1.0), _job({"outputs": 3})
    recipe.check([job.build(3, None)])
    trained = recipe.train(job, tmp_path)
    row = trained.result.history[-1]
    assert row["eval_loss"] == pytest.approx(
        row["eval_loss/bce"] + row["eval_loss/consistency"] + row["eval_loss/stage"], rel=1e-5
    )
    assert row["eval_loss/stage"] > 1 and trained.model(set_batch()).shape == (3, 4)
    assert _is_the_better_peer(trained)


def test_every_option_reaches_the_pair() -> None:
    options: dict[str, Any] = {
        "consistency_weight": 0.3,
        "consistency_schedule": "cosine",
        "consistency_steps": 7,
        "consistency_support": "unexposed",
        "average": "group_mean",
        "unexposed_weight": 0.5,
        "warmup_steps": 3,
        "label_temperature": 0.5,
        "by_confidence": True,
        "stage_weight": 2.0,
    }
    job = _job({"outputs": 3})
    config = DuetRecipe(**options)._group([job.build(seed, None) for seed in (1, 2)]).get_config()
    assert {key: config[key] for key in options} == options
    own = {field.name for field in dataclasses.fields(DuetRecipe)} - {"models", "shared_backbone"}
    assert own == set(options)


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("last_step", [3, 7])
def test_a_killed_run_ends_with_the_very_same_pair_optimizer_and_losses(
    last_step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a step does depends on the steps before it: warm-up, schedule, and what dropout hides.
    recipe = DuetRecipe(warmup_steps=6, consistency_schedule="ramp", consistency_steps=5)
    job, fit = _job({"dropout": 0.2}, epochs=2), TrainingJob.fit
    groups: list[Duet] = []

    def watched(job: TrainingJob, model: Any, directory: Path, settings: Any, seed: int) -> FitResult:
        def report(progress: Any) -> None:
            if directory.parent.name == "killed" and len(groups) == 2 and progress.step == last_step:
                raise _Killed

        groups.append(model)
        return fit(job, model, directory, settings, seed, progress=report)

    monkeypatch.setattr(TrainingJob, "fit", watched)
    whole = recipe.train(job, tmp_path / "whole")
    with pytest.raises(_Killed):
        recipe.train(job, tmp_path / "killed")
    resumed = recipe.train(job, tmp_path / "killed")
    assert resumed.result.resumed_from == last_step - 1
    first, _, last = groups
    both = (*first.variables, *first.optimizer.variables), (*last.variables, *last.optimizer.variables)
    assert len(both[0]) > 60 and int(last.optimizer.iterations) == 2 * _STEPS
    metrics = {id(variable) for group in groups for metric in group.metrics for variable in metric.variables}
    for expected, found in zip(*both, strict=True):
        if id(expected) not in metrics:
            np.testing.assert_array_equal(found.numpy(), expected.numpy())
    for expected, found in zip(whole.result.history, resumed.result.history, strict=True):
        # Of a resumed epoch the training metrics cover the steps since.
        keys = [key for key in expected if key.startswith("eval_")]
        keys += ["loss", "loss/bce", "loss/consistency"] if last_step < _STEPS and expected["epoch"] == 2 else []
        assert {key: found[key] for key in keys} == {key: expected[key] for key in keys}
    assert resumed.report == whole.report


_FINE = {"eval_agreement": 0.5, "eval_disagreement": 0.02, "degree_min/history/peer_0": 0.5}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"eval_agreement": 0.951}, "agree within 0.01 on 95.1%.*lower consistency_weight.*field_dropout"),
        (
            {"eval_disagreement": 0.12},
            "differ by 0.120 on average: they diverge; raise consistency_weight",
        ),
        ({"degree_min/history/peer_0": 1e-5}, "degree_min/history/peer_0 fell to 1.0e-05.*choose feature_map elu1"),
    ],
)
def test_what_goes_wrong_between_the_peers_is_told_with_a_remedy(row: dict[str, float], told: str) -> None:
    (found,) = peer_warnings([{**_FINE, **row}])
    assert re.search(told, found)
    # The last epoch counts.
    assert peer_warnings([{**_FINE, **row}, _FINE]) == []


def test_the_least_degree_is_told_and_at_the_bounds_nothing() -> None:
    (found,) = peer_warnings([{"degree_min/history/peer_0": 1e-4, "degree_min/candidates/peer_1": 0.0}])
    assert found.startswith("degree_min/candidates/peer_1 fell to 0.0e+00")
    assert peer_warnings([{"eval_agreement": 0.95, "eval_disagreement": 0.1, "degree_min/history": 1e-3}]) == []
    assert peer_warnings([]) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"models": ["set_ranker"]}, "models has 1 names; expected 2, one a peer"),
        ({"models": ["cold", "cold"], "shared_backbone": True}, "models and shared_backbone are both given"),
        (
            {"consistency_wieght": 1},
            "no option 'consistency_wieght'; expected one of .*; did you mean 'consistency_weight'",
        ),
    ],
)
def test_wrong_options_are_told_before_anything_is_built(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build_recipe("duet", **options)


@pytest.mark.parametrize(
    ("options", "model", "told"),
    [
        ({"average": "mean"}, {}, "average is 'mean'; expected one of union, group_mean"),
        ({"consistency_weight": -0.1}, {}, "weight is -0.1"),
        ({"consistency_schedule": "linear"}, {}, "schedule is 'linear'; expected one of constant, ramp"),
        ({"label_temperature": 0}, {}, "label_temperature is 0; expected above 0"),
        ({"warmup_steps": -1}, {}, "steps -1; expected 0 or more"),
        ({"shared_backbone": True}, {}, "peers have 1 outputs together; expected 2"),
        ({}, {"outputs": 2}, "peers have 4 outputs together; expected 2"),
        ({"stage_weight": 1.0}, {}, "SetRanker has 1 output; .* set model.options.outputs, e.g. to 3"),
        ({"models": ["set_ranker", "cold"]}, {}, "peers are SetRanker, Cold: some read requests as sets"),
    ],
)
def test_wrong_values_are_told_by_the_check_and_before_training(
    options: dict[str, Any], model: dict[str, Any], told: str, tmp_path: Path
) -> None:
    job = _job(model)
    with pytest.raises(ValueError, match=told):
        recipe = build_recipe("duet", **options)
        recipe.check([job.build(3, name) for name in (None, *recipe.model_names())])
    with pytest.raises(ValueError, match=told):
        build_recipe("duet", **options).train(job, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_has_no_tables_cannot_be_a_peer() -> None:
    with pytest.raises(ValueError, match="Sequential cannot be a peer"):
        DuetRecipe().check([keras.Sequential()])


def test_point_wise_models_of_rows_are_taken() -> None:
    users = [ModelInput(name="user", vocabulary="users", shape="scalar", entity="user")]
    DuetRecipe().check([DeepFM(users, {"users": 5}, embedding_dim=2)])
