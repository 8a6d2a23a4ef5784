"""The arrays of requests that metrics are computed from, checked."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.entire_space import LOGGING, MODEL, ORACLE

_FIXES = {
    MODEL: ("probability", "probabilities; apply a sigmoid"),
    ORACLE: ("truth", "probabilities; choose another column"),
    LOGGING: ("logging_score", "finite numbers; leave it out if the log lacks it"),
}


@dataclass(frozen=True)
class RequestArrays:
    """R requests of M candidates; `[n]` arrays hold the real candidates, request by request.

    Args:
      candidate: True = real, `[R, M]`.
      shown: real and exposed, `[R, M]`.
      probability: float64, `[R, M]`.
      clicks: the labels where shown, 0 elsewhere, `[R, M]`.
      scores: by whose scores they are (the keys of `EntireSpace`), `[n]` each.
    """

    candidate: np.ndarray
    shown: np.ndarray
    probability: np.ndarray
    clicks: np.ndarray
    scores: Mapping[str, np.ndarray]


def request_arrays(
    probability: np.ndarray,
    candidate: np.ndarray,
    exposed: np.ndarray,
    label: np.ndarray,
    truth: np.ndarray | None,
    logging_score: np.ndarray | None,
) -> RequestArrays:
    """Checks and converts the arrays; reads nothing in padding, and labels of shown candidates only.

    Raises:
      ValueError: shapes differ, or a value is outside its domain.
    """
    probability = np.asarray(probability, np.float64)
    others = {"candidate": candidate, "exposed": exposed, "label": label}
    others |= {name: a for name, a in (("truth", truth), ("logging_score", logging_score)) if a is not None}
    _check_shapes(probability.shape, others)
    real = _mask(candidate, "candidate")
    shown = _mask(exposed, "exposed") & real
    shown_label = np.asarray(label, np.float64)[shown]
    _check_values(shown_label, shown, "label of shown candidates", "click probabilities; clean the labels")
    scores = {}
    for whose, values in ((MODEL, probability), (ORACLE, truth), (LOGGING, logging_score)):
        if values is not None:
            name, fix = _FIXES[whose]
            scores[whose] = np.asarray(values, np.float64)[real]
            _check_values(scores[whose], real, f"{name} of real candidates", fix, bounded=whose != LOGGING)
    clicks = np.zeros(probability.shape)
    clicks[shown] = shown_label
    return RequestArrays(real, shown, probability, clicks, scores)


def _check_shapes(shape: tuple[int, ...], others: Mapping[str, np.ndarray]) -> None:
    if len(shape) != 2:
        raise ValueError(f"probability has shape {shape}; expected [requests, candidates]; give a row to each request")
    for name, array in others.items():
        if np.shape(array) != shape:
            raise ValueError(
                f"{name} has shape {np.shape(array)}; expected that of probability, {shape}; give one value a candidate"
            )


def _mask(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise ValueError(f"{name} has values other than 0 and 1; expected booleans, True = yes; compare it first")
    return values.astype(bool)


def _check_values(values: np.ndarray, mask: np.ndarray, what: str, expected: str, bounded: bool = True) -> None:
    """Checks the values of the places where a mask is True."""
    valid = (values >= 0) & (values <= 1) if bounded else np.isfinite(values)
    wrong = np.flatnonzero(~valid)
    if len(wrong):
        request, column = np.argwhere(mask)[wrong[0]]
        domain = "outside [0, 1]" if bounded else "not finite"
        received = f"{len(wrong)} values are NaN or {domain}, first {values[wrong[0]]}"
        raise ValueError(f"{what}: {received} in request {request}, column {column}; expected {expected}")
