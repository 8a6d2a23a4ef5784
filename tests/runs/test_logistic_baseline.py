"""The logistic regression among the baselines, beside scikit-learn's on hand-made columns."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression as Reference

from runs.baselines.design import Design, examples_of, joined
from runs.baselines.logistic import fit, fit_best
from transforms.features import Column, Encoding, Feature, FeatureSet

_FEATURES = FeatureSet(
    columns=(
        Column(name="city", dtype="string", entity="user"),
        Column(name="price", dtype="float", entity="item"),
        Column(name="seen", dtype="string", entity="user", variable_length=True),
    ),
    features=(
        Feature(name="city", encoding=Encoding.ID),
        Feature(name="price", encoding=Encoding.ZSCORE),
        Feature(name="seen", encoding=Encoding.ID),
    ),
)
_CITY = np.array([1, 2, 1, 0, 2, 1])
_PRICE = np.array([0.5, -1.0, 2.0, 0.0, 1.0, 3.5])
_SEEN = np.array([[1, 2, 0], [3, 0, 0], [0, 0, 0], [2, 2, 1], [1, 0, 0], [3, 1, 0]])
_LABEL = np.array([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
_INPUTS = _FEATURES.model_inputs("row")


def _examples(rows: slice):
    features = {"city": _CITY[rows], "price": _PRICE[rows], "seen": _SEEN[rows]}
    label = _LABEL[rows]
    return examples_of(_INPUTS, "row", features, label, np.ones(len(label)), np.ones(len(label), bool))


def _columns_by_hand() -> np.ndarray:
    city = np.eye(3)[_CITY]
    price = ((_PRICE - _PRICE.mean()) / _PRICE.std())[:, None]
    seen = np.array([[0.5, 0.5, 0], [0, 0, 1], [0, 0, 0], [1 / 3, 2 / 3, 0], [1, 0, 0], [0.5, 0, 0.5]])
    return np.hstack([city, price, seen])


def test_it_is_scikit_learns_on_one_hot_ids_standardized_numbers_and_averaged_lists() -> None:
    train = joined([_examples(slice(0, 2)), _examples(slice(2, 6))])
    rows = Design(train).matrix(train)
    for c in (0.1, 1.0, 30.0):
        mine = fit(rows, train.label, train.weight, c).predict(rows)
        reference = Reference(C=c, tol=1e-8, max_iter=5000).fit(_columns_by_hand(), _LABEL)
        np.testing.assert_allclose(mine, reference.predict_proba(_columns_by_hand())[:, 1], atol=1e-4)


def test_an_id_that_train_did_not_have_counts_nothing() -> None:
    train = _examples(slice(0, 6))
    design = Design(train)
    model = fit(design.matrix(train), train.label, train.weight, 1.0)
    features = {"city": np.array([9, 9]), "price": np.full(2, _PRICE.mean()), "seen": np.array([[8, 0], [0, 0]])}
    new = examples_of(_INPUTS, "row", features, np.zeros(2), np.ones(2), np.ones(2, bool))
    assert model.predict(design.matrix(new)) == pytest.approx(1 / (1 + np.exp(-model.intercept)))


def test_weights_count_as_repeated_rows_and_a_constant_number_as_nothing() -> None:
    random = np.random.default_rng(0)
    dense, label = random.normal(size=(40, 3)), random.integers(0, 2, 40).astype(float)
    times = random.integers(0, 4, 40)
    weighted = fit(sparse.csr_matrix(dense), label, times.astype(float), 0.3)
    again = np.repeat(np.arange(40), times)
    repeated = fit(sparse.csr_matrix(dense[again]), label[again], np.ones(len(again)), 0.3)
    np.testing.assert_allclose(weighted.weights, repeated.weights, atol=1e-3)
    train = _examples(slice(0, 6))
    constant = type(train)(train.ids, np.full((6, 1), 7.1), train.lists, train.label, train.weight)
    assert not Design(constant).matrix(constant)[:, 4].toarray().any()


def test_the_strength_with_the_lowest_held_out_loss_is_chosen() -> None:
    random = np.random.default_rng(1)
    rows = sparse.csr_matrix(random.normal(size=(60, 30)))
    noise, ones = random.integers(0, 2, 60).astype(float), np.ones(60)
    # Held-out labels know nothing of the rows: the strongest regularization is the best.
    assert fit_best(rows, noise, ones, (rows, 1 - noise, ones)).c == 0.003
    assert fit_best(rows, noise, ones, (rows, noise, ones)).c == 1.0


def test_candidates_have_the_features_of_their_request() -> None:
    features = FeatureSet(
        columns=(Column(name="price", dtype="float", entity="item"), Column(name="age", dtype="float", entity="user")),
        features=(Feature(name="price", encoding=Encoding.ZSCORE), Feature(name="age", encoding=Encoding.ZSCORE)),
        list_size=2,
    )
    values = {"price": np.array([[1.0, 2.0], [3.0, 0.0]]), "age": np.array([10.0, 20.0])}
    chosen, label = np.array([[True, True], [True, False]]), np.array([[1.0, 0.0], [0.0, 0.0]])
    examples = examples_of(features.model_inputs("request"), "request", values, label, np.ones((2, 2)), chosen)
    np.testing.assert_array_equal(examples.numbers, [[1, 10], [2, 10], [3, 20]])
    np.testing.assert_array_equal(examples.label, [1, 0, 0])
