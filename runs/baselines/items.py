"""Baselines of retrieval on arrays: popularity, item-kNN, EASE and ALS, and the ranks of clicked items."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy import linalg, sparse

MAX_PAIRS = 100_000_000
"""Pairs of items of the same user, at most, from which similarities are computed; of more users some are left out."""


def popularity(items: np.ndarray, count: int) -> np.ndarray:
    """Returns the number of clicks of each of `count` items, `[N]`; places below 0 are none of them."""
    return np.bincount(items[items >= 0], minlength=count).astype(np.float64)


def recent_popularity(items: np.ndarray, times: np.ndarray, window: float, count: int) -> np.ndarray:
    """Returns the number of clicks of each item in the last `window` seconds, equal ones in the order of all clicks.

    Args:
      items, times: of clicks, `[n]`.
      window: back from the last click.
      count: N.
    """
    last = times.max(initial=0)
    everything = popularity(items, count)
    return popularity(items[times > last - window], count) + everything / (everything.max(initial=0.0) + 1.0)


def interactions(users: np.ndarray, items: np.ndarray, count: int) -> sparse.csr_matrix:
    """Returns 1 for each item that a user clicked, `[users, N]`; users are numbered from 0, -1 is left out."""
    known = (users >= 0) & (items >= 0)
    shape = (int(users.max(initial=-1)) + 1, count)
    matrix = sparse.csr_matrix((np.ones(known.sum(), np.float32), (users[known], items[known])), shape)
    matrix.data[:] = 1.0
    pairs = float((np.diff(matrix.indptr).astype(np.float64) ** 2).sum())
    return matrix[:: max(1, int(np.ceil(pairs / MAX_PAIRS)))]


def co_clicks(clicked: sparse.csr_matrix) -> np.ndarray:
    """Returns for each two items how many users clicked both, on the diagonal how many clicked the one, `[N, N]`."""
    return np.asarray((clicked.T @ clicked).toarray(), np.float32)


def cosine_neighbors(pairs: np.ndarray) -> np.ndarray:
    """Returns the cosine of each two items' users, 0 on the diagonal, `[N, N]`.

    Args:
      pairs: of `co_clicks`.
    """
    norms = np.sqrt(np.maximum(np.diagonal(pairs), 1e-9))
    similarity = pairs / norms[:, np.newaxis] / norms
    np.fill_diagonal(similarity, 0.0)
    return np.asarray(similarity)


def ease(pairs: np.ndarray, penalty: float) -> np.ndarray:
    """Returns the item-to-item weights B of EASE, `[N, N]`: P = (X'X + penalty I)^-1; B_ij = -P_ij / P_jj, B_jj = 0.

    Reference: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019).

    Args:
      pairs: X'X, of `co_clicks`.
      penalty: of the squared weights.
    """
    regularized = pairs.copy()
    regularized[np.diag_indices_from(regularized)] += penalty
    factor, _ = linalg.lapack.spotrf(regularized, lower=1, overwrite_a=1)
    inverse, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    lower = np.tril(inverse, -1)
    symmetric = lower + lower.T + np.diag(np.diagonal(inverse))
    weights = -symmetric / np.diagonal(symmetric)
    np.fill_diagonal(weights, 0.0)
    return np.asarray(weights)


class FactorizedClicks:
    """ALS on implicit feedback, by the library `implicit`; users are folded in by what they clicked.

    Args:
      clicked: of `interactions`.
    """

    def __init__(self, clicked: sparse.csr_matrix):
        library: Any = import_module("implicit.als")
        self._model = library.AlternatingLeastSquares(factors=64, iterations=15, regularization=0.05, random_state=1)
        self._model.fit(clicked, show_progress=False)

    @staticmethod
    def is_installed() -> bool:
        """Returns True if the library is there."""
        return find_spec("implicit") is not None

    def __call__(self, histories: sparse.csr_matrix) -> np.ndarray:
        """Returns the score of each item for each history, `[B, N]`."""
        users = self._model.recalculate_user(np.arange(histories.shape[0]), histories.astype(np.float32))
        return np.asarray(users @ self._model.item_factors.T)


def ranks(scores: np.ndarray, clicked: np.ndarray, excluded: np.ndarray | None = None) -> np.ndarray:
    """Returns the rank of each clicked item, from 1; what has the same score counts as better.

    Args:
      scores: of all items for each click, `[B, N]`, or `[N]` where every click has the same.
      clicked: places of the clicked items, `[B]`; -1: not among them, and never found: N + 1.
      excluded: places of items that are not retrieved, unless clicked, padded with -1, `[B, E]`.
    """
    rows, place = np.arange(len(clicked)), np.maximum(clicked, 0)
    is_same, scores = scores.ndim == 1, np.broadcast_to(scores, (len(clicked), scores.shape[-1]))
    clicked_score = scores[rows, place][:, np.newaxis]
    if is_same and len(clicked):
        # Comparing B x N scores would take most of the time in a large catalogue.
        before = scores.shape[1] - np.searchsorted(np.sort(scores[0]), clicked_score[:, 0])
    else:
        before = (scores >= clicked_score).sum(axis=1)
    if excluded is not None and excluded.shape[1]:
        places = np.maximum(excluded, 0)
        is_before = scores[rows[:, np.newaxis], places] >= clicked_score
        counted = (excluded >= 0) & (excluded != clicked[:, np.newaxis]) & is_before
        before = before - counted.sum(axis=1)
    return np.where(clicked >= 0, before, scores.shape[1] + 1)


def best_places(scores: np.ndarray, count: int, excluded: np.ndarray | None = None) -> np.ndarray:
    """Returns the places of the `count` best items of each row, best first, `[B, count]`; -1 where fewer are left.

    Args:
      scores: of all items, `[B, N]`; minus infinity for what is never retrieved.
      count: at most N.
      excluded: as in `ranks`.
    """
    scores = np.array(scores, np.float64)
    if excluded is not None:
        rows, columns = np.nonzero(excluded >= 0)
        scores[rows, excluded[rows, columns]] = -np.inf
    places = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(scores, places, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    places, values = (np.take_along_axis(one, order, axis=1) for one in (places, values))
    return np.where(values > -np.inf, places, -1).astype(np.int32)


def histories_of(lists: Sequence[np.ndarray], count: int) -> sparse.csr_matrix:
    """Returns 1 for each item in each history, `[B, N]`; places below 0 are left out."""
    kept = [np.unique(one[one >= 0]) for one in lists]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in kept])]).astype(np.int64)
    places = np.concatenate([np.empty(0, np.int64), *kept])
    return sparse.csr_matrix((np.ones(len(places), np.float32), places, starts), (len(kept), count))
