"""A simulated world's impressions as a stream."""

from dataclasses import replace

import numpy as np

from experiments.cs3.requests import Requests
from experiments.cs3.requests_of_world import COUNTERS, answered, encoded, id_table_sizes, logarithms
from experiments.cs3.stream import Data, Lists, Stream, joined
from simulation.cascade_log import feature_set
from simulation.cascade_world import CascadeWorld
from simulation.parameters import World
from transforms.features import SPLITS, ModelInput, Shape, Split


def simulated_data(world: World, requests: int, seed: int) -> Data:
    """Simulates a log and takes what was shown.

    Numbers are standardised logarithms, by the mean and deviation of the train split's rows.

    Args:
      world: the parameters.
      requests: in the log; split by time.
      seed: of the world.
    """
    simulation = CascadeWorld(world, requests, seed)
    inputs = feature_set(world).model_inputs("request")
    parts: dict[Split, list[Stream]] = {split: [] for split in SPLITS}
    for split, block in answered(simulation, requests):
        moments = world.start_timestamp + block.requests.moment.astype(np.int64)
        parts[split].append(impressions(encoded(simulation, block), moments, inputs))
    splits = {split: joined(own) for split, own in parts.items()}
    train = {name: logarithms(splits["train"].features[name]) for name in COUNTERS}
    splits = {split: _standardised(stream, train) for split, stream in splits.items()}
    sizes = id_table_sizes(world, inputs)
    about = {"source": "simulator", "requests": requests, "seed": seed, "world": world.model_dump(mode="json")}
    # Every id of a simulated world is in its vocabulary.
    return Data(feature_set(world).model_inputs("row"), sizes, sizes, splits, about)


def impressions(requests: Requests, moments: np.ndarray, inputs: tuple[ModelInput, ...]) -> Stream:
    """One row for each exposed candidate, request by request and in each in the order of its candidates.

    Args:
      requests: in the order of time.
      moments: of each, seconds UTC, `[R]`.
      inputs: of a model that takes requests.
    """
    request, candidate = np.nonzero(requests.exposed & requests.candidate)
    features, lists = {}, {}
    for item in inputs:
        values = np.asarray(requests.features[item.name])
        if item.shape is Shape.RAGGED:
            flat = np.ascontiguousarray(values).reshape(-1)
            lists[item.name] = Lists(flat, request * values.shape[1], requests.history_length[request])
        else:
            features[item.name] = values[request, candidate] if item.shape is Shape.CANDIDATES else values[request]
    return Stream(
        features=features,
        lists=lists,
        label=requests.label[request, candidate].astype(np.float32),
        timestamp=moments[request],
        group=request,
        truth=None if requests.truth is None else requests.truth[request, candidate],
    )


def _standardised(stream: Stream, train: dict[str, np.ndarray]) -> Stream:
    scaled = {
        name: ((logarithms(stream.features[name]) - own.mean()) / (own.std() or 1.0)).astype(np.float32)
        for name, own in train.items()
    }
    return replace(stream, features={**stream.features, **scaled})
