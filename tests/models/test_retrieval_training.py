"""The softmax over the catalogue: losses, ranks, recency and calibration, by NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.cotraining.retrieval import RetrievalRecipe, _logistic, best_half_life, calibrate
from models.layers.table_start import EMBEDDING_STDDEV
from models.registry import build_model
from models.retrieval.catalogue_softmax import RetrievalTraining, item_batch
from models.training.compiling import compile_model
from models.training.job import FitSettings, RetrievalData, TrainingJob
from tests.helpers.model_batches import REQUEST, ROW, SIZES, row_batch
from transforms.features import CATALOGUE_PLACE, TIMESTAMP

pytestmark = pytest.mark.usefixtures("eagerly")

_DAY = 86_400
# The items 1 to 6, of which the last one is new in eval.
_ITEMS = {"item": np.arange(1, 7), "price": np.linspace(-1, 1, 6).astype(np.float32)}
_CLICKED = np.array([0, 0, 1, 2, 3, 4])
_SHOWN = np.array([20, 5, 1, 4, 10])


def _batch() -> tuple[dict[str, Any], tf.Tensor]:
    times = tf.constant([10 * _DAY, 8 * _DAY, 10 * _DAY], tf.int64)
    places = row_batch()["item"] - 1
    return {**row_batch(), TIMESTAMP: times, CATALOGUE_PLACE: places}, tf.constant([1.0, 1.0, 0.0])


def _data(times: Any = (1, 2, 3, 4, 5, 10), eval_places: Any = (0, 5)) -> RetrievalData:
    def dataset(*_: int) -> tf.data.Dataset:
        features, label = _batch()
        return tf.data.Dataset.from_tensors((features, label)).repeat(3).unbatch().batch(3)

    at = np.asarray(times) * _DAY
    later = np.asarray(eval_places)
    return RetrievalData(dataset, dataset(), 3, _ITEMS, 5, _SHOWN, _CLICKED, at, np.where(later < 5, later, -1), later)


def _towers(seed: int = 1) -> Any:
    towers: Any = build_model("dssm", ROW, SIZES, embedding_dim=3, hidden_units=(4,), seed=seed)
    towers(row_batch())
    for index, weight in enumerate(towers.trainable_weights):
        weight.assign_add(tf.random.stateless_normal(weight.shape, [5, index], stddev=0.4))
    return towers


def _training(towers: Any, **options: Any) -> Any:
    defaults: dict[str, Any] = {"half_life_days": 0, "history_dropout": 0, "id_dropout": 0, "user_feature": "user"}
    training = RetrievalTraining(towers, _data(), 4, **{**defaults, **options})
    compile_model(training, 0.01)
    return training


def _scores(towers: Any) -> np.ndarray:
    """Scores of all items for the users of the batch, each pair in a row of its own."""
    rows = row_batch()
    columns = []
    for item, price in zip(_ITEMS["item"], _ITEMS["price"], strict=True):
        batch = {**rows, "item": tf.fill([3], item), "price": tf.fill([3], price)}
        columns.append(((towers(batch) - towers.similarity.bias) / towers.similarity.scale).numpy())
    return np.stack(columns, axis=1)


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def test_the_full_softmax_is_over_the_items_of_train_and_recent_clicks_weigh_more() -> None:
    towers = _towers()
    training = _training(towers, half_life_days=1.0, temperature=2.0)
    # Items 2 and 1 were clicked; the second click is two half-lives old.
    each = -_log_softmax(_scores(towers)[:, :5] / 2)[[0, 1], [1, 0]]
    expected = (each * [1, 0.25]).sum() / 1.25
    assert float(training.train_step(_batch())["loss"]) == pytest.approx(expected, rel=1e-4)


def test_the_log_loss_is_added_on_all_rows() -> None:
    towers, (features, label) = _towers(), _batch()
    logits = towers(features).numpy()
    logloss = np.mean(np.logaddexp(0, logits) - label.numpy() * logits)
    softmax = -_log_softmax(_scores(towers)[:, :5])[[0, 1], [1, 0]].mean()
    logs = _training(towers, log_loss_weight=3.0, softmax_weight=0.5).train_step(_batch())
    assert float(logs["logloss"]) == pytest.approx(logloss, rel=1e-4)
    assert float(logs["loss"]) == pytest.approx(0.5 * softmax + 3 * logloss, rel=1e-4)


def test_of_a_large_catalogue_negatives_are_corrected_by_how_often_they_are_expected() -> None:
    towers = _towers()
    # So many draws find each of five items.
    training = _training(towers, full_softmax_items=2, negatives=500)
    shares = np.bincount(_CLICKED, minlength=5) / 6
    scores = _scores(towers)[:, :5] - np.log(2 * shares + 500 / 5)
    expected = -_log_softmax(scores)[[0, 1], [1, 0]].mean()
    assert float(training.train_step(_batch())["loss"]) == pytest.approx(expected, rel=1e-4)


def test_exposure_explains_clicks_in_the_softmax_and_not_in_what_is_retrieved() -> None:
    towers = _towers()
    scores = _scores(towers)
    corrected = scores + 0.5 * np.log([*_SHOWN, 1])
    expected = -_log_softmax(corrected[:, :5])[[0, 1], [1, 0]].mean()
    training = _training(towers, exposure_correction=0.5)
    training.prepare_evaluation()
    places = (1, 5, 2)
    _, ranks, shown_ranks = training._losses_and_ranks(
        towers.user_embedding(row_batch()), tf.constant(places, tf.int64)
    )
    for result, values in ((ranks, scores), (shown_ranks, corrected)):
        np.testing.assert_array_equal(
            result.numpy(), [(row >= row[place]).sum() for row, place in zip(values, places, strict=True)]
        )
    assert float(training.train_step(_batch())["loss"]) == pytest.approx(expected, rel=1e-4)
    # So many draws find each of five items, expected 100 times and one or two clicks, which are shares of all draws.
    towers = _towers()
    training = _training(towers, exposure_correction=0.5, full_softmax_items=2, negatives=500)
    drawn = corrected[:, :5] - np.log(2 * np.bincount(_CLICKED, minlength=5) / 6 + 100)
    expected = -_log_softmax(drawn)[[0, 1], [1, 0]].mean()
    assert float(training.train_step(_batch())["loss"]) == pytest.approx(expected, rel=1e-4)


def test_recall_counts_the_items_of_eval_and_ties_are_against_the_model() -> None:
    towers = _towers()
    training = _training(towers)
    training.prepare_evaluation()
    losses, ranks, _ = training._losses_and_ranks(towers.user_embedding(row_batch()), tf.constant([1, 5, 2], tf.int64))
    scores = _scores(towers)
    expected = [(row >= row[place]).sum() for row, place in zip(scores, (1, 5, 2), strict=True)]
    np.testing.assert_array_equal(ranks.numpy(), expected)
    loss = -_log_softmax(scores[:, :5])[[0, 2], [1, 2]]
    np.testing.assert_allclose(losses.numpy()[[0, 2]], loss, rtol=1e-4)


def test_dropped_users_are_unknown_and_dropped_events_are_no_padding() -> None:
    towers = _towers()
    training = _training(towers, history_dropout=0.5, id_dropout=0.5)
    unknown = towers.look_up({**row_batch(), "user": tf.fill([3], tf.constant(4, tf.int64))}).sets.request.numpy()
    known = towers.look_up(row_batch()).sets.request.numpy()
    full = towers.look_up(row_batch()).sets.history_mask.numpy()
    seen = []
    for step in range(30):
        training.optimizer.iterations.assign(step)
        sets = training._dropped(row_batch()).sets
        is_unknown = (sets.request.numpy() == unknown).all(axis=(1, 2))
        assert (is_unknown | (sets.request.numpy() == known).all(axis=(1, 2))).all()
        assert not (sets.history_mask.numpy() & ~full).any()
        seen.append([is_unknown.mean(), sets.history_mask.numpy().sum() / full.sum()])
    assert np.allclose(np.mean(seen, axis=0), 0.5, atol=0.17)


def test_an_item_alone_has_the_vector_that_it_has_in_a_row() -> None:
    towers = _towers()
    batch = item_batch(towers.embeddings.inputs, {name: row_batch()[name] for name in ("item", "price")})
    expected = towers.item_embedding(row_batch()).numpy()
    np.testing.assert_array_equal(towers.item_embedding(batch).numpy(), expected)


def test_the_half_life_is_the_one_with_which_recent_clicks_tell_the_next() -> None:
    # Item 4 alone was clicked last, and then again; over all time item 0 is the most popular.
    assert 0 < best_half_life(_data(eval_places=(4, 4, 4))) < 1
    assert best_half_life(_data(times=(10, 10, 1, 2, 3, 4), eval_places=(0, 1, 2, 3, 4))) == 0
    assert best_half_life(_data(eval_places=(5,))) == 0
    # What counts is the time that the clicks span, of news a few days, and not since when clocks count.
    now = 19_500 + np.array([0, 0.1, 0.2, 0.3, 0.9, 1])
    assert 0 < best_half_life(_data(times=now, eval_places=(4, 4, 4))) < 0.5


def test_towers_that_can_begin_with_what_is_popular_lately(tmp_path: Path) -> None:
    job = TrainingJob(
        build=lambda seed, name: build_model("fism", ROW, SIZES, embedding_dim=3, seed=seed),
        train_dataset=_data().train,
        eval_dataset=_data().eval,
        steps_per_epoch=3,
        settings=FitSettings(epochs=1, learning_rate=1e-9),
        seed=1,
        in_vocabulary_ids={"users": 4, "items": 7},
        retrieval=lambda clicked_only, batch_size: _data(),
    )
    # The clicks of the items 0, 0, 1, 2, 3, 4 are 9, 8, ... days old or, of the last one, new; the half-life is 2 days.
    counts = np.array([2**-4.5 + 2**-4, 2**-3.5, 2**-3, 2**-2.5, 1])
    shares = 0.99 * counts / counts.sum() + 0.01 / 5
    options: dict[str, Any] = {"user_feature": "user", "half_life_days": 2.0, "embedding_stddev": 1e-6}
    for name, expected in (("item", np.log(shares / shares.min())), ("item_id", np.zeros(5))):
        recipe = RetrievalRecipe(item_feature=name, **options)
        model: Any = recipe.train(job, tmp_path / name).model
        items = {name: values[:5] for name, values in _ITEMS.items()}
        users = model.user_embedding(row_batch()).numpy()
        products = users @ model.item_embedding(item_batch(model.embeddings.inputs, items)).numpy().T
        np.testing.assert_allclose(products, np.tile(expected, (3, 1)), atol=1e-4)


def test_calibration_is_logistic_regression_on_the_products() -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(3)
    x = random.normal(2, 3, 400)
    y = (random.random(400) < 1 / (1 + np.exp(1 - 0.7 * x))).astype(float)
    reference = LogisticRegression(C=1e9, tol=1e-10).fit(x[:, None], y)
    fitted = _logistic(x, y, np.ones(400))
    assert fitted == pytest.approx((reference.coef_[0, 0], reference.intercept_[0]), rel=1e-3)
    # Products that go against the labels keep their order, which retrieval needs; of one kind of label none is made.
    against = _logistic(-x, y, np.ones(400))
    assert against is not None and 0 < against[0] < 0.01
    assert _logistic(x, np.ones(400), np.ones(400)) is None


def test_a_run_keeps_the_best_recall_and_a_calibrated_logit(tmp_path: Path) -> None:
    job = TrainingJob(
        build=lambda seed, name: build_model("dssm", ROW, SIZES, embedding_dim=3, hidden_units=(4,), seed=seed),
        train_dataset=_data().train,
        eval_dataset=_data().eval,
        steps_per_epoch=3,
        settings=FitSettings(epochs=3, learning_rate=0.05),
        seed=1,
        in_vocabulary_ids={"users": 4, "items": 7},
        retrieval=lambda clicked_only, batch_size: _data(),
    )
    trained = RetrievalRecipe(user_feature="user").train(job, tmp_path)
    model: Any = trained.model
    best = max(trained.result.history, key=lambda row: row["eval_catalogue_recall@100"])
    assert trained.result.best == best and best["eval_catalogue_recall@100"] == 1 and "logloss" not in best
    assert not any("catalogue_recall" in name and "eval" not in name for name in best)
    # The mean click rate is kept by calibration.
    features, label = _batch()
    assert tf.sigmoid(model(features)).numpy().mean() == pytest.approx(label.numpy().mean(), abs=1e-4)
    assert trained.report["softmax"] == "full" and trained.report["items"] == 5
    assert float(model.similarity.scale) == trained.report["logit_scale"] > 0
    # The unknown user's vector was learned, as half of the rows had it, from a start at 0.
    assert np.abs(model.embeddings.table.numpy()[model.embeddings.first_rows["users"] + 4]).max() > EMBEDDING_STDDEV


def test_calibration_of_one_kind_of_label_changes_nothing() -> None:
    towers, (features, label) = _towers(), _batch()
    before = calibrate(towers, tf.data.Dataset.from_tensors((features, tf.ones_like(label))))
    assert before == (float(towers.similarity.scale), float(towers.similarity.bias))


@pytest.mark.parametrize(
    ("inputs", "name", "message"),
    [
        (ROW, "deepfm", "the model is DeepFM; expected two towers"),
        (ROW, "int_tower", "the model is IntTower; expected two towers that are compared by a product"),
        (REQUEST, "dssm", "records are requests"),
    ],
)
def test_what_it_cannot_train_is_refused(inputs: Any, name: str, message: str) -> None:
    options = {"item_feature": "item"} if name == "int_tower" else {}
    model = build_model(name, inputs, SIZES, embedding_dim=2, hidden_units=(3,), **options)
    with pytest.raises(ValueError, match=message):
        RetrievalRecipe().check([model])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; expected more than 0"),
        ({"id_dropout": 1.0}, "id_dropout is 1.0; expected a share"),
        ({"half_life_days": -1.0}, "half_life_days is -1.0; expected 0 or more"),
        ({"softmax_weight": 0.0}, "log_loss_weight and softmax_weight are 0; expected a loss"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetrievalRecipe(**options)
