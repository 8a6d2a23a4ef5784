"""Writes a trained model as a SavedModel that TF Serving loads as it is."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from models.retrieval.tower_model import TowerModel
from serving.batching import write_batching_parameters
from serving.contract import CONTRACT
from serving.export.contract import contract_of
from serving.export.golden import write_golden
from serving.export.graph import let_functions_be_inlined
from serving.export.set_scoring import Buckets, buckets_of
from serving.export.signatures import LAST_HIDDEN, ServedModel
from serving.export.warmup import write_warmup
from serving.retrieval.catalogue import Catalogue
from serving.retrieval.golden import write_golden_retrieval
from serving.retrieval.item_table import write_items
from serving.retrieval.signatures import ITEM, USER, ServedTowers
from transforms.features import ITEM_ID, FeatureSet, RecordKind
from transforms.files import new_directory, write_text


def export_model(
    directory: str | os.PathLike[str],
    name: str,
    model: keras.Model,
    transform: tft.TFTransformOutput,
    feature_set: FeatureSet,
    record: RecordKind,
    run: dict[str, Any],
    warmup_examples: Sequence[bytes],
    catalogue: Catalogue | None = None,
) -> None:
    """Writes signatures, warm-up records, golden scores, batching parameters and contract.json, all of it or nothing.

    Args:
      directory: becomes the SavedModel; must be new or empty.
      name: of the model in serving.
      model: trained; takes transformed features, returns logits.
      transform: the learned transform.
      feature_set, record: as trained.
      run: entry of the contract: seed, versions, data hash, config digest.
      warmup_examples: raw records, as logged; servers replay some when they load the model.
      catalogue: the items that a two-tower model retrieves from; None: no `retrieve` signature.

    Raises:
      ValueError: a catalogue for a model without towers.
    """
    if catalogue is not None and not isinstance(model, TowerModel):
        raise ValueError(f"model {name!r} is a {type(model).__name__}; expected a TowerModel; leave the catalogue out")
    buckets = _buckets(model, feature_set, record)
    served = ServedModel(model, transform, feature_set, record, buckets)
    towers = None
    if isinstance(model, TowerModel):
        # An attribute, so that the catalogue is tracked and saved.
        towers = served.towers = ServedTowers(model, served.features, feature_set, record, catalogue)
    signatures = served.signatures() | (towers.signatures() if towers else {})
    with new_directory(directory) as temporary:
        tf.saved_model.save(served, str(temporary), signatures=signatures)
        let_functions_be_inlined(temporary)
        features = served.features_of(warmup_examples)
        vectors = _vectors(served, model, features, record)
        write_golden(temporary, list(warmup_examples), served.score(warmup_examples), vectors)
        k = None
        if catalogue is not None and towers is not None and towers.retrieval is not None:
            k = towers.retrieval.default_k
            write_items(temporary, {ITEM_ID: catalogue.ids, **catalogue.columns})
            write_golden_retrieval(temporary, model, features, towers)
        sizes = write_warmup(temporary, name, warmup_examples, feature_set, record, buckets, k)
        write_batching_parameters(temporary, record)
        towers_contract = towers.contract() if towers else None
        width = vectors[LAST_HIDDEN].shape[-1] if LAST_HIDDEN in vectors else None
        contract = contract_of(name, feature_set, record, run, sizes, buckets, towers_contract, width)
        write_text(Path(temporary) / CONTRACT, json.dumps(contract, indent=2) + "\n")


def _vectors(
    served: ServedModel, model: keras.Model, features: Mapping[str, Any], record: RecordKind
) -> dict[str, np.ndarray]:
    """Returns the trained model's vectors for records, by the signature that serves them."""
    vectors = {}
    hidden = served.hidden_of(features)
    if hidden is not None:
        vectors[LAST_HIDDEN] = hidden
    if isinstance(model, TowerModel):
        vectors[USER] = tf.cast(model.user_embedding(features), tf.float32).numpy()
        if record == "row":
            vectors[ITEM] = tf.cast(model.item_embedding(features), tf.float32).numpy()
    return vectors


def _buckets(model: keras.Model, feature_set: FeatureSet, record: RecordKind) -> Buckets | None:
    # Towers meet in a product alone: there is no head that XLA could fuse. A row has one candidate: nothing to pad.
    if record == "row" or isinstance(model, TowerModel) or not getattr(model, "as_sets", False):
        return None
    return buckets_of(feature_set, record)
