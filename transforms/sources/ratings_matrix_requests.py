"""Simulated requests on a ratings matrix: who is asked when about what, what is shown, what is clicked."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from transforms.batches import Ragged
from transforms.errors import InputError
from transforms.portable_math import sigmoid, total
from transforms.portable_random import gumbel
from transforms.sources.ratings_matrix_files import Ratings
from transforms.sources.ratings_matrix_options import Policy, RatingsMatrixOptions

ABSENT = -1
CANDIDATE_STAGE, RANKED_STAGE, EXPOSED_STAGE = 1, 2, 3
"""Values of `stage`, as the simulator's; 0 is padding."""
START, ROUND_SECONDS = 1_700_000_000, 86_400
"""Each user makes one request a day; the days are simulated."""


@dataclass(frozen=True)
class Round:
    """One request of each user, in order of time; M candidates, padded with `ABSENT`, in random order.

    Args:
      user: int64 [U], index.
      timestamp: int64 [U].
      item: int64 [U, M], index.
      score: float32 [U, M], of the policy; 0 for padding.
      stage, position: int64 [U, M].
      label: float32 [U, M], 1 = shown and clicked.
      impressions, clicks: int64 [I], of all users in earlier rounds.
      history: item indices clicked in earlier rounds, the latest last.
    """

    user: np.ndarray
    timestamp: np.ndarray
    item: np.ndarray
    score: np.ndarray
    stage: np.ndarray
    position: np.ndarray
    label: np.ndarray
    impressions: np.ndarray
    clicks: np.ndarray
    history: Ragged


def check_enough(ratings: Ratings, policy: Policy, where: str) -> None:
    """Looks whether every request of every user can show its items.

    Raises:
      InputError: a user has rated too few.
    """
    known = (~np.isnan(ratings.values)).sum(axis=1)
    needed = policy.requests_per_user * policy.exposed_items
    if known.min() < needed:
        user = int(known.argmin())
        received = f"{known[user]} rated items of user {ratings.users[user].decode()}"
        expected = f"requests_per_user x exposed_items = {needed} or more: an item is shown once to a user"
        raise InputError(where, received, expected, "lower requests_per_user or exposed_items")


def yes_probability(ratings: Ratings, options: RatingsMatrixOptions) -> np.ndarray:
    """Probability that a user says yes to an item, from the rating; float32 [U, I], NaN where there is none."""
    policy, values = options.resolved(), ratings.values
    if options.preference == "thresholded":
        yes = np.where(np.isnan(values), np.nan, values >= policy.threshold)
    else:
        known = ~np.isnan(values)
        yes = np.full(values.shape, np.nan)
        yes[known] = sigmoid((values[known] - policy.threshold) / policy.softness)
    probability: np.ndarray = ((1 - options.label_noise) * yes + options.label_noise / 2).astype(np.float32)
    return probability


def preferences(ratings: Ratings, options: RatingsMatrixOptions) -> np.ndarray:
    """What the policy prefers, before its noise: float64 [U, I], NaN where there is no rating."""
    share = options.popularity_share
    relevance = _standardised(ratings.values)
    # An item that nobody has rated is nowhere a candidate.
    rated = ~np.isnan(ratings.values).all(axis=0)
    popularity = np.full(ratings.values.shape[1], np.nan)
    popularity[rated] = _standardised(_known_mean(ratings.values[:, rated], axis=0))[0]
    return options.bias_strength * ((1 - share) * relevance + share * popularity)


def rounds(ratings: Ratings, options: RatingsMatrixOptions) -> Iterator[Round]:
    """All requests, one round of the users after the other; equal seeds give equal requests."""
    policy = options.resolved()
    preferred, probability = preferences(ratings, options), yes_probability(ratings, options)
    users, items = ratings.values.shape
    answer = np.random.default_rng([options.seed, 0]).random((users, items)) < probability
    free = ~np.isnan(ratings.values)
    # When an item was clicked: larger is later; 0 is not at all.
    clicked_at = np.zeros((users, items), np.int64)
    impressions, clicks = np.zeros(items, np.int64), np.zeros(items, np.int64)
    for number in range(policy.requests_per_user):
        rng = np.random.default_rng([options.seed, 1, number])
        user = rng.permutation(users)
        item = _candidates(free[user], policy.candidates, rng)
        score = np.take_along_axis(preferred[user], item, axis=1) + gumbel(rng, item.shape)
        score = np.where(item == ABSENT, -np.inf, score)
        place = np.argsort(np.argsort(-score, axis=1, kind="stable"), axis=1, kind="stable")
        real = item != ABSENT
        shown = real & (place < policy.exposed_items)
        label = shown & np.take_along_axis(answer[user], item, axis=1)
        yield Round(
            user=user,
            timestamp=START + number * ROUND_SECONDS + np.arange(users) * ROUND_SECONDS // users,
            item=item,
            score=np.where(real, score, 0.0).astype(np.float32),
            stage=real.astype(np.int64) + (real & (place < policy.ranked_items)) + shown,
            position=np.where(shown, place + 1, 0),
            label=label.astype(np.float32),
            impressions=impressions.copy(),
            clicks=clicks.copy(),
            history=_histories(clicked_at[user], options.history_length),
        )
        owner = np.broadcast_to(user[:, None], item.shape)
        free[owner[shown], item[shown]] = False
        clicked_at[owner[label], item[label]] = number * policy.exposed_items + place[label] + 1
        impressions += np.bincount(item[shown], minlength=items)
        clicks += np.bincount(item[label], minlength=items)


def _candidates(free: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Random items of each user's free ones, in random order, then `ABSENT`; int64 [U, size]."""
    keys = np.where(free, rng.random(free.shape), 2.0)
    item = np.full((len(free), size), ABSENT, np.int64)
    width = min(size, free.shape[1])
    order = np.argsort(keys, axis=1, kind="stable")[:, :width]
    item[:, :width] = np.where(np.take_along_axis(free, order, axis=1), order, ABSENT)
    return item


def _histories(clicked_at: np.ndarray, length: int) -> Ragged:
    owner, item = np.nonzero(clicked_at)
    order = np.lexsort((clicked_at[owner, item], owner))
    owner, item = owner[order], item[order]
    ends = np.searchsorted(owner, np.arange(len(clicked_at)), "right")
    recent = ends[owner] - np.arange(len(owner)) <= length
    return Ragged(item[recent], np.searchsorted(owner[recent], np.arange(len(clicked_at) + 1)))


def _known_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean along an axis of length 1 in the result, NaN left out."""
    known = ~np.isnan(values)
    summed = np.expand_dims(total(np.where(known, values, 0.0), axis), axis)
    mean: np.ndarray = summed / known.sum(axis=axis, keepdims=True)
    return mean


def _standardised(values: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 of each row, NaN left out; all 0 where all are equal."""
    centred = values - _known_mean(values, axis=1)
    spread = np.sqrt(_known_mean(centred * centred, axis=1))
    standardised: np.ndarray = centred / np.where(spread > 0, spread, 1.0)
    return standardised
