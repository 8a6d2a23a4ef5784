"""The start of a model with linear terms: a logistic regression on the same features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

from models.layers.interleaved_embeddings import InterleavedEmbeddings
from models.ranking.field_model import DeepFieldModel
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


def start_linear_terms(model: keras.Model, train: tf.data.Dataset, evaluated: tf.data.Dataset | None) -> bool:
    """Gives a model the linear weights and the bias of a logistic regression, so that it begins where that one ends.

    With z the sum of the linear terms and the bias, y the labels and s the sample weights, these minimize

      sum_i s_i [ln(1 + exp(z_i)) - y_i z_i] + |w|^2 / 2C

    by L-BFGS, with numbers divided by their root mean square. C is chosen from `STRENGTHS`, from the smallest on until
    the log loss rises on the eval rows and, in cross-validation, on the training rows: the eval rows of a small log
    are too few to decide.

    Args:
      model: built, with its bias at the share of clicks.
      train: batches of rows (features, label[, weight]).
      evaluated: further ones; None: cross-validation alone.

    Returns:
      True if the model now begins as a logistic regression: it has linear terms, reads rows, and the logistic
      regression has a lower log loss than the bias alone. Otherwise the model is as it was.
    """
    if not _has_linear_terms(model):
        return False
    embeddings: InterleavedEmbeddings = model.embeddings
    rows = _read(embeddings, train)
    if rows is None:
        return False
    places = np.unique(rows.matrix.indices)
    held_out = None if evaluated is None else _read(embeddings, evaluated)
    scale = _scale(rows.matrix, embeddings.num_rows)[places]
    fitted = _best(
        rows.scaled(places, scale),
        None if held_out is None else held_out.scaled(places, scale),
        float(np.mean(model.output_bias.numpy())),
    )
    if fitted is None:
        return False
    weights = np.zeros(rows.matrix.shape[1], np.float32)
    weights[places] = fitted[:-1] / scale
    if embeddings.table is not None:
        embeddings.table[:, -1].assign(weights[: embeddings.num_rows])
    if embeddings.number_vectors is not None:
        embeddings.number_vectors[:, -1].assign(weights[embeddings.num_rows :])
    model.output_bias.assign(tf.fill(model.output_bias.shape, np.float32(fitted[-1])))
    return True


def _has_linear_terms(model: keras.Model) -> bool:
    """Returns True if the logit has linear terms, of rows, whose weights are in this process."""
    return (
        isinstance(model, DeepFieldModel)
        and model.uses_linear
        and model.outputs == 1
        and model.output_bias is not None
        and isinstance(model.embeddings.table, tf.Variable | None)
        and not any(item.shape.per_candidate for item in model.embeddings.inputs)
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
    """Returns all rows of a dataset; None if there are none, or with numbers that are not finite.

    The columns are the rows of the table, then those of the numbers' vectors.
    """
    labels, weights, entries, count = [], [], [], 0
    for batch in dataset:
        features, label, weight = keras.utils.unpack_x_y_sample_weight(batch)
        labels.append(np.asarray(label, np.float64))
        weights.append(np.ones(len(label)) if weight is None else np.asarray(weight, np.float64))
        for item in embeddings.inputs:
            rows, places, values = _entries(embeddings, item, features[item.name])
            entries.append((rows + count, places, values))
        count += len(labels[-1])
    if not count:
        return None
    rows, places, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    shape = (count, embeddings.num_rows + embeddings.num_numbers)
    result = _Rows(
        sparse.csr_matrix((values, (rows, places)), shape=shape), np.concatenate(labels), np.concatenate(weights)
    )
    is_finite = all(np.isfinite(part).all() for part in (values, result.label, result.weight))
    return result if is_finite and result.weight.sum() > 0 else None


def _entries(
    embeddings: InterleavedEmbeddings, item: ModelInput, value: Any
) -> tuple[Integers, Integers, NDArray[Any]]:
    """Returns the entries that a feature of a batch has in the matrix: rows, columns and values."""
    if isinstance(value, tf.RaggedTensor):
        rows, values = value.value_rowids().numpy(), value.flat_values.numpy()
        position = np.zeros(len(rows), np.int64)
    else:
        values = np.asarray(value)
        width = 1 if values.ndim == 1 else values.shape[1]
        rows, position = np.divmod(np.arange(values.size), width)
        values = values.ravel()
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
