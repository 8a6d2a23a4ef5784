"""A two-tower model on toy rows, exported with its catalogue, and what NumPy makes of its vectors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.toy_data import toy_features, write_learnable
from transforms.features import FeatureSet, with_lengths

NAME = "towers"
ITEMS = 20


@dataclass(frozen=True)
class ToyTowers:
    """What the tests look at.

    Args:
      folder: the dataset in `data`, the transform in `transformed`.
      version: the exported model, version 1 of its base path.
      model: the same in Python.
    """

    folder: Path
    version: Path
    model: Any

    @property
    def features(self) -> FeatureSet:
        """The declaration."""
        return toy_features()

    @property
    def base(self) -> Path:
        """For a server."""
        return self.version.parent

    @property
    def examples(self) -> list[bytes]:
        """Raw rows of the test split."""
        return examples_of(self.folder)

    def catalogue(self) -> Any:
        """Of the train split."""
        return catalogue_of_toy(self.folder)


def make_data(folder: Path) -> None:
    """Rows, and a transform learned of them."""
    from transforms.beam.transform_dataset import transform_dataset

    dataset = write_learnable(folder / "data")
    transform_dataset(folder / "data", dataset, folder / "transformed", toy_features(), "row", splits=())


def examples_of(folder: Path, count: int = 24) -> list[bytes]:
    from transforms.input import first_examples
    from transforms.records import load_dataset, shard_paths

    return list(first_examples(shard_paths(folder / "data", load_dataset(folder / "data"), "row", "test"), count))


def catalogue_of_toy(folder: Path) -> Any:
    from serving.retrieval.catalogue import catalogue_of
    from transforms.records import load_dataset, shard_paths

    files = shard_paths(folder / "data", load_dataset(folder / "data"), "row", "train")
    return catalogue_of(files, toy_features(), "row")


def tower_model(folder: Path, model_class: Any = None, scale: float = 2.0, **options: Any) -> Any:
    """A DSSM, or one of a class of its kind, with random weights and with caches that hold something."""
    import tensorflow as tf

    from models.layers.tower_caches import TowerCaches
    from models.retrieval.dssm import DSSM
    from models.retrieval.tower_model import ScaledProduct
    from transforms.beam.transform_dataset import load_transform
    from transforms.vocabularies import table_sizes

    sizes = table_sizes(toy_features(), load_transform(folder / "transformed"))
    ids = {"user": sizes["user_id"], "item": sizes["items"]}
    caches = TowerCaches(ids, {"user": 3, "item": 3}, 2)
    inputs = toy_features().model_inputs("row")
    model = (model_class or DSSM)(inputs, sizes, embedding_dim=4, hidden_units=(8, 6), caches=caches, **options)
    model.embeddings.build(None)
    model.build_head()
    random = np.random.default_rng(3)
    for weight in model.weights:
        if weight.dtype.is_floating:
            weight.assign(tf.constant(random.normal(0.0, 0.4, weight.shape), weight.dtype))
    if isinstance(model.similarity, ScaledProduct):
        model.similarity.set_weights([np.float32(scale), np.float32(-0.5)])
    return model


def export_towers(folder: Path, base: Path, model: Any = None, version: int = 1, catalogue: Any = ...) -> ToyTowers:
    """A model as a version of a base path; `catalogue` is the train split's unless another, or None, is given."""
    from serving.export.export import export_model
    from transforms.beam.transform_dataset import load_transform

    found = tower_model(folder) if model is None else model
    items = catalogue_of_toy(folder) if catalogue is ... else catalogue
    transform = load_transform(folder / "transformed")
    target = base / str(version)
    export_model(target, NAME, found, transform, toy_features(), "row", {}, examples_of(folder), items)
    return ToyTowers(folder, target, found)


def make_towers(folder: Path) -> ToyTowers:
    """Data, transform and export, all below one folder."""
    make_data(folder)
    return export_towers(folder, folder / "serving" / NAME)


def user_inputs(towers: ToyTowers, count: int = 5) -> dict[str, np.ndarray]:
    """Raw inputs of some logged users."""
    from serving.export.requests import request_inputs
    from serving.retrieval.catalogue import user_columns

    names = [column.name for column in with_lengths(user_columns(towers.features))]
    return request_inputs(towers.examples[:count], towers.features, "row", names)


def exact(users: np.ndarray, items: np.ndarray, model: Any) -> np.ndarray:
    """Logits of all items for all users, by the model's own similarity."""
    scores: np.ndarray = model.similarity((users, np.repeat(items[np.newaxis], len(users), axis=0))).numpy()
    return scores
