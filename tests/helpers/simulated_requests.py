"""Arrays of requests in which the truth is known, for tests of metrics."""

from typing import Any

import numpy as np


def request_arrays(requests: int = 30, size: int = 12, shown: int = 4, seed: int = 0) -> dict[str, Any]:
    """Arguments of `evaluate_requests`; the last columns are padding in most requests, and scores tie now and then."""
    random = np.random.default_rng(seed)
    real = random.integers(shown, size + 1, requests)
    candidate = np.arange(size) < real[:, None]
    truth = np.where(candidate, random.beta(1.0, 3.0, candidate.shape), 0.0)
    logging_score = np.where(candidate, truth + random.normal(0.0, 0.3, candidate.shape), 0.0)
    rank = np.argsort(np.argsort(-np.where(candidate, logging_score, -np.inf), axis=1), axis=1)
    exposed = (rank < shown) & candidate
    label = (exposed & (random.random(candidate.shape) < truth)).astype(np.float32)
    probability = np.clip(np.round(truth + random.normal(0.0, 0.1, candidate.shape), 2), 0.01, 0.99)
    return {
        "probability": probability,
        "candidate": candidate,
        "exposed": exposed,
        "label": label,
        "truth": truth,
        "logging_score": logging_score,
        "user_id": np.char.mod("u%d", random.integers(0, 8, requests)).astype("S"),
    }


def soft_auc(truth: np.ndarray, score: np.ndarray) -> float:
    """One pair after the other: an item of truth p is a positive of weight p and a negative of weight 1 - p."""
    ordered = pairs = 0.0
    for p, one in zip(truth, score, strict=True):
        for q, other in zip(truth, score, strict=True):
            weight = p * (1 - q)
            pairs += weight
            ordered += weight * ((one > other) + 0.5 * (one == other))
    return ordered / pairs
