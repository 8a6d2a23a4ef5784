"""The start of a model with linear terms: a logistic regression on the same features."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

from models.layers.interleaved_embeddings import InterleavedEmbeddings
from models.layers.padded_lists import last_elements
from models.table_model import TableModel
from models.training.logistic_loss import log_loss_sum, penalized_log_loss
from transforms.features import ModelInput

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""C of the logistic regressions that are tried, as scikit-learn has it: the penalty of the weights is |w|^2 / 2C."""
FOLDS = 3
_MANY_ROWS = 30_000
"""With more rows one of the folds is enough to choose the strength."""
_ITERATIONS, _TOLERANCE = 100, 1e-7

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_Entries = tuple[Integers, Integers, NDArray[Any]]
"""Rows, columns and values of entries of a sparse matrix."""


class LinearStart:
    """Gives models the linear weights and the bias of a logistic regression, so that they begin where that one ends.

    With z the sum of the linear terms and the bias, y the labels and s the sample weights, these minimize

      sum_i s_i [ln(1 + exp(z_i)) - y_i z_i] + |w|^2 / 2C

    by L-BFGS, with numbers divided by their root mean square. C is chosen from `STRENGTHS`, from the smallest on until
    the log loss rises on the eval rows and, in cross-validation, on the training rows: the eval rows of a small log
    are too few to decide. Of requests, each candidate that was shown is a row.

    Called again, as for each of several peers, it fits nothing anew.

    Args:
      train: returns batches (features, label[, weight]).
      evaluated: further ones; None: cross-validation alone.
    """

    def __init__(self, train: Callable[[], tf.data.Dataset], evaluated: tf.data.Dataset | None = None):
        self._train, self._evaluated = train, evaluated
        self._fitted: dict[tuple[ModelInput, ...], tuple[Floats, float] | None] = {}

    def __call__(self, model: keras.Model) -> bool:
        """Starts a model, or all peers of a group.

        Args:
          model: built, with its bias at the share of clicks.

        Returns:
          True if it now begins as a logistic regression: it has linear terms, and the logistic regression has a lower
          log loss than the bias alone. Otherwise the model is as it was.
        """
        models = list(getattr(model, "peers", [model]))
        if not all(map(_has_linear_terms, models)):
            return False
        embeddings: InterleavedEmbeddings = model.embeddings
        if embeddings.inputs not in self._fitted:
            self._fitted[embeddings.inputs] = self._fit(embeddings, float(np.mean(models[0].output_bias.numpy())))
        fitted = self._fitted[embeddings.inputs]
        if fitted is None:
            return False
        weights, bias = fitted
        for part in range(len(models)):
            column = embeddings.columns(part)[-1]
            if embeddings.table is not None:
                embeddings.table[:, column].assign(weights[: embeddings.num_rows].astype(np.float32))
            if embeddings.number_vectors is not None:
                embeddings.number_vectors[:, column].assign(weights[embeddings.num_rows :].astype(np.float32))
        for one in models:
            one.output_bias.assign(tf.fill(one.output_bias.shape, np.float32(bias)))
        return True

    def _fit(self, embeddings: InterleavedEmbeddings, bias: float) -> tuple[Floats, float] | None:
        """Returns a weight for each row of the table and each number, and the bias; None if no fit is better."""
        rows = _read(embeddings, self._train())
        if rows is None:
            return None
        places = np.unique(rows.matrix.indices)
        held_out = None if self._evaluated is None else _read(embeddings, self._evaluated)
        scale = _scale(rows.matrix, embeddings.num_rows)[places]
        held_out = None if held_out is None else held_out.scaled(places, scale)
        fitted = _best(rows.scaled(places, scale), held_out, bias)
        if fitted is None:
            return None
        weights = np.zeros(rows.matrix.shape[1])
        weights[places] = fitted[:-1] / scale
        return weights, float(fitted[-1])


def _has_linear_terms(model: keras.Model) -> bool:
    """Returns True if the model's only logit has linear terms whose weights are in this process."""
    return (
        isinstance(model, TableModel)
        and model.uses_linear
        and model.outputs == 1
        and model.output_bias is not None
        and isinstance(model.embeddings.table, tf.Variable | None)
    )


@dataclass(frozen=True)
class _Rows:
    """Rows of a logistic regression.

    Args:
      matrix: [rows, columns], what each linear weight is multiplied by.
      label, weight: [rows].
    """

    matrix: Any
    label: Floats
    weight: Floats

    def scaled(self, places: Integers, scale: Floats) -> "_Rows":
        """Returns the columns at these places, divided by their scale."""
        return _Rows(self.matrix[:, places] @ sparse.diags(1.0 / scale), self.label, self.weight)

    def part(self, chosen: NDArray[np.bool_]) -> "_Rows":
        return _Rows(self.matrix[chosen], self.label[chosen], self.weight[chosen])

    def loss(self, fitted: Floats) -> float:
        """Returns the sum of the log losses with weights and bias."""
        return log_loss_sum(self.matrix, self.label, self.weight, fitted)[0]

    def fit(self, start: Floats, strength: float) -> Floats:
        """Returns weights and bias with the least sum of log loss and penalty."""
        objective = penalized_log_loss(self.matrix, self.label, self.weight, strength)
        solve: Callable[..., Any] = minimize
        options = {"maxiter": _ITERATIONS, "ftol": _TOLERANCE}
        return np.asarray(solve(objective, start, jac=True, method="L-BFGS-B", options=options).x)


def _best(rows: _Rows, held_out: _Rows | None, bias: float) -> Floats | None:
    """Returns weights and bias at the best strength; None if none is better than the bias alone."""
    fold_of = np.arange(len(rows.label)) % FOLDS
    used = range(FOLDS if len(rows.label) <= _MANY_ROWS else 1)
    folds = [(rows.part(fold_of != fold), rows.part(fold_of == fold)) for fold in used]

    def loss_of(fits: list[Floats]) -> float:
        tests = [test.loss(fitted) for (_, test), fitted in zip(folds, fits, strict=True)]
        return sum(tests) + (0.0 if held_out is None else sum(map(held_out.loss, fits)) / len(fits))

    start = np.append(np.zeros(rows.matrix.shape[1]), bias)
    fits = [start] * len(folds)
    best, strength, least = start, None, loss_of(fits)
    for tried in STRENGTHS:
        fits = [train.fit(before, tried) for (train, _), before in zip(folds, fits, strict=True)]
        loss = loss_of(fits)
        if not loss < least:
            break
        best, strength, least = fits[0], tried, loss
    return None if strength is None else rows.fit(best, strength)


def _read(embeddings: InterleavedEmbeddings, dataset: tf.data.Dataset) -> _Rows | None:
    """Returns all rows of a dataset, of requests the candidates that have a weight; None without, or if not finite.

    The columns are the rows of the table, then those of the numbers' vectors.
    """
    parts, labels, weights = [], [], []
    for batch in dataset:
        features, label, weight = keras.utils.unpack_x_y_sample_weight(batch)
        label = np.asarray(label, np.float64)
        weight = np.ones(label.shape) if weight is None else np.asarray(weight, np.float64)
        chosen = np.nonzero(weight) if label.ndim > 1 else (np.arange(len(label)),)
        shared = _shared_matrix(embeddings, features, len(label))
        is_rows = label.ndim == 1
        parts.append(shared if is_rows else shared[chosen[0]] + _candidate_matrix(embeddings, features, chosen))
        labels.append(label[chosen])
        weights.append(weight[chosen])
    if not sum(map(len, labels)):
        return None
    result = _Rows(sparse.vstack(parts, "csr"), np.concatenate(labels), np.concatenate(weights))
    is_finite = all(np.isfinite(part).all() for part in (result.matrix.data, result.label, result.weight))
    return result if is_finite and result.weight.sum() > 0 else None


def _shared_matrix(embeddings: InterleavedEmbeddings, features: Mapping[str, Any], size: int) -> Any:
    """Returns the rows of the features that have one value, or one list, a record, `[records, columns]`."""
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for item in embeddings.inputs:
        value = features[item.name]
        if item.shape.per_candidate:
            continue
        if isinstance(value, tf.RaggedTensor):
            value = last_elements(value, item.max_length)
            rows, values = value.value_rowids().numpy(), value.flat_values.numpy()
            parts.append(_entries(embeddings, item, rows, np.zeros(len(rows), np.int64), values))
        else:
            parts.append(_dense_entries(embeddings, item, np.asarray(value)))
    return _sparse(embeddings, parts, size)


def _candidate_matrix(embeddings: InterleavedEmbeddings, features: Mapping[str, Any], chosen: Any) -> Any:
    """Returns the rows of the candidates' features, `[chosen candidates, columns]`."""
    items = [item for item in embeddings.inputs if item.shape.per_candidate]
    parts = [_dense_entries(embeddings, item, np.asarray(features[item.name])[chosen]) for item in items]
    return _sparse(embeddings, parts, len(chosen[0]))


def _sparse(embeddings: InterleavedEmbeddings, parts: list[_Entries], size: int) -> Any:
    rows, places, values = (np.concatenate(one) for one in zip(*parts, strict=True))
    return sparse.csr_matrix((values, (rows, places)), (size, embeddings.num_rows + embeddings.num_numbers))


def _dense_entries(embeddings: InterleavedEmbeddings, item: ModelInput, value: NDArray[Any]) -> _Entries:
    """Returns the entries of a feature with one value or `width` values a row."""
    rows, position = np.divmod(np.arange(value.size), 1 if value.ndim == 1 else value.shape[1])
    return _entries(embeddings, item, rows, position, value.ravel())


def _entries(
    embeddings: InterleavedEmbeddings, item: ModelInput, rows: Integers, position: Integers, values: NDArray[Any]
) -> _Entries:
    """Returns the entries that values have in the matrix.

    Args:
      embeddings: have the columns.
      item: the feature.
      rows: of the values.
      position: of the values in a vector; 0 of others.
      values: ids or numbers.
    """
    if item.vocabulary is None:
        places = embeddings.num_rows + embeddings.number_rows[item.name] + position
        return rows, places, values if item.width else values / np.bincount(rows)[rows]
    real = values > 0
    rows, places = rows[real], embeddings.first_rows[item.vocabulary] + values[real].astype(np.int64)
    if item.pooling == "max":
        # A maximum is not linear in the weights; they begin at 0.
        return rows, places, np.zeros(len(rows))
    return rows, places, np.ones(len(rows)) if item.pooling == "sum" else 1.0 / np.bincount(rows)[rows]


def _scale(matrix: Any, num_rows: int) -> Floats:
    """Returns what each column is divided by in a fit: numbers, which may have any size, by their root mean square."""
    squares = np.asarray(matrix.power(2).mean(axis=0)).ravel()
    is_number = np.arange(len(squares)) >= num_rows
    return np.where(is_number & (squares > 0), np.sqrt(squares), 1.0)
