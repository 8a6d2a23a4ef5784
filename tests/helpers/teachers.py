"""Exported rankers on toy rows that teach others, with a preprocessing of their own."""

from pathlib import Path
from typing import Any

import numpy as np

from transforms.features import FeatureSet, Vocabulary

HIDDEN = 3


def teacher_features() -> FeatureSet:
    """The toy's columns, some features less, and items hashed instead of looked up: other ids of the same things."""
    from tests.helpers.toy_data import toy_features

    whole = toy_features()
    kept = tuple(one for one in whole.features if one.name not in ("weekday", "item_hash", "count", "price_raw"))
    vocabularies = tuple(one for one in whole.vocabularies if one.name not in ("items", "hashed", "counts"))
    return FeatureSet(
        columns=whole.columns, features=kept, vocabularies=(*vocabularies, Vocabulary(name="items", hash_buckets=9))
    )


def make_teacher(folder: Path, target: Path, name: str = "deepfm") -> Any:
    """Learns a transform of a log of its own, and exports a ranker with random weights; gives the model.

    Args:
      folder: gets log and transform, unless they are there.
      target: becomes the SavedModel.
      name: of the model.
    """
    from models.registry import build_model
    from serving.export.export import export_model
    from tests.helpers.served_towers import examples_of
    from tests.helpers.toy_data import write_learnable
    from transforms.beam.transform_dataset import load_transform, transform_dataset
    from transforms.vocabularies import table_sizes

    features, transformed = teacher_features(), folder / "transformed"
    if not transformed.exists():
        dataset = write_learnable(folder / "data", seed=11)
        transform_dataset(folder / "data", dataset, transformed, features, "row", splits=())
    transform = load_transform(transformed)
    sizes = table_sizes(features, transform)
    inputs = features.model_inputs("row")
    model: Any = build_model(name, inputs, sizes, embedding_dim=2, hidden_units=(4, HIDDEN))
    model.embeddings.build(None)
    model.build_head()
    for index, weight in enumerate(model.trainable_weights):
        weight.assign(np.random.default_rng([index, *weight.shape]).normal(0.0, 0.8, weight.shape))
    export_model(target, f"toy_{name}", model, transform, features, "row", {}, examples_of(folder))
    return model
