"""Logistic regression on sparse rows, fitted as scikit-learn fits it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, sparse, special

from evaluation.pointwise import logloss
from models.training.logistic_loss import penalized_log_loss

STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Each C that is tried; the log loss of the eval split decides."""
_MAX_STEPS = 100
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class LogisticRegression:
    """A fitted model.

    Args:
      weights: of the columns, `[D]`.
      intercept: not regularized.
      c: inverse strength of the regularization.
    """

    weights: np.ndarray
    intercept: float
    c: float

    def predict(self, rows: sparse.csr_matrix) -> np.ndarray:
        """Returns probabilities, `[n]`."""
        probability: np.ndarray = special.expit(rows @ self.weights + self.intercept)
        return probability


def fit(
    rows: sparse.csr_matrix,
    label: np.ndarray,
    weight: np.ndarray,
    c: float,
    start: LogisticRegression | None = None,
) -> LogisticRegression:
    """Minimizes C sum_i s_i loss(y_i, x_i w + b) + |w|^2 / 2 by L-BFGS, as `sklearn.linear_model.LogisticRegression`.

    Args:
      rows: x, `[n, D]`.
      label: y in [0, 1], `[n]`.
      weight: s, `[n]`.
      c: C.
      start: first weights; None: 0, and the mean label.
    """
    total, summed = weight.sum(), penalized_log_loss(rows, label, weight, c)

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = summed(parameters)
        return loss / total, gradient / total

    if start is None:
        rate = np.clip(weight @ label / total, 1e-6, 1 - 1e-6)
        first = np.append(np.zeros(rows.shape[1]), special.logit(rate))
    else:
        first = np.append(start.weights, start.intercept)
    options = {"maxiter": _MAX_STEPS, "gtol": _TOLERANCE, "ftol": 1e-9}
    solution = optimize.minimize(objective, first, jac=True, method="L-BFGS-B", options=options).x
    return LogisticRegression(solution[:-1], float(solution[-1]), c)


def fit_best(
    rows: sparse.csr_matrix,
    label: np.ndarray,
    weight: np.ndarray,
    held_out: tuple[sparse.csr_matrix, np.ndarray, np.ndarray],
    strengths: Sequence[float] = STRENGTHS,
) -> LogisticRegression:
    """Returns the model with the C whose log loss on held-out rows is the lowest.

    Args:
      rows, label, weight: to fit on.
      held_out: rows, labels and weights that decide.
      strengths: each C, in ascending order; the search ends at the first that is worse than the one before.
    """
    best: LogisticRegression | None = None
    lowest = np.inf
    for c in strengths:
        model = fit(rows, label, weight, c, best)
        loss = logloss(held_out[1], model.predict(held_out[0]), held_out[2])
        if best is not None and (loss is None or loss >= lowest):
            break
        best, lowest = model, np.inf if loss is None else loss
    if best is None:
        raise ValueError("no strengths to try; expected some; give at least one C")
    return best
