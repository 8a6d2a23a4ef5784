import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.ranking.deepfm import DeepFM
from models.training.fit import FitResult, fit
from models.training.progress import Progress
from transforms.errors import ConsortError, InputError
from transforms.features import ModelInput

_SIZES = {"items": 20, "users": 10}
_USER = ModelInput(name="user", space="users", shape="scalar", entity="user")
_HISTORY = ModelInput(name="history", space="items", shape="ragged", entity="user")
_ITEM = ModelInput(name="item", space="items", shape="scalar", entity="item")
_CANDIDATES = ModelInput(name="item", space="items", shape="candidates", entity="item")
_STEPS = 6  # an epoch
_EXAMPLES = 8 * _STEPS


def _rows(seed: int, steps: int = _STEPS) -> tf.data.Dataset:
    """Batches of 8; users with even ids click on items with even ids."""
    random, size = np.random.default_rng(seed), 8 * steps
    users, items = random.integers(1, 10, size), random.integers(1, 20, size)
    lengths = random.integers(0, 4, size)
    history = tf.RaggedTensor.from_row_lengths(random.integers(0, 20, lengths.sum()), lengths)
    label = ((users + items) % 2 == 0).astype(np.float32)
    features = {"user": users, "item": items, "history": history}
    # Filtering hides the number of batches, as reading records does.
    return tf.data.Dataset.from_tensor_slices((features, label)).filter(lambda *_: True).batch(8)


def _requests(seed: int) -> tf.data.Dataset:
    random = np.random.default_rng(seed)
    users, items = random.integers(1, 10, 24), random.integers(1, 20, (24, 5))
    label = ((users[:, None] + items) % 2 == 0).astype(np.float32)
    exposed = random.random((24, 5)) < 0.6
    return tf.data.Dataset.from_tensor_slices(({"user": users, "item": items}, label, exposed)).batch(8)


def _model(seed: int = 1, dropout: float = 0.3) -> DeepFM:
    inputs = (_USER, _ITEM, _HISTORY)
    return DeepFM(inputs, _SIZES, embedding_dim=4, hidden_units=(8,), dropout=dropout, embedding_l2=1e-4, seed=seed)


class _Killed(BaseException):
    pass


def _kill_at(step: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.step >= step:
            raise _Killed

    return report


def _fit(model: keras.Model, folder: Path, **options: Any) -> FitResult:
    arguments: dict[str, Any] = {
        "epochs": 2,
        "learning_rate": 0.02,
        "checkpoint_steps": 2,
        "progress": False,
        "eval_dataset": None,
        "train_dataset": lambda epoch: _rows(epoch),
    } | options
    return fit(model, directory=folder, **arguments)


def _assert_same_weights(one: keras.Model, other: keras.Model) -> None:
    for first, second in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy(), err_msg=first.name)
    for first, second in zip(one.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy(), err_msg=first.name)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, FitResult]:
    model = _model()
    return model, _fit(model, tmp_path_factory.mktemp("whole"), eval_dataset=_rows(9))


# A kill in the middle of an epoch (checkpoint 2 or 4 steps in), at its last step and in the next.
@pytest.mark.parametrize("killed_at", [3, 5, _STEPS, _STEPS + 1, 2 * _STEPS])
def test_a_killed_run_ends_with_the_very_same_weights(
    killed_at: int, uninterrupted: tuple[keras.Model, FitResult], tmp_path: Path
) -> None:
    with pytest.raises(_Killed):
        _fit(_model(), tmp_path, progress=_kill_at(killed_at), eval_dataset=_rows(9))
    model = _model(seed=5)  # What it starts from must not matter.
    model.layers[-1].seed = 1
    for step in model.mlp._steps:
        step.seed = 1
    result = _fit(model, tmp_path, eval_dataset=_rows(9))
    whole_model, whole_result = uninterrupted
    assert result.resumed_from == (killed_at - 1) // 2 * 2
    _assert_same_weights(model, whole_model)
    assert (result.steps, result.epochs, result.best_epoch) == (2 * _STEPS, 2, whole_result.best_epoch)
    for row, whole_row in zip(result.history, whole_result.history, strict=True):
        assert row["eval_logloss"] == whole_row["eval_logloss"]
        assert row["eval_auc"] == whole_row["eval_auc"]


def test_a_second_kill_is_survived_too(uninterrupted: tuple[keras.Model, FitResult], tmp_path: Path) -> None:
    for step in (5, 9):
        with pytest.raises(_Killed):
            _fit(_model(), tmp_path, progress=_kill_at(step), eval_dataset=_rows(9))
    model = _model()
    _fit(model, tmp_path, eval_dataset=_rows(9))
    _assert_same_weights(model, uninterrupted[0])


@pytest.mark.parametrize("damage", ["data", "index", "missing"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    damage: str, uninterrupted: tuple[keras.Model, FitResult], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(_Killed):
        _fit(_model(), tmp_path, progress=_kill_at(5), eval_dataset=_rows(9))
    data = tmp_path / "step-4.data-00000-of-00001"
    if damage == "data":
        data.write_bytes(data.read_bytes()[:-100] + b"x" * 100)
    elif damage == "index":
        (tmp_path / "step-4.index").write_bytes(b"half")
    else:
        data.unlink()
    model = _model()
    with caplog.at_level(logging.WARNING):
        result = _fit(model, tmp_path, eval_dataset=_rows(9))
    assert result.resumed_from == 2
    assert "step-4 is damaged" in caplog.text
    _assert_same_weights(model, uninterrupted[0])


def test_with_nothing_readable_a_run_begins_afresh(
    uninterrupted: tuple[keras.Model, FitResult], tmp_path: Path
) -> None:
    (tmp_path / "step-4.index").write_bytes(b"half")
    model = _model()
    assert _fit(model, tmp_path, eval_dataset=_rows(9)).resumed_from is None
    _assert_same_weights(model, uninterrupted[0])


def test_a_run_stopped_by_max_steps_continues_to_the_same_weights(
    uninterrupted: tuple[keras.Model, FitResult], tmp_path: Path
) -> None:
    first = _fit(_model(), tmp_path, max_steps=3, eval_dataset=_rows(9))
    assert (first.steps, first.epochs, first.best_epoch) == (3, 0, 1)
    second = _fit(_model(), tmp_path, max_steps=_STEPS, eval_dataset=_rows(9))
    assert (second.steps, second.resumed_from) == (_STEPS, 3)
    model = _model()
    assert _fit(model, tmp_path, eval_dataset=_rows(9)).steps == 2 * _STEPS
    _assert_same_weights(model, uninterrupted[0])


def test_a_finished_run_is_not_trained_again(uninterrupted: tuple[keras.Model, FitResult], tmp_path: Path) -> None:
    _fit(_model(), tmp_path, eval_dataset=_rows(9))
    model = _model()
    result = _fit(model, tmp_path, eval_dataset=_rows(9))
    assert (result.steps, result.resumed_from) == (2 * _STEPS, 2 * _STEPS)
    _assert_same_weights(model, uninterrupted[0])


@pytest.mark.parametrize("steps_per_execution", [4, 50])
def test_several_steps_an_execution_give_the_same_weights(steps_per_execution: int, tmp_path: Path) -> None:
    models = [_model(), _model()]
    for model, steps in zip(models, (1, steps_per_execution), strict=True):
        result = _fit(model, tmp_path / str(steps), steps_per_execution=steps, eval_dataset=_rows(9))
        assert result.steps == 2 * _STEPS
    _assert_same_weights(*models)


def test_learns_and_reports(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[Progress] = []
    result = _fit(_model(dropout=0.0), tmp_path, epochs=12, eval_dataset=_rows(0), progress=seen.append)
    assert result.history[-1]["eval_auc"] > 0.9 > result.history[0]["auc"]
    assert [row["epoch"] for row in result.history] == list(range(1, 13))
    assert [(one.epoch, one.step) for one in seen[:7]] == [(1, step) for step in range(1, 7)] + [(2, 7)]
    assert result.examples_per_second is not None and result.step_seconds is not None
    assert result.examples_per_second == pytest.approx(8 / result.step_seconds, rel=0.9)
    assert capfd.readouterr().out == ""


def test_shown_log_loss_is_that_of_the_data(tmp_path: Path) -> None:
    model = _model()
    result = _fit(model, tmp_path, epochs=1, eval_dataset=_rows(9))
    losses = []
    for features, label in _rows(9):
        probability = 1 / (1 + np.exp(-model(features).numpy().astype(np.float64)))
        losses += np.where(label == 1, -np.log(probability), -np.log(1 - probability)).tolist()
    assert result.history[0]["eval_logloss"] == pytest.approx(np.mean(losses), rel=1e-5)


def _eval_contradicting_training() -> tf.data.Dataset:
    return _rows(0).map(lambda features, label: (features, 1 - label))


def test_patience_stops_and_the_best_weights_come_back(tmp_path: Path) -> None:
    model, short = _model(), _model()
    # The better the model knows its data, the worse it does on the contrary.
    options = {"eval_dataset": _eval_contradicting_training(), "train_dataset": lambda epoch: _rows(0)}
    result = _fit(model, tmp_path / "long", epochs=9, patience=2, **options)
    best = result.best_epoch
    assert result.stopped_early and result.epochs == best + 2 < 9
    losses = [row["eval_logloss"] for row in result.history]
    assert losses.index(min(losses)) == best - 1
    _fit(short, tmp_path / "short", epochs=best, **options)
    for first, second in zip(model.trainable_weights, short.trainable_weights, strict=True):
        np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert _fit(_model(), tmp_path / "long", epochs=9, patience=2, **options).steps == result.steps


def test_without_eval_data_the_last_weights_stay(tmp_path: Path) -> None:
    result = _fit(_model(), tmp_path)
    assert result.best_epoch == 2 and not result.stopped_early
    assert not list(tmp_path.glob("best-*"))


def test_so_many_checkpoints_are_kept(tmp_path: Path) -> None:
    _fit(_model(), tmp_path, keep_checkpoints=3, eval_dataset=_rows(9))
    assert {path.stem for path in tmp_path.glob("step-*.index")} == {"step-8", "step-10", "step-12"}
    assert len(list(tmp_path.glob("best-*.index"))) == 1


def _request_model() -> DeepFM:
    return DeepFM((_USER, _CANDIDATES), _SIZES, embedding_dim=4, hidden_units=(8,))


def test_requests_train_on_exposed_candidates_only(tmp_path: Path) -> None:
    def with_other_hidden_labels(dataset: tf.data.Dataset) -> tf.data.Dataset:
        return dataset.map(lambda features, label, shown: (features, tf.where(shown, label, 1 - label), shown))

    models, results = [_request_model(), _request_model()], []
    for index, (model, change) in enumerate(zip(models, (lambda data: data, with_other_hidden_labels), strict=True)):
        data = change(_requests(0))
        results.append(_fit(model, tmp_path / str(index), train_dataset=lambda _, d=data: d, eval_dataset=data, epochs=8))
    _assert_same_weights(*models)
    assert results[0].history[-1]["eval_logloss"] == results[1].history[-1]["eval_logloss"]
    assert results[0].history[-1]["eval_auc"] > 0.8


def _with_a_bad_price(epoch: int) -> tf.data.Dataset:
    price = np.ones(48, np.float32)
    price[33] = np.nan  # in batch 5
    features = {"user": np.arange(48) % 9 + 1, "price": price}
    return tf.data.Dataset.from_tensor_slices((features, np.arange(48) % 2.0)).batch(8)


@pytest.mark.parametrize(("steps_per_execution", "named"), [(1, "step 5 "), (3, "steps 4 to 6 ")])
def test_a_loss_that_is_not_finite_stops_with_the_step(steps_per_execution: int, named: str, tmp_path: Path) -> None:
    inputs = (_USER, ModelInput(name="price", space=None, shape="scalar", entity="item"))
    model = DeepFM(inputs, _SIZES, embedding_dim=4, hidden_units=(8,))
    with pytest.raises(ConsortError, match=f"loss became nan at {named}.*lower learning_rate"):
        _fit(
            model, tmp_path, train_dataset=_with_a_bad_price, checkpoint_steps=1, steps_per_execution=steps_per_execution
        )
    assert max(int(path.stem.removeprefix("step-")) for path in tmp_path.glob("step-*.index")) < 5


def test_checkpoints_of_another_model_are_refused(tmp_path: Path) -> None:
    _fit(_model(), tmp_path, epochs=1)
    wider = DeepFM((_USER, _ITEM, _HISTORY), _SIZES, embedding_dim=5, hidden_units=(8,))
    deeper = DeepFM((_USER, _ITEM, _HISTORY), _SIZES, embedding_dim=4, hidden_units=(8, 8))
    for other in (wider, deeper):
        with pytest.raises(InputError, match="another model .* directory of its own"):
            _fit(other, tmp_path, epochs=1)


def test_data_without_a_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training data, epoch 1: received no batch"):
        _fit(_model(), tmp_path / "a", train_dataset=lambda epoch: _rows(0).take(0))
    with pytest.raises(InputError, match="eval data: received no batch"):
        _fit(_model(), tmp_path / "b", eval_dataset=_rows(0).take(0))


def test_a_compiled_model_keeps_its_optimizer_loss_and_metrics(tmp_path: Path) -> None:
    model = _model()
    accuracy = keras.metrics.BinaryAccuracy(threshold=0.0)
    model.compile(keras.optimizers.SGD(0.1), keras.losses.BinaryCrossentropy(from_logits=True), metrics=[accuracy])
    result = _fit(model, tmp_path, eval_dataset=_rows(9))
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert {"loss", "binary_accuracy", "eval_loss", "eval_binary_accuracy"} <= set(result.history[0])
    assert result.examples_per_second is None and result.step_seconds is not None
