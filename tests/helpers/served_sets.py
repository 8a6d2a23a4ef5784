"""Exported models on simulated request records, and requests of any size for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simulation.parameters import World
from transforms.features import FeatureSet

WORLD = World(
    users=40, items=200, candidates=12, min_candidates=8, pool_size=40, ranked_items=8, exposed_items=4,
    history_length=20,
)  # fmt: skip
LIST_SIZE = 12
SMALL: dict[str, dict[str, Any]] = {
    "set_ranker": {"embedding_dim": 4, "hidden_units": (16, 8), "width": 8, "heads": 2},
    "deepfm": {"embedding_dim": 4, "hidden_units": (8,)},
}


@dataclass(frozen=True)
class RequestLog:
    """A simulated log with its transform.

    Args:
      folder: the dataset in `data`, the transform in `transformed`.
      feature_set: its declaration.
    """

    folder: Path
    feature_set: FeatureSet

    @property
    def examples(self) -> list[bytes]:
        """Raw request records of the test split."""
        from transforms.input import first_examples
        from transforms.records import load_dataset, shard_paths

        data = self.folder / "data"
        return list(first_examples(shard_paths(data, load_dataset(data), "request", "test"), 16))


def make_log(folder: Path) -> RequestLog:
    from simulation.cascade_log import simulate
    from transforms.beam.transform_dataset import transform_dataset

    dataset = simulate(folder / "data", WORLD, 160, 5)
    features = dataset.feature_set
    transform_dataset(folder / "data", dataset, folder / "transformed", features, "request", splits=())
    return RequestLog(folder, features)


def model_of(log: RequestLog, name: str) -> Any:
    """A model with random weights, and with an optimizer as after training."""
    import tf_keras as keras

    from models.registry import build_model
    from transforms.beam.transform_dataset import load_transform
    from transforms.vocabularies import table_sizes

    sizes = table_sizes(log.feature_set, load_transform(log.folder / "transformed"))
    model = build_model(name, log.feature_set.model_inputs("request"), sizes, **SMALL[name])
    model.embeddings.build(None)
    model.build_head()
    random = np.random.default_rng(3)
    for weight in model.trainable_weights:
        weight.assign_add(random.normal(0.0, 0.3, weight.shape).astype(np.float32))
    model.compile(optimizer=keras.optimizers.Adam())
    model.optimizer.build(model.trainable_weights)
    return model


def export(log: RequestLog, name: str, base: Path) -> Path:
    """A model of that name as version 1 of a base path."""
    from serving.export.export import export_model
    from transforms.beam.transform_dataset import load_transform

    transform = load_transform(log.folder / "transformed")
    export_model(
        base / "1", name, model_of(log, name), transform, log.feature_set, "request", {}, log.examples
    )  # fmt: skip
    return base / "1"


def request(inputs: Mapping[str, Any], candidates: int, batch: int = 1, history: int = 9, seed: int = 0) -> Any:
    """Raw inputs, some ids of which nobody knows.

    Args:
      inputs: as the contract tells them.
      candidates, batch, history: sizes.
      seed: of the values.
    """
    random, sizes = np.random.default_rng(seed), {"B": batch, "M": candidates, "N": history}
    made: dict[str, np.ndarray] = {}
    for name, told in inputs.items():
        shape = [sizes[axis] for axis in told["shape"]]
        if name == "candidate_count":
            # Left out: `candidate` alone says it, and the client counts.
            continue
        if "lengths_of" in told:
            made[name] = np.full(shape, history)
        elif name == "candidate":
            made[name] = np.ones(shape, np.int64)
        elif told["dtype"] == "string":
            made[name] = np.char.mod("i%03d", random.integers(0, 300, shape)).astype(object)
        elif told["dtype"] == "int64":
            made[name] = random.integers(0, 100_000, shape)
        else:
            made[name] = (100 * random.random(shape)).astype(np.float32)
    return made
