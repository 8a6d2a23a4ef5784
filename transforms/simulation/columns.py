"""Blocks of the world as columns of records: requests with their candidates, and rows of impressions."""

from collections.abc import Sequence

import numpy as np

from transforms.batches import Batch, Ragged, Values
from transforms.features import MISSING_INT, MISSING_STRING, Split
from transforms.simulation.cascade import EXPOSED, PRERANKED
from transforms.simulation.cascade_world import Block, CascadeWorld

DEVICES = np.array([b"desktop", b"mobile"])
USER_COLUMNS = ("user_id", "user_segment", "user_age_bucket")
CONTEXT_COLUMNS = ("request_id", "timestamp", "device")
HISTORY = "history_item_id"
MASKS = ("candidate", "exposed")


class Columns:
    """Names the members of one world, once, and turns its blocks into batches.

    Tables of items end with the marker of a missing value, which the index of padding (-1) finds.
    """

    def __init__(self, cascade_world: CascadeWorld):
        world, users, items = cascade_world.world, cascade_world.users, cascade_world.items
        self._start = world.start_timestamp
        self._user_id = _names("u", world.users)
        self._segment = _names("s", world.segments)[users.segment]
        self._age_bucket = users.age_bucket
        self._item_id = np.append(_names("i", world.items), MISSING_STRING)
        self._category = np.append(_names("c", world.categories)[items.category], MISSING_STRING)
        self._price = np.append(items.price, np.float32(np.nan))

    def requests(self, block: Block, split: Split) -> Batch:
        """One record for each request of the block."""
        user, outcome = block.requests.user, block.outcome
        real = outcome.stage >= PRERANKED
        numbers = range(block.first, block.first + len(user))
        columns: dict[str, Values] = {
            "request_id": np.array([b"r%09d" % number for number in numbers]),
            "user_id": self._user_id[user],
            "user_segment": self._segment[user],
            "user_age_bucket": self._age_bucket[user],
            "device": DEVICES[block.requests.mobile],
            "timestamp": self._start + block.requests.moment,
            HISTORY: Ragged(self._item_id[block.histories.items], block.histories.offsets),
            "item_id": self._item_id[block.item],
            "item_category": self._category[block.item],
            "item_price": self._price[block.item],
            "item_age_hours": np.where(real, block.age_hours, np.float32(np.nan)),
            "item_impressions_so_far": np.where(real, block.impressions, MISSING_INT),
            "item_clicks_so_far": np.where(real, block.clicks, MISSING_INT),
            "label": block.label,
            "candidate": real,
            "exposed": outcome.stage == EXPOSED,
            "stage": outcome.stage,
            "position": outcome.position,
            "logging_score": outcome.score,
            "true_click_probability": block.probability,
        }
        return Batch("request", split, columns)


def rows_of(requests: Batch) -> Batch:
    """One row for each exposed candidate of a batch of requests, in their order."""
    request, candidate = np.nonzero(np.asarray(requests.columns["exposed"]))
    columns: dict[str, Values] = {}
    for name, values in requests.columns.items():
        if isinstance(values, Ragged):
            columns[name] = _taken(values, request)
        elif name not in MASKS:
            array = np.asarray(values)
            columns[name] = array[request] if array.ndim == 1 else array[request, candidate]
    return Batch("row", requests.split, columns)


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches of one kind and split, one after the other."""
    columns: dict[str, Values] = {}
    for name, first in batches[0].columns.items():
        parts = [batch.columns[name] for batch in batches]
        if isinstance(first, Ragged):
            lengths = np.concatenate([np.diff(part.offsets) for part in parts if isinstance(part, Ragged)])
            values = np.concatenate([part.values for part in parts if isinstance(part, Ragged)])
            columns[name] = Ragged(values, np.concatenate([[0], np.cumsum(lengths)]))
        else:
            columns[name] = np.concatenate([np.asarray(part) for part in parts])
    return Batch(batches[0].record, batches[0].split, columns)


def _taken(ragged: Ragged, lists: np.ndarray) -> Ragged:
    lengths = np.diff(ragged.offsets)[lists]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    return Ragged(np.asarray(ragged.values)[np.repeat(ragged.offsets[:-1][lists], lengths) + place], offsets)


def _names(letter: str, size: int) -> np.ndarray:
    width = len(str(size - 1))
    return np.array([f"{letter}{number:0{width}d}".encode() for number in range(size)])
