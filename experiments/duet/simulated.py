"""A simulated world's requests as arrays, encoded as the simulator's FeatureSet says."""

import numpy as np

from experiments.duet.requests import Data, Requests
from transforms.features import SPLITS, ModelInput
from transforms.simulation.cascade import EXPOSED
from transforms.simulation.cascade_world import Block, CascadeWorld
from transforms.simulation.parameters import World
from transforms.simulation.retrieval import ABSENT
from transforms.sources.simulator import feature_set
from transforms.splits import SPLIT_ENDS

_COUNTERS = ("item_age_hours", "item_impressions_so_far", "item_clicks_so_far", "item_price")


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
    ends = [round(requests * share) for share in SPLIT_ENDS]
    blocks = []
    done = 0
    for end in ends:
        # No block goes over the end of a split, as in the records of `consort data simulate`: it is the same log.
        while done < end:
            size = min(world.block_requests, end - done)
            blocks.append(_requests(simulation, simulation.answer(size)))
            done += size
    whole = _joined(blocks)
    features = {
        name: _standardised(whole, name, ends[0]) if name in _COUNTERS else values
        for name, values in whole.features.items()
    }
    whole = Requests(**{**vars(whole), "features": features})
    starts = [0, *ends[:-1]]
    splits = {split: whole.take(slice(a, b)) for split, a, b in zip(SPLITS, starts, ends, strict=True)}
    inputs = feature_set(world).model_inputs("request")
    about = {"source": "simulator", "requests": requests, "seed": seed, "world": world.model_dump(mode="json")}
    return Data(inputs, _table_sizes(world, inputs), splits, about)


def _requests(simulation: CascadeWorld, block: Block) -> Requests:
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
    values = np.log1p(np.maximum(requests.features[name].astype(np.float64), 0))
    known = values[:train][requests.candidate[:train]]
    scaled = (values - known.mean()) / (known.std() or 1.0)
    return np.where(requests.candidate, scaled, 0).astype(np.float32)


def _table_sizes(world: World, inputs: tuple[ModelInput, ...]) -> dict[str, int]:
    known = {
        "user_id": world.users, "user_segment": world.segments, "user_age_bucket": world.age_buckets, "device": 2,
        "hour_of_day": 24, "day_of_week": 7, "item_id": world.items, "item_category": world.categories,
    }  # fmt: skip
    return {item.space: known[item.space] + 1 for item in inputs if item.space is not None}
