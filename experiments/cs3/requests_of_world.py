"""A simulated world's requests as arrays, encoded as the simulator's FeatureSet says."""

from collections.abc import Iterator

import numpy as np

from experiments.cs3.requests import Data, Requests
from simulation.cascade import ABSENT, EXPOSED
from simulation.cascade_log import feature_set
from simulation.cascade_world import Block, CascadeWorld
from simulation.parameters import World
from transforms.features import SPLITS, ModelInput, Split
from transforms.splits import SPLIT_ENDS

COUNTERS = ("item_age_hours", "item_impressions_so_far", "item_clicks_so_far", "item_price")
"""Numbers whose logarithms models see."""


def simulated_data(world: World, requests: int, seed: int) -> Data:
    """Simulates a log.

    Ids are indices counted from 1, 0 being padding; numbers are standardised logarithms, by the mean and
    deviation of the train split, as the preprocessing of the pipeline has them.

    Args:
      world: the parameters.
      requests: in the log; split by time.
      seed: of the world.
    """
    simulation = CascadeWorld(world, requests, seed)
    whole = _joined([encoded(simulation, block) for _, block in answered(simulation, requests)])
    ends = _ends(requests)
    features = {
        name: _standardised(whole, name, ends[0]) if name in COUNTERS else values
        for name, values in whole.features.items()
    }
    whole = Requests(**{**vars(whole), "features": features})
    starts = [0, *ends[:-1]]
    splits = {split: whole.take(slice(a, b)) for split, a, b in zip(SPLITS, starts, ends, strict=True)}
    inputs = feature_set(world).model_inputs("request")
    about = {"source": "simulator", "requests": requests, "seed": seed, "world": world.model_dump(mode="json")}
    return Data(inputs, id_table_sizes(world, inputs), splits, about)


def answered(simulation: CascadeWorld, requests: int) -> Iterator[tuple[Split, Block]]:
    """All blocks of a log, and the splits that they belong to.

    Args:
      simulation: a world that has answered nothing.
      requests: in the log.
    """
    done = 0
    for split, end in zip(SPLITS, _ends(requests), strict=True):
        # No block goes over the end of a split, as in the records of `consort data simulate`: it is the same log.
        while done < end:
            size = min(simulation.world.block_requests, end - done)
            yield split, simulation.answer(size)
            done += size


def encoded(simulation: CascadeWorld, block: Block) -> Requests:
    """The requests of a block, its ids counted from 1; `COUNTERS` stay as they are."""
    world, users, items = simulation.world, simulation.users, simulation.items
    asked, item = block.requests, block.item
    real = item != ABSENT
    moment = world.start_timestamp + asked.moment.astype(np.int64)
    history, length = _history(block, world.history_length)
    features = {
        "user_id": asked.user + 1,
        "user_segment": users.segment[asked.user] + 1,
        "user_age_bucket": users.age_bucket[asked.user] + 1,
        "device": asked.mobile.astype(np.int64) + 1,
        "hour_of_day": moment // 3600 % 24 + 1,
        "day_of_week": (moment // 86400 + 3) % 7 + 1,
        "history_item_id": history,
        "item_id": np.where(real, item + 1, 0),
        "item_category": np.where(real, items.category[item] + 1, 0),
        "item_age_hours": block.age_hours,
        "item_impressions_so_far": block.impressions,
        "item_clicks_so_far": block.clicks,
        "item_price": items.price[item],
    }
    return Requests(
        features=features,
        history_length=length,
        candidate=real,
        exposed=block.outcome.stage == EXPOSED,
        label=block.label,
        user=asked.user,
        stage=block.outcome.stage,
        truth=block.probability,
        logging_score=block.outcome.score,
    )


def _history(block: Block, width: int) -> tuple[np.ndarray, np.ndarray]:
    offsets = block.histories.offsets
    length = np.diff(offsets)
    dense = np.zeros((len(length), width), np.int64)
    rows = np.repeat(np.arange(len(length)), length)
    dense[rows, np.arange(offsets[-1]) - np.repeat(offsets[:-1], length)] = block.histories.items + 1
    return dense, length


def _joined(parts: list[Requests]) -> Requests:
    first = parts[0]
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name, value in vars(first).items()
        if isinstance(value, np.ndarray)
    }
    features = {name: np.concatenate([part.features[name] for part in parts]) for name in first.features}
    return Requests(features=features, **arrays)


def _standardised(requests: Requests, name: str, train: int) -> np.ndarray:
    values = logarithms(requests.features[name])
    known = values[:train][requests.candidate[:train]]
    scaled = (values - known.mean()) / (known.std() or 1.0)
    return np.where(requests.candidate, scaled, 0).astype(np.float32)


def logarithms(values: np.ndarray) -> np.ndarray:
    """ln(1 + x), of missing numbers that of 0."""
    return np.log1p(np.maximum(values.astype(np.float64), 0))


def _ends(requests: int) -> list[int]:
    return [round(requests * share) for share in SPLIT_ENDS]


def id_table_sizes(world: World, inputs: tuple[ModelInput, ...]) -> dict[str, int]:
    """Ids of each vocabulary of a world, padding included."""
    known = {
        "user_id": world.users, "user_segment": world.segments, "user_age_bucket": world.age_buckets, "device": 2,
        "hour_of_day": 24, "day_of_week": 7, "item_id": world.items, "item_category": world.categories,
    }  # fmt: skip
    return {item.vocabulary: known[item.vocabulary] + 1 for item in inputs if item.vocabulary is not None}
