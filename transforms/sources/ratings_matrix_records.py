"""Simulated rounds of requests as records."""

from collections.abc import Iterator

import numpy as np

from transforms.batches import Batch, Ragged, Values, rows_of
from transforms.features import CANDIDATE, EXPOSED, LABEL, MISSING_INT, MISSING_STRING, SPLITS, Split
from transforms.sources.ratings_matrix import HISTORY
from transforms.sources.ratings_matrix_files import Ratings
from transforms.sources.ratings_matrix_options import RatingsMatrixOptions
from transforms.sources.ratings_matrix_requests import ABSENT, EXPOSED_STAGE, Round, rounds, yes_probability
from transforms.splits import SPLIT_ENDS

CANDIDATES_PER_SHARD = 400_000


def batches(ratings: Ratings, options: RatingsMatrixOptions) -> Iterator[tuple[str, Batch]]:
    """Gives `(shard name, Batch)` of all simulated requests, in order of time."""
    policy = options.resolved()
    columns = _Columns(ratings, options)
    users = len(ratings.users)
    ends = [max(round(users * policy.requests_per_user * share), 1) for share in SPLIT_ENDS]
    size = max(CANDIDATES_PER_SHARD // policy.candidates, 1)
    for number, asked in enumerate(rounds(ratings, options)):
        first = number * users
        # A split can end within a round.
        borders = {0, users, *range(0, users, size), *(end - first for end in ends if 0 < end - first < users)}
        for start, stop in zip(sorted(borders), sorted(borders)[1:], strict=False):
            split = SPLITS[sum(first + start >= end for end in ends)]
            requests = columns.requests(asked, first, slice(start, stop), split)
            name = f"round-{number:05d}-{start:07d}"
            if "request" in options.records:
                yield name, requests
            if "row" in options.records:
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
