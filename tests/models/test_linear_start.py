"""A model with linear terms begins as a logistic regression, and stays one where nothing is better."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from models.cotraining.mutual_learning import MutualLearning
from models.registry import build_model
from models.training.checkpoints import read_weights
from models.training.fit import FitResult, fit
from models.training.linear_start import LinearStart
from transforms.features import ModelInput

_SIZES = {"items": 6, "tags": 5}
_INPUTS = [
    ModelInput(name="item", vocabulary="items", shape="scalar", entity="item"),
    ModelInput(name="price", vocabulary=None, shape="scalar", entity="item"),
    ModelInput(name="read", vocabulary="items", shape="ragged", entity="user"),
    ModelInput(name="tags", vocabulary="tags", shape="values", entity="item", width=2, pooling="sum"),
    ModelInput(name="image", vocabulary=None, shape="values", entity="item", width=3),
]
_Batch = tuple[dict[str, Any], np.ndarray]


def _rows(count: int, seed: int, effect: float = 1.0) -> tuple[_Batch, np.ndarray]:
    """Features with labels, and the columns that a logistic regression has of them, worked out one by one."""
    rng = np.random.default_rng(seed)
    lists = [rng.integers(0, 6, rng.integers(0, 4)) for _ in range(count)]
    features = {
        "item": rng.integers(0, 6, count),
        "price": rng.normal(0, 5, count).astype(np.float32),
        "read": tf.ragged.constant([list(map(int, ids)) for ids in lists], dtype=tf.int64),
        "tags": rng.integers(0, 5, (count, 2)),
        "image": rng.normal(size=(count, 3)).astype(np.float32),
    }
    columns = np.zeros((count, 5 + 4 + 4))
    for row in range(count):
        real = [identifier for identifier in lists[row] if identifier]
        for identifier, share in [(features["item"][row], 1.0), *((one, 1 / len(real)) for one in real)]:
            columns[row, identifier - 1] += share if identifier else 0.0
        for identifier in features["tags"][row]:
            columns[row, 4 + identifier] += 1.0 if identifier else 0.0
        columns[row, 9] = features["price"][row] / 5
        columns[row, 10:] = features["image"][row]
    logits = effect * columns @ np.array([1.5, -1, 1, 0, -1.5, 0.7, -0.7, 0.5, 0, 0.8, 1, 0, -1]) - 0.5
    return (features, (rng.random(count) < expit(logits)).astype(np.float32)), columns


def _dataset(rows: _Batch) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(rows).batch(64)


def _start(train: _Batch, evaluated: _Batch | None = None) -> LinearStart:
    return LinearStart(lambda: _dataset(train), None if evaluated is None else _dataset(evaluated))


def _model(name: str = "deepfm", **options: Any) -> keras.Model:
    model = build_model(name, _INPUTS, _SIZES, embedding_dim=2, hidden_units=(4,), seed=1, **options)
    model.build_variables()
    model.initialize_bias(0.4)
    return model


def test_the_start_is_the_logistic_regression_of_scikit_learn() -> None:
    (train, columns), (test, _) = _rows(600, 1), _rows(600, 2)
    model = _model()
    assert _start(train, test)(model)
    # The price of the model is divided by its root mean square.
    columns[:, 9] *= 5 / np.sqrt(np.mean(train[0]["price"] ** 2))
    logits = model(train[0], training=False).numpy()
    distances = [
        np.abs(LogisticRegression(C=c, max_iter=1000).fit(columns, train[1]).decision_function(columns) - logits).max()
        for c in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    ]
    assert min(distances) < 5e-3
    assert max(distances) > 0.5


@pytest.mark.parametrize("name", ["dcn", "pnn"])
def test_a_model_whose_reference_has_no_linear_terms_starts_so_with_the_option(name: str) -> None:
    (train, _), start = _rows(300, 1), _start(_rows(300, 1)[0])
    model, reference = _model(name, linear_terms=True), _model()
    assert start(model) and start(reference)
    np.testing.assert_allclose(model(train[0]), reference(train[0]), atol=1e-3)


_SHOWN_INPUTS = [
    ModelInput(name="user", vocabulary="users", shape="scalar", entity="user"),
    ModelInput(name="read", vocabulary="items", shape="ragged", entity="user", max_length=2),
    ModelInput(name="item", vocabulary="items", shape="candidates", entity="item"),
    ModelInput(name="price", vocabulary=None, shape="candidates", entity="item"),
]


def _requests(count: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Features of requests with four candidates, and the columns of a logistic regression, worked out one by one."""
    rng = np.random.default_rng(5)
    lists = [rng.integers(0, 6, rng.integers(0, 4)) for _ in range(count)]
    features = {
        "user": rng.integers(0, 4, count),
        "read": tf.ragged.constant([list(map(int, ids)) for ids in lists], dtype=tf.int64),
        "item": rng.integers(1, 6, (count, 4)),
        "price": rng.normal(0, 5, (count, 4)).astype(np.float32),
    }
    columns = np.zeros((count, 4, 3 + 5 + 1))
    for row in range(count):
        real = [identifier for identifier in lists[row][-2:] if identifier]
        for place in range(4):
            if features["user"][row]:
                columns[row, place, features["user"][row] - 1] = 1
            for identifier, share in [(features["item"][row, place], 1.0), *((one, 1 / len(real)) for one in real)]:
                columns[row, place, 2 + identifier] += share
            columns[row, place, 8] = features["price"][row, place]
    logits = columns @ np.array([1, 0, -1, 1.5, -1, 1, 0, -1.5, 0.2]) - 0.3
    return features, columns, (rng.random((count, 4)) < expit(logits)).astype(np.float32)


@pytest.mark.parametrize("name", ["cold", "set_ranker", "two_tower"])
def test_a_model_of_requests_starts_as_the_logistic_regression_of_what_was_shown(name: str) -> None:
    features, columns, label = _requests(300)
    shown = np.random.default_rng(6).random(label.shape) < 0.6
    model = build_model(
        name, _SHOWN_INPUTS, {"items": 6, "users": 4}, embedding_dim=2, hidden_units=(4,), seed=1, linear_terms=True
    )
    model.build_variables()
    batches = tf.data.Dataset.from_tensor_slices((features, label, shown.astype(np.float32))).batch(64)
    assert LinearStart(lambda: batches)(model)
    columns[..., 8] /= np.sqrt(np.mean(features["price"][shown] ** 2))
    regression = LogisticRegression(C=1.0, max_iter=1000)
    distances = []
    for c in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
        fitted = regression.set_params(C=c).fit(columns[shown], label[shown])
        expected = fitted.decision_function(columns.reshape(-1, 9)).reshape(label.shape)
        distances.append(np.abs(expected - model(features, training=False).numpy()).max())
    assert min(distances) < 1e-2
    assert max(distances) > 0.3


def test_all_peers_of_a_group_start_alike_from_one_fit() -> None:
    train, read = _rows(300, 1)[0], []

    def batches() -> tf.data.Dataset:
        read.append(1)
        return _dataset(train)

    start, alone = LinearStart(batches), _model()
    peers = [build_model("deepfm", _INPUTS, _SIZES, embedding_dim=2, hidden_units=(4,), seed=k) for k in (1, 2)]
    group = MutualLearning(peers)
    group.build_variables()
    group.initialize_bias(0.4)
    assert start(alone) and start(group)
    assert len(read) == 1
    logits = group(train[0])
    for name in ("peer_0", "peer_1"):
        np.testing.assert_allclose(logits[name], alone(train[0]), atol=1e-3)


def test_towers_refuse_linear_terms() -> None:
    with pytest.raises(ValueError, match="linear_terms is True; expected False, as DSSM cannot have it"):
        build_model("dssm", _INPUTS, _SIZES, linear_terms=True)


@pytest.mark.parametrize("name", ["dcn", "pnn"])
def test_a_model_without_linear_terms_stays_as_it_is(name: str) -> None:
    model = _model(name)
    before = [weight.numpy() for weight in model.weights]
    assert not _start(_rows(200, 1)[0])(model)
    assert all(np.array_equal(one, weight) for one, weight in zip(before, model.get_weights(), strict=True))


def test_rows_that_contradict_the_eval_rows_leave_the_share_of_clicks() -> None:
    model = _model()
    assert not _start(_rows(100, 1)[0], _rows(400, 2, effect=-1.0)[0])(model)
    assert model.output_bias.numpy() == pytest.approx(np.log(0.4 / 0.6), abs=1e-6)


def test_numbers_that_are_not_finite_are_left_to_the_training_step() -> None:
    (features, label), _ = _rows(100, 1)
    features["price"][7] = np.nan
    assert not _start((features, label))(_model())


def _fit(folder: Path, start: Callable[[keras.Model], bool], learning_rate: float) -> tuple[keras.Model, FitResult]:
    model, train = _model(), _dataset(_rows(600, 1)[0])
    evaluated = _dataset(_rows(600, 2)[0])
    rate: dict[str, Any] = {"epochs": 2, "learning_rate": learning_rate}
    return model, fit(model, lambda epoch: train, evaluated, folder, **rate, start=start, progress=False)


def test_a_start_that_no_epoch_improves_is_kept(tmp_path: Path) -> None:
    model, result = _fit(tmp_path, _start(_rows(600, 1)[0]), 3.0)
    assert (result.best_epoch, result.epochs) == (0, 2)
    assert result.best["eval_logloss"] < min(row["eval_logloss"] for row in result.history)
    start, read = _model(), _model()
    _start(_rows(600, 1)[0])(start)
    read_weights(tmp_path, read)
    for kept, expected, again in zip(model.get_weights(), start.get_weights(), read.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, expected)
        np.testing.assert_array_equal(again, expected)


def test_a_start_that_an_epoch_improves_is_left_and_a_resumed_run_does_not_start_again(tmp_path: Path) -> None:
    starts: list[keras.Model] = []

    def start(built: keras.Model) -> bool:
        starts.append(built)
        return True

    first = _fit(tmp_path, start, 0.01)[1]
    assert first.best_epoch == 2
    assert _fit(tmp_path, start, 0.01)[1].best == first.best
    assert len(starts) == 1
