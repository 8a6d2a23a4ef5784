"""What a job's settings do: each reaches the fit, and an untrained model begins with the share of clicks."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.cotraining.mutual_learning import MutualLearning
from models.registry import MODELS, build_model
from models.training.job import FitSettings, TrainingJob
from models.training.optimizers import LazyFtrl
from models.training.progress import Progress
from tests.helpers.generated_batches import SIZES, generated_batch, generated_inputs

_STEPS = 6


def _rows(seed: int) -> tf.data.Dataset:
    rng = np.random.default_rng(seed)
    users, items = rng.integers(1, 7, 8 * _STEPS), rng.integers(1, 11, 8 * _STEPS)
    label = ((users + items) % 2 == 0).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices(({"user_id": users, "item_id": items}, label)).batch(8)


def _job(eval_dataset: tf.data.Dataset | None = None, **settings: Any) -> TrainingJob:
    inputs = [item for item in generated_inputs(1, "row", ()) if item.name in ("user_id", "item_id")]

    def build(seed: int, name: str | None) -> keras.Model:
        return build_model(name or "deepfm", inputs, SIZES, embedding_dim=4, hidden_units=(8,), seed=seed)

    return TrainingJob(
        build=build,
        train_dataset=lambda seed, epoch: _rows(epoch),
        eval_dataset=eval_dataset,
        steps_per_epoch=_STEPS,
        settings=FitSettings(**settings),
        seed=3,
        base_rate=0.2,
    )


def _fit(job: TrainingJob, folder: Path, **changes: Any) -> tuple[keras.Model, Any]:
    model = job.build(job.seed, None)
    return model, job.fit(model, folder, job.settings, job.seed, **changes)


def test_each_setting_reaches_the_fit(tmp_path: Path) -> None:
    seen: list[Progress] = []
    job = _job(
        epochs=9,
        max_steps=8,
        learning_rate=0.05,
        decay_epochs=2.0,
        optimizer="ftrl",
        checkpoint_steps=1,
        keep_checkpoints=3,
        steps_per_execution=2,
        tensorboard=True,
    )
    model, result = _fit(job, tmp_path, progress=seen.append)
    assert result.steps == 8 and [one.step for one in seen] == [2, 4, 6, 8]
    assert isinstance(model.optimizer, LazyFtrl)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05 * 0.1 ** (7 / (2 * _STEPS)))  # Of the last step.
    assert sorted(path.stem for path in tmp_path.glob("step-*.index")) == ["step-4", "step-6", "step-8"]
    assert list((tmp_path / "tensorboard").rglob("events*"))


def test_epochs_and_patience_reach_the_fit(tmp_path: Path) -> None:
    contrary = _rows(0).map(lambda features, label: (features, 1 - label))
    _, result = _fit(_job(contrary, epochs=9, patience=1, learning_rate=0.05), tmp_path / "a")
    assert result.stopped_early and result.epochs == result.best_epoch + 1 < 9
    assert _fit(_job(epochs=2), tmp_path / "b")[1].epochs == 2


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"set_ranker"}))
def test_an_untrained_model_begins_with_the_share_of_clicks(name: str) -> None:
    inputs = generated_inputs(3, "row")
    batch = generated_batch(3, inputs, [3, 0, 5])
    model = build_model(name, inputs, SIZES, embedding_dim=4, hidden_units=(8, 6), seed=1)
    model(batch)
    model.initialize_bias(0.2)
    np.testing.assert_allclose(tf.sigmoid(model(batch, training=False)), 0.2, atol=0.02)


def test_the_side_outputs_of_a_model_are_left_alone() -> None:
    inputs = generated_inputs(3, "request")
    model = build_model("set_ranker", inputs, SIZES, embedding_dim=4, hidden_units=(8, 6), outputs=3)
    model(generated_batch(3, inputs, [3, 0]))
    model.initialize_bias(0.2, outputs=2)
    np.testing.assert_allclose(model.output_bias, [math.log(0.25)] * 2 + [0], rtol=1e-6)


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 1e-3), (1.0, 1 - 1e-3)])
def test_peers_begin_there_too_and_never_at_an_infinite_logit(rate: float, expected: float) -> None:
    inputs = generated_inputs(3, "row")
    group = MutualLearning([build_model(name, inputs, SIZES, hidden_units=(4,)) for name in ("deepfm", "dcn")])
    group.build_variables()
    group.initialize_bias(rate)
    for logits in group(generated_batch(3, inputs, [3]), training=False).values():
        np.testing.assert_allclose(tf.sigmoid(logits), expected, atol=1e-4)


def test_a_fit_begins_at_the_base_rate_but_not_where_it_goes_on(tmp_path: Path) -> None:
    job = _job(max_steps=1, learning_rate=1e-9, checkpoint_steps=1)
    model, _ = _fit(job, tmp_path)
    np.testing.assert_allclose(model.output_bias, [math.log(0.25)], rtol=1e-4)
    untouched, _ = _fit(job, tmp_path / "other", base_rate=None)
    np.testing.assert_allclose(untouched.output_bias, [0], atol=1e-6)
    resumed = job.build(job.seed, None)
    job.fit(resumed, tmp_path / "other", job.settings, job.seed)
    np.testing.assert_allclose(resumed.output_bias, [0], atol=1e-6)
