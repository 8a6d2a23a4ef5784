"""Ratings as they were collected: models learn from items that users chose, and are judged on items drawn at random."""

import os
from collections.abc import Iterator

import numpy as np

from transforms.batches import Batch, Values, rows_of
from transforms.errors import InputError
from transforms.features import CANDIDATE, EXPOSED, LABEL, MISSING_STRING, Split
from transforms.portable_math import sigmoid
from transforms.sources.ratings_matrix.ratings import Ratings, read_ratings
from transforms.sources.ratings_matrix.schema import RatingsMatrixOptions

EVAL_SHARE = 0.1
_ABSENT = -1


def check(input_dir: str | os.PathLike[str], options: RatingsMatrixOptions) -> None:
    """Reads the ratings, and looks whether the candidates of a request hold all that a user has rated.

    Raises:
      InputError: what is wrong.
    """
    ratings, size = read_ratings(input_dir, options.format, with_random=True), options.resolved().candidates
    most = max(int((~np.isnan(values)).sum(axis=1).max()) for values in (ratings.values, ratings.at_random))
    if most > size:
        received = f"candidates {size}, and a user with {most} ratings"
        raise InputError(f"{os.fspath(input_dir)}, option candidates", received, f"{most} or more", "raise it")


class Read:
    """Reads a folder; a user's ratings of a split are one request, and each is a row."""

    def __init__(self, options: RatingsMatrixOptions):
        self._options = options

    def __call__(self, input_dir: str) -> Iterator[tuple[str, Batch]]:
        """Gives the batches of the splits."""
        ratings = read_ratings(input_dir, self._options.format, with_random=True)
        for split, values, candidates in splits_of(ratings, self._options):
            requests = _requests(ratings, self._options, split, values, candidates)
            if "request" in self._options.records:
                yield split, requests
            if "row" in self._options.records:
                yield split, rows_of(requests)


def splits_of(ratings: Ratings, options: RatingsMatrixOptions) -> Iterator[tuple[Split, np.ndarray, np.ndarray]]:
    """Gives each split with its ratings and its candidates, `[users, items]`: NaN and False for none.

    A tenth of the self-selected ratings, drawn at random, is `eval`. Candidates of `train` are what a user rated in
    it, and others that were not rated, up to `candidates`; those of `eval` and `test` are the rated ones.
    """
    rng = np.random.default_rng([options.seed, 2])
    is_rated = ~np.isnan(ratings.values)
    is_eval = is_rated & (rng.random(is_rated.shape) < EVAL_SHARE)
    # Everyone has something to learn from.
    is_eval &= (is_rated & ~is_eval).any(axis=1, keepdims=True)
    train = np.where(is_eval, np.nan, ratings.values)
    order = np.where(np.isnan(train), rng.random(train.shape), -1.0)
    # A held-out coat is no candidate: that it stands there unexposed would tell that it is not chosen.
    order[is_eval] = np.inf
    place = np.argsort(np.argsort(order, axis=1, kind="stable"), axis=1, kind="stable")
    yield "train", train, (place < options.resolved().candidates) & np.isfinite(order)
    yield "eval", np.where(is_eval, ratings.values, np.nan), is_eval
    yield "test", ratings.at_random, ~np.isnan(ratings.at_random)


def labels_of(values: np.ndarray, split: Split, options: RatingsMatrixOptions) -> np.ndarray:
    """Returns the labels of ratings, 0 where there is none; those of `train` are graded, unless `thresholded`."""
    policy, known = options.resolved(), ~np.isnan(values)
    labels = np.zeros(values.shape, np.float32)
    if split == "train" and options.preference == "sampled":
        labels[known] = sigmoid((values[known] - policy.threshold) / policy.softness)
    else:
        labels[known] = values[known] >= policy.threshold
    return labels


def _requests(
    ratings: Ratings, options: RatingsMatrixOptions, split: Split, values: np.ndarray, candidates: np.ndarray
) -> Batch:
    users = np.flatnonzero(candidates.any(axis=1))
    size = options.resolved().candidates
    # The items of each user in their order, then the absent ones.
    order = np.argsort(~candidates[users], axis=1, kind="stable")[:, :size]
    real = np.take_along_axis(candidates[users], order, axis=1)
    item = np.full((len(users), size), _ABSENT)
    item[:, : order.shape[1]] = np.where(real, order, _ABSENT)
    real = item != _ABSENT

    def of_cells(cells: np.ndarray) -> np.ndarray:
        return np.where(real, cells[users[:, np.newaxis], item], cells.dtype.type(0))

    columns: dict[str, Values] = {
        "request_id": np.char.add(f"{split}-".encode(), ratings.users[users]),
        "user_id": ratings.users[users],
        "timestamp": np.zeros(len(users), np.int64),
        "item_id": np.append(ratings.items, MISSING_STRING)[item],
        LABEL: of_cells(labels_of(values, split, options)),
        CANDIDATE: real.astype(np.int64),
        EXPOSED: of_cells((~np.isnan(values)).astype(np.int64)),
    }
    columns |= {name: of_users[users] for name, of_users in ratings.user_fields.items()}
    columns |= {name: np.append(of_items, MISSING_STRING)[item] for name, of_items in ratings.item_fields.items()}
    columns |= {name: of_cells(cells) for name, cells in ratings.cells.items()}
    return Batch("request", split, columns)
