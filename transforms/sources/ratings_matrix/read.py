"""Simulates requests on a ratings matrix: who is asked when about what, what is shown, what is clicked."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import apache_beam as beam
import numpy as np

from transforms.batches import Batch, Ragged, Values, rows_of
from transforms.beam.import_dataset import ReadChunks
from transforms.errors import InputError
from transforms.features import CANDIDATE, EXPOSED, LABEL, MISSING_INT, MISSING_STRING, SPLITS, Split
from transforms.portable_math import sigmoid, total
from transforms.portable_random import SIMULATOR_VERSION, gumbel
from transforms.sources.base import RANDOM_EXPOSURE
from transforms.sources.ratings_matrix import collected
from transforms.sources.ratings_matrix.ratings import Ratings, read_ratings
from transforms.sources.ratings_matrix.schema import HISTORY, Policy, RatingsMatrixOptions
from transforms.splits import SPLIT_ENDS

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
    relevance = _standardized(ratings.values)
    # An item that nobody has rated is nowhere a candidate.
    rated = ~np.isnan(ratings.values).all(axis=0)
    popularity = np.full(ratings.values.shape[1], np.nan)
    popularity[rated] = _standardized(_known_mean(ratings.values[:, rated], axis=0))[0]
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


def _standardized(values: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 of each row, NaN left out; all 0 where all are equal."""
    centered = values - _known_mean(values, axis=1)
    spread = np.sqrt(_known_mean(centered * centered, axis=1))
    standardized: np.ndarray = centered / np.where(spread > 0, spread, 1.0)
    return standardized


CANDIDATES_PER_SHARD = 400_000


class RequestBuilder:
    """Records of rounds.

    Args:
      ratings: read from the folder.
      options: as of the import.
    """

    def __init__(self, ratings: Ratings, options: RatingsMatrixOptions):
        self._columns, self._options = _Columns(ratings, options), options
        self._users = len(ratings.users)

    def batches(self, number: int, asked: Round) -> Iterator[tuple[str, Batch]]:
        """Gives `(shard name, Batch)` of the requests of a round; names sort by time."""
        policy, first = self._options.resolved(), number * self._users
        ends = [max(round(self._users * policy.requests_per_user * share), 1) for share in SPLIT_ENDS]
        size = max(CANDIDATES_PER_SHARD // policy.candidates, 1)
        # A split can end within a round.
        within = (end - first for end in ends if 0 < end - first < self._users)
        borders = sorted({0, self._users, *range(0, self._users, size), *within})
        for start, stop in pairwise(borders):
            split = SPLITS[sum(first + start >= end for end in ends)]
            requests = self._columns.requests(asked, first, slice(start, stop), split)
            name = f"round-{number:05d}-{start:07d}"
            if "request" in self._options.records:
                yield name, requests
            if "row" in self._options.records:
                yield name, rows_of(requests)


class _Columns:
    """Names the members of a matrix, once; tables of items end with the marker that padding finds."""

    def __init__(self, ratings: Ratings, options: RatingsMatrixOptions):
        self._ratings = ratings
        self._item_id = np.append(ratings.items, MISSING_STRING)
        self._item_fields = {name: np.append(values, MISSING_STRING) for name, values in ratings.item_fields.items()}
        self._probability = yes_probability(ratings, options)

    def requests(self, asked: Round, first: int, part: slice, split: Split) -> Batch:
        """Requests `part` of a round; `first` requests were made before it."""
        user, item = asked.user[part], asked.item[part]
        real = item != ABSENT
        low, high = asked.history.offsets[part.start], asked.history.offsets[part.stop]
        clicked = np.asarray(asked.history.values[low:high])
        columns: dict[str, Values] = {
            "request_id": np.array([b"r%09d" % (first + index) for index in range(part.start, part.stop)]),
            "user_id": self._ratings.users[user],
            "timestamp": asked.timestamp[part],
            HISTORY: Ragged(self._item_id[clicked], asked.history.offsets[part.start : part.stop + 1] - low),
            "item_id": self._item_id[item],
            "item_impressions_so_far": np.where(real, asked.impressions[item], MISSING_INT),
            "item_clicks_so_far": np.where(real, asked.clicks[item], MISSING_INT),
            LABEL: asked.label[part],
            CANDIDATE: real.astype(np.int64),
            EXPOSED: (asked.stage[part] == EXPOSED_STAGE).astype(np.int64),
            "stage": asked.stage[part],
            "position": asked.position[part],
            "logging_score": asked.score[part],
            "true_click_probability": np.where(real, self._probability[user[:, None], item], np.float32(0.0)),
        }
        columns |= {name: values[user] for name, values in self._ratings.user_fields.items()}
        columns |= {name: values[item] for name, values in self._item_fields.items()}
        cells = self._ratings.cells.items()
        columns |= {name: np.where(real, values[user[:, None], item], np.float32(0.0)) for name, values in cells}
        return Batch("request", split, columns)


class Simulate:
    """Simulates the rounds of a folder."""

    def __init__(self, options: RatingsMatrixOptions):
        self._options = options

    def __call__(self, input_dir: str) -> Iterator[tuple[int, Round]]:
        """Gives the rounds with their numbers, 0 first."""
        ratings = read_ratings(input_dir, self._options.format)
        check_enough(ratings, self._options.resolved(), input_dir)
        yield from enumerate(rounds(ratings, self._options))


class Build:
    """Builds the records of rounds; each worker reads the folder once."""

    def __init__(self, input_dir: str, options: RatingsMatrixOptions):
        self._input_dir, self._options = input_dir, options
        self._builder: RequestBuilder | None = None

    def __call__(self, numbered: tuple[int, Round | InputError]) -> Iterator[tuple[str, Batch]]:
        """Gives the batches of a round."""
        number, asked = numbered
        if isinstance(asked, InputError):
            raise asked
        if self._builder is None:
            self._builder = RequestBuilder(read_ratings(self._input_dir, self._options.format), self._options)
        yield from self._builder.batches(number, asked)


def check(input_dir: str | os.PathLike[str], options: RatingsMatrixOptions) -> None:
    """Reads the ratings, and looks whether enough users have rated enough items.

    Raises:
      InputError: what is wrong.
    """
    if options.exposure == "real":
        collected.check(input_dir, options)
    else:
        check_enough(read_ratings(input_dir, options.format), options.resolved(), str(input_dir))


def read(input_dir: str | os.PathLike[str], options: RatingsMatrixOptions) -> beam.PTransform:
    """Returns the Beam transform that reads a folder."""
    folder = os.fspath(input_dir)
    if options.exposure == "real":
        return beam.Create([folder]) | "Read" >> beam.ParDo(ReadChunks(collected.Read(options)))
    # Counters know all users' earlier clicks, so the rounds follow each other in one place; their records do not.
    simulated = "Folder" >> beam.Create([folder]) | "Simulate" >> beam.ParDo(ReadChunks(Simulate(options)))
    return simulated | "Spread" >> beam.Reshuffle() | "Build" >> beam.ParDo(ReadChunks(Build(folder, options)))


def origin(input_dir: str | os.PathLike[str], options: RatingsMatrixOptions) -> dict[str, Any]:
    """Returns the policy that was simulated, or how the items of the test split were chosen."""
    if options.exposure == "real":
        return {RANDOM_EXPOSURE: ["test"]}
    return {"policy": asdict(options.resolved()), "semi_synthetic": True, "simulator_version": SIMULATOR_VERSION}
