"""Write a trained model as a SavedModel that TF Serving can take as it is."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from serving.buckets import buckets_of
from serving.contract import CONTRACT, contract_of
from serving.golden import write_golden
from serving.signatures import ServedModel
from serving.warmup_records import write_warmup
from transforms.features import FeatureSet, RecordKind
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
) -> None:
    """Writes signatures, warm-up records, golden scores and contract.json, all of it or nothing.

    Args:
      directory: becomes the SavedModel; must be new or empty.
      name: of the model in serving.
      model: trained; takes transformed features, gives logits.
      transform: the learned transform.
      feature_set, record: as trained.
      run: goes into the contract: seed, versions, data hash, config digest.
      warmup_examples: raw records, as logged; some are replayed when a server loads the model.
    """
    buckets = buckets_of(feature_set, record) if getattr(model, "as_sets", False) else None
    served = ServedModel(model, transform, feature_set, record, buckets)
    with new_directory(directory) as temporary:
        tf.saved_model.save(served, str(temporary), signatures=served.signatures())
        write_golden(temporary, list(warmup_examples), served.score(warmup_examples))
        sizes = write_warmup(temporary, name, warmup_examples, feature_set, record, buckets)
        contract = contract_of(name, feature_set, record, run, sizes, buckets)
        write_text(Path(temporary) / CONTRACT, json.dumps(contract, indent=2) + "\n")
