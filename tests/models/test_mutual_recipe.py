import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.cotraining.base import Trained, build_recipe
from models.cotraining.mutual_learning import MutualLearningRecipe
from models.cotraining.peers import best_peer
from models.ranking.deepfm import DeepFM
from models.registry import build_model
from models.training.fit import FitResult
from models.training.job import FitSettings, TrainingJob
from transforms.errors import InputError
from transforms.features import ModelInput

pytestmark = pytest.mark.usefixtures("eagerly")

_SIZES = {"items": 20, "users": 10}
_INPUTS = tuple(
    ModelInput(name=name, vocabulary=f"{name}s", shape="scalar", entity="user") for name in ("user", "item")
)
_STEPS = 4


def _rows(seed: int) -> tf.data.Dataset:
    random = np.random.default_rng(seed)
    users, items = random.integers(1, 10, 8 * _STEPS), random.integers(1, 20, 8 * _STEPS)
    label = ((users + items) % 2 == 0).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices(({"user": users, "item": items}, label)).batch(8)


def _job(pretrained: Sequence[Callable[[], keras.Model]] = (), **settings: Any) -> TrainingJob:
    def build(seed: int, name: str | None) -> keras.Model:
        return build_model(name or "deepfm", _INPUTS, _SIZES, embedding_dim=3, hidden_units=(4,), seed=seed)

    return TrainingJob(
        build=build,
        train_dataset=lambda seed, epoch: _rows(1000 * seed + epoch),
        eval_dataset=_rows(5),
        steps_per_epoch=_STEPS,
        settings=FitSettings(learning_rate=0.01, checkpoint_steps=2, **settings),
        seed=3,
        external={"pretrained": pretrained},
    )


def _weights(trained: Trained) -> list[np.ndarray]:
    return [weight.numpy() for weight in trained.model.weights]


def test_pretrains_each_peer_apart_and_gives_one_plain_model(tmp_path: Path) -> None:
    trained = MutualLearningRecipe(models=("deepfm", "dcn")).train(_job(), tmp_path)
    assert [entry["seed"] for entry in trained.report["pretraining"]] == [3, 4]
    assert [entry["model"] for entry in trained.report["peers"]] == ["DeepFM", "DCN"]
    best = trained.report["best_peer"]
    row = trained.result.history[-1]
    assert row[f"eval_logloss/peer_{best}"] == min(row["eval_logloss/peer_0"], row["eval_logloss/peer_1"])
    assert type(trained.model).__name__ == ["DeepFM", "DCN"][best]
    trained.model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    assert trained.model.evaluate(_rows(5), verbose=0) == pytest.approx(row[f"eval_logloss/peer_{best}"], rel=1e-5)


def test_finetuning_begins_at_the_pretrained_weights(tmp_path: Path) -> None:
    recipe = MutualLearningRecipe(peers=2, learning_rate=1e-9)
    trained = recipe.train(_job(), tmp_path)
    row = trained.result.history[-1]
    for index, entry in enumerate(trained.report["pretraining"]):
        assert entry["metrics"]["eval_logloss"] == pytest.approx(row[f"eval_logloss/peer_{index}"], rel=1e-5)


def test_from_scratch_leaves_pretraining_out(tmp_path: Path) -> None:
    trained = MutualLearningRecipe(peers=2, from_scratch=True).train(_job(epochs=2), tmp_path)
    assert trained.report["pretraining"] == [] and trained.result.epochs == 2
    assert not (tmp_path / "peer_0").exists()


def test_one_peer_is_a_model_finetuned_alone(tmp_path: Path) -> None:
    trained = MutualLearningRecipe(peers=1).train(_job(), tmp_path)
    assert trained.report["best_peer"] == 0 and isinstance(trained.model, DeepFM)


def test_earlier_runs_take_the_place_of_pretraining(tmp_path: Path) -> None:
    def load(seed: int) -> DeepFM:
        model = DeepFM(_INPUTS, _SIZES, embedding_dim=3, hidden_units=(4,), seed=seed)
        model({"user": tf.constant([1], tf.int64), "item": tf.constant([1], tf.int64)})
        return model

    recipe = MutualLearningRecipe(pretrained=("11", "12"), learning_rate=1e-9)
    trained = recipe.train(_job([partial(load, 11), partial(load, 12)]), tmp_path)
    assert [entry["from"] for entry in trained.report["pretraining"]] == ["11", "12"]
    chosen = load([11, 12][trained.report["best_peer"]])
    for found, expected in zip(_weights(trained), chosen.weights, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("stage", ["peer_1", "together"])
def test_a_run_killed_in_any_stage_ends_with_the_very_same_weights(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = MutualLearningRecipe(peers=2, epochs=2)
    whole = recipe.train(_job(), tmp_path / "whole")
    fit = TrainingJob.fit

    def killed(job: TrainingJob, model: Any, directory: Path, settings: Any, seed: int, **changes: Any) -> FitResult:
        def report(progress: Any) -> None:
            if directory.name == stage and progress.step == 3:
                raise _Killed

        return fit(job, model, directory, settings, seed, progress=report, **changes)

    with monkeypatch.context() as patched, pytest.raises(_Killed):
        patched.setattr(TrainingJob, "fit", killed)
        recipe.train(_job(), tmp_path / "killed")
    resumed = recipe.train(_job(), tmp_path / "killed")
    assert resumed.result.resumed_from == (2 if stage == "together" else None)
    for found, expected in zip(_weights(resumed), _weights(whole), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_best_peer_is_that_of_the_weights_kept() -> None:
    last = {"eval_logloss/peer_0": 0.1, "eval_logloss/peer_1": 0.4}
    kept = {"eval_logloss/peer_0": 0.3, "eval_logloss/peer_1": 0.2}
    assert best_peer(FitResult(8, 2, 1, (kept, last), None, None, None, False, kept), 2) == 1
    # Of an epoch that `max_steps` ended there is no row in the history.
    assert best_peer(FitResult(6, 1, 2, (last,), None, None, None, False, kept), 2) == 1


def test_pretraining_that_ends_inside_an_epoch_is_told_with_its_metrics(tmp_path: Path) -> None:
    # What is evaluated is what the last steps see.
    job = dataclasses.replace(_job(epochs=3, max_steps=2 * _STEPS - 1), eval_dataset=_rows(3001))
    (before,) = MutualLearningRecipe(peers=1).train(job, tmp_path).report["pretraining"]
    assert before["best_epoch"] == 2 and before["metrics"]["step"] == 2 * _STEPS - 1
    assert before["metrics"]["eval_logloss"] > 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"peers": 0}, "peers is 0; expected a whole number of at least 1"),
        ({"epochs": 0}, "epochs is 0"),
        ({"loss": "mae"}, "loss is 'mae'; expected one of mse"),
        ({"mutual_wieght": 1}, "no option 'mutual_wieght'; expected one of .*; did you mean 'mutual_weight'"),
        ({"pretrained": ["a"], "from_scratch": True}, "both given"),
        ({"pretrained": ["a"], "models": ["dcn", "pnn"]}, "1 pretrained runs for 2 models"),
    ],
)
def test_wrong_options_are_told_before_anything_is_trained(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build_recipe("mutual_learning", **options)


def test_an_unknown_recipe_is_told_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="received 'mutual'.*did you mean 'mutual_learning'"):
        build_recipe("mutual")


def test_a_model_without_fields_cannot_be_a_peer() -> None:
    with pytest.raises(ValueError, match="Sequential cannot be a peer"):
        MutualLearningRecipe().check([keras.Sequential()])


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    from models.training.checkpoints import read_weights

    MutualLearningRecipe(peers=1).train(_job(), tmp_path)
    other = DeepFM(_INPUTS, _SIZES, embedding_dim=3, hidden_units=(9,))
    other({"user": tf.constant([1], tf.int64), "item": tf.constant([1], tf.int64)})
    with pytest.raises(InputError, match="a checkpoint of another model"):
        read_weights(tmp_path / "peer_0", other)
    with pytest.raises(InputError, match="no intact checkpoint"):
        read_weights(tmp_path / "nowhere", other)
