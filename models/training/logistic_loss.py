"""The objective of an L2-regularized logistic regression on sparse rows."""

from collections.abc import Callable

import numpy as np
from scipy import sparse, special


def log_loss_sum(
    rows: sparse.csr_matrix, label: np.ndarray, weight: np.ndarray, parameters: np.ndarray
) -> tuple[float, np.ndarray]:
    """Returns the sum of the log losses, and the logits.

      sum_i s_i [ln(1 + exp(z_i)) - y_i z_i],  z = x w + b

    Args:
      rows: x, `[n, D]`.
      label: y in [0, 1], `[n]`.
      weight: s, `[n]`.
      parameters: w, and b as the last one, `[D + 1]`.
    """
    logits = rows @ parameters[:-1] + parameters[-1]
    return float(weight @ (np.logaddexp(0.0, logits) - label * logits)), logits


def penalized_log_loss(
    rows: sparse.csr_matrix, label: np.ndarray, weight: np.ndarray, c: float
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Returns a function that gives log_loss_sum + |w|^2 / 2C and its gradient, as `scipy.optimize.minimize` takes it.

    Args:
      rows, label, weight: as in `log_loss_sum`.
      c: C, as scikit-learn has it. The intercept b is not penalized.
    """
    transposed = rows.T.tocsr()

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights = parameters[:-1]
        loss, logits = log_loss_sum(rows, label, weight, parameters)
        residual = weight * (special.expit(logits) - label)
        gradient = np.append(transposed @ residual + weights / c, residual.sum())
        return loss + float(weights @ weights) / (2 * c), gradient

    return objective
