from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.layers.dense import ResumableDropout
from models.ranking.deepfm import DeepFM
from models.training.checkpoints import read_weights
from models.training.fit import FitResult, fit
from models.training.progress import Progress
from transforms.errors import ConsortError, InputError
from transforms.features import ModelInput

_SIZES = {"items": 20, "users": 10}
_USER = ModelInput(name="user", vocabulary="users", shape="scalar", entity="user")
_HISTORY = ModelInput(name="history", vocabulary="items", shape="ragged", entity="user")
_ITEM = ModelInput(name="item", vocabulary="items", shape="scalar", entity="item")
_CANDIDATES = ModelInput(name="item", vocabulary="items", shape="candidates", entity="item")
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


@dataclass
class _Whole:
    model: keras.Model
    result: FitResult
    folder: Path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> _Whole:
    model, folder = _model(), tmp_path_factory.mktemp("whole")
    return _Whole(model, _fit(model, folder, eval_dataset=_rows(9), keep_checkpoints=3), folder)


def test_a_run_killed_twice_ends_with_the_very_same_weights(uninterrupted: _Whole, tmp_path: Path) -> None:
    for step in (3, _STEPS + 3):  # in the middle of the first epoch, and of the second
        with pytest.raises(_Killed):
            _fit(_model(), tmp_path, progress=_kill_at(step), eval_dataset=_rows(9))
    model = _model()
    model(next(iter(_rows(0)))[0])
    for weight in model.trainable_weights:  # What the resumed run starts from must not matter.
        weight.assign_add(tf.ones_like(weight))
    result = _fit(model, tmp_path, eval_dataset=_rows(9))
    assert result.resumed_from == _STEPS + 2
    _assert_same_weights(model, uninterrupted.model)
    whole = uninterrupted.result
    assert (result.steps, result.epochs, result.best_epoch) == (2 * _STEPS, 2, whole.best_epoch)
    for row, whole_row in zip(result.history, whole.history, strict=True):
        assert row["eval_logloss"] == whole_row["eval_logloss"]
        assert row["eval_auc"] == whole_row["eval_auc"]


def test_a_run_stopped_by_max_steps_continues_to_the_same_weights(uninterrupted: _Whole, tmp_path: Path) -> None:
    first = _fit(_model(), tmp_path, max_steps=3, eval_dataset=_rows(9))
    assert (first.steps, first.epochs, first.best_epoch) == (3, 0, 1)
    second = _fit(_model(), tmp_path, max_steps=_STEPS, eval_dataset=_rows(9))
    assert (second.steps, second.resumed_from) == (_STEPS, 3)
    model = _model()
    assert _fit(model, tmp_path, eval_dataset=_rows(9)).steps == 2 * _STEPS
    _assert_same_weights(model, uninterrupted.model)


def test_a_finished_run_is_not_trained_again(uninterrupted: _Whole) -> None:
    model = _model()
    result = _fit(model, uninterrupted.folder, eval_dataset=_rows(9))
    assert (result.steps, result.resumed_from) == (2 * _STEPS, 2 * _STEPS)
    assert result.history == uninterrupted.result.history
    _assert_same_weights(model, uninterrupted.model)


@pytest.mark.parametrize("steps_per_execution", [4, 50])
def test_several_steps_an_execution_give_the_same_weights(
    steps_per_execution: int, uninterrupted: _Whole, tmp_path: Path
) -> None:
    model = _model()
    result = _fit(model, tmp_path, steps_per_execution=steps_per_execution, eval_dataset=_rows(9))
    assert result.steps == 2 * _STEPS
    _assert_same_weights(model, uninterrupted.model)


def test_end_of_data_is_no_step(uninterrupted: _Whole) -> None:
    model = uninterrupted.model
    dropout = next(step for step in model.mlp._steps if isinstance(step, ResumableDropout))
    assert int(model.optimizer.iterations) == 2 * _STEPS
    assert int(dropout.calls) == uninterrupted.result.best_epoch * _STEPS


def test_learns_and_reports(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[Progress] = []
    result = _fit(_model(dropout=0.0), tmp_path, epochs=12, eval_dataset=_rows(0), progress=seen.append)
    assert result.history[-1]["eval_auc"] > 0.9 > result.history[0]["auc"]
    assert [row["epoch"] for row in result.history] == list(range(1, 13))
    assert [(one.epoch, one.step) for one in seen[:7]] == [(1, step) for step in range(1, 7)] + [(2, 7)]
    assert result.examples_per_second is not None and result.step_seconds is not None
    assert result.examples_per_second == pytest.approx(8 / result.step_seconds, rel=0.9)
    assert capfd.readouterr().out == ""


def test_the_model_holds_the_best_epoch_and_its_log_loss_is_that_of_the_data(uninterrupted: _Whole) -> None:
    result, losses = uninterrupted.result, []
    for features, label in _rows(9):
        probability = 1 / (1 + np.exp(-uninterrupted.model(features).numpy().astype(np.float64)))
        losses += np.where(label == 1, -np.log(probability), -np.log(1 - probability)).tolist()
    found = [row["eval_logloss"] for row in result.history]
    assert np.mean(losses) == pytest.approx(min(found), rel=1e-5)
    assert found.index(min(found)) == result.best_epoch - 1


def test_each_epoch_gets_a_line_with_its_loss_and_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = _fit(_model(), tmp_path, epochs=2, eval_dataset=_rows(9), title="peer_0", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    row = result.history[1]
    assert first.startswith("peer_0: epoch 1 of 2: loss ")
    metrics = f"loss {row['loss']:.4f}, eval_logloss {row['eval_logloss']:.4f}, eval_auc {row['eval_auc']:.4f}"
    assert set(second.removeprefix("peer_0: epoch 2 of 2: ").rpartition(", ")[0].split(", ")) == set(
        metrics.split(", ")
    )


def _eval_contradicting_training() -> tf.data.Dataset:
    return _rows(0).map(lambda features, label: (features, 1 - label))


def test_patience_stops_and_the_best_weights_come_back(tmp_path: Path) -> None:
    # The better the model knows its data, the worse it does on the contrary.
    options = {"eval_dataset": _eval_contradicting_training(), "train_dataset": lambda epoch: _rows(0)}
    model = _model()
    result = _fit(model, tmp_path, epochs=9, patience=2, **options)
    best = result.best_epoch
    assert result.stopped_early and result.epochs == best + 2 < 9
    losses = [row["eval_logloss"] for row in result.history]
    assert losses.index(min(losses)) == best - 1
    stored = tf.train.load_checkpoint(str(tmp_path / f"best-{best}"))
    for index, weight in enumerate(model.weights):
        np.testing.assert_array_equal(stored.get_tensor(f"weights/{index}/.ATTRIBUTES/VARIABLE_VALUE"), weight.numpy())
    assert _fit(_model(), tmp_path, epochs=9, patience=2, **options).steps == result.steps


def test_without_eval_data_the_last_weights_stay(tmp_path: Path) -> None:
    model = _model()
    result = _fit(model, tmp_path, epochs=1)
    assert result.best_epoch == 1 and not result.stopped_early
    assert not list(tmp_path.glob("best-*"))


@pytest.mark.parametrize(
    ("eval_dataset", "best_epoch"), [(_rows(0), 2), (_eval_contradicting_training(), 1), (None, 2)]
)
def test_a_run_that_ends_inside_an_epoch_is_read_back_as_it_ended(
    eval_dataset: tf.data.Dataset | None, best_epoch: int, tmp_path: Path
) -> None:
    options = {"eval_dataset": eval_dataset, "train_dataset": lambda epoch: _rows(0), "max_steps": _STEPS + 3}
    model, other = _model(), _model()
    result = _fit(model, tmp_path, **options)
    assert (result.epochs, result.best_epoch) == (1, best_epoch)
    other(next(iter(_rows(0)))[0])
    read_weights(tmp_path, other)
    for weight, expected in zip(other.weights, model.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    # The metrics are those of what it ended with.
    if eval_dataset is not None:
        model.evaluate(eval_dataset, verbose=0)
        assert result.best["eval_logloss"] == pytest.approx(model.get_metrics_result()["logloss"].numpy(), rel=1e-6)
    assert _fit(_model(), tmp_path, **options).best == result.best


def test_best_weights_that_are_damaged_are_not_replaced_by_others(tmp_path: Path) -> None:
    model = _model()
    result = _fit(model, tmp_path, eval_dataset=_rows(9))
    (tmp_path / f"best-{result.best_epoch}.index").write_bytes(b"")
    with pytest.raises(InputError, match=f"best-{result.best_epoch}: received no intact file"):
        read_weights(tmp_path, model)


def test_so_many_checkpoints_are_kept(uninterrupted: _Whole) -> None:
    folder = uninterrupted.folder
    assert {path.stem for path in folder.glob("step-*.index")} == {"step-8", "step-10", "step-12"}
    assert len(list(folder.glob("best-*.index"))) == 1


def _request_model() -> DeepFM:
    return DeepFM((_USER, _CANDIDATES), _SIZES, embedding_dim=4, hidden_units=(8,))


def test_requests_train_on_exposed_candidates_only(tmp_path: Path) -> None:
    def with_other_hidden_labels(dataset: tf.data.Dataset) -> tf.data.Dataset:
        return dataset.map(lambda features, label, shown: (features, tf.where(shown, label, 1 - label), shown))

    models, results = [_request_model(), _request_model()], []
    for index, (model, change) in enumerate(zip(models, (lambda data: data, with_other_hidden_labels), strict=True)):
        data = change(_requests(0))
        results.append(
            _fit(model, tmp_path / str(index), train_dataset=lambda _, d=data: d, eval_dataset=data, epochs=12)
        )
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
    inputs = (_USER, ModelInput(name="price", vocabulary=None, shape="scalar", entity="item"))
    model = DeepFM(inputs, _SIZES, embedding_dim=4, hidden_units=(8,))
    with pytest.raises(ConsortError, match=f"loss became nan at {named}.*1 of 'price' in batch"):
        _fit(
            model,
            tmp_path,
            train_dataset=_with_a_bad_price,
            checkpoint_steps=1,
            steps_per_execution=steps_per_execution,
        )
    assert max(int(path.stem.removeprefix("step-")) for path in tmp_path.glob("step-*.index")) < 5


def test_an_id_outside_its_vocabulary_is_told_with_its_feature(tmp_path: Path) -> None:
    features = {"user": np.arange(16) + 100, "price": np.ones(16, np.float32)}
    data = tf.data.Dataset.from_tensor_slices((features, np.arange(16) % 2.0)).batch(8)
    inputs = (_USER, ModelInput(name="price", vocabulary=None, shape="scalar", entity="item"))
    model = DeepFM(inputs, _SIZES, embedding_dim=4, hidden_units=(8,))
    with pytest.raises(InputError, match="training data: received feature 'user' has the id 100; expected 0 to"):
        _fit(model, tmp_path, train_dataset=lambda epoch: data)


def test_checkpoints_of_another_model_are_refused(uninterrupted: _Whole) -> None:
    wider = DeepFM((_USER, _ITEM, _HISTORY), _SIZES, embedding_dim=5, hidden_units=(8,))
    deeper = DeepFM((_USER, _ITEM, _HISTORY), _SIZES, embedding_dim=4, hidden_units=(8, 8))
    for other in (wider, deeper):
        with pytest.raises(InputError, match="another model .* directory of its own"):
            _fit(other, uninterrupted.folder)


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
