"""What is measured of logits of requests."""

from typing import Any

import numpy as np

from evaluation.metrics import evaluate_requests
from runs.evaluate import LOGGED_SCORE, TRUTH, ScoredRequests

_LEAST = 1e-6
_AGREEMENT = 0.01


def measured(logits: np.ndarray, requests: ScoredRequests) -> dict[str, float]:
    """All metrics of `evaluate_requests`, and how far predictions are from the truth where it is known.

    Args:
      logits: `[R, M]`.
      requests: that they are of.

    Returns:
      Besides the metrics, of exposed and of unexposed candidates `prediction_...`, the mean probability,
      and with the truth `truth_...`, its mean, `error_mean_...` and `error_std_...` of logit minus true logit.
    """
    candidate, exposed, true = requests.candidate, requests.exposed, requests.extra.get(TRUTH)
    found = evaluate_requests(
        np.where(candidate, _sigmoid(logits), 0.0),
        candidate,
        exposed,
        requests.label,
        true,
        requests.extra.get(LOGGED_SCORE),
        requests.user_id,
        resamples=0,
    )
    for name, part in (("exposed", candidate & exposed), ("unexposed", candidate & ~exposed)):
        if not part.any():
            continue
        found[f"prediction_{name}"] = float(_sigmoid(logits[part]).mean())
        if true is not None:
            error = logits[part] - _logit(true[part])
            found[f"truth_{name}"] = float(true[part].mean())
            found[f"error_mean_{name}"], found[f"error_std_{name}"] = float(error.mean()), float(error.std())
    return found


def of_pair(one: np.ndarray, other: np.ndarray, requests: ScoredRequests) -> dict[str, float]:
    """What two models could teach each other about unexposed candidates.

    Args:
      one, other: logits `[R, M]`.
      requests: that they are of.

    Returns:
      `agreement`, the share of probabilities that differ by less than 0.01; `disagreement`, their mean absolute
      difference; with the truth `error_correlation`, of the errors of the logits: at 1 they err alike.
    """
    part = requests.candidate & ~requests.exposed
    if not part.any():
        return {}
    difference = np.abs(_sigmoid(one[part]) - _sigmoid(other[part]))
    found: dict[str, Any] = {
        "agreement": float((difference < _AGREEMENT).mean()),
        "disagreement": float(difference.mean()),
    }
    if (known := requests.extra.get(TRUTH)) is not None:
        true = _logit(known[part])
        found["error_correlation"] = float(np.corrcoef(one[part] - true, other[part] - true)[0, 1])
    return found


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.asarray(logits, np.float64))))


def _logit(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(np.asarray(probability, np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(clipped / (1 - clipped)))
