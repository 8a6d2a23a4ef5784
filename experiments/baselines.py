"""Simple models on the data of a table, by the protocol of its methods, to stand on the page beside these."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from evaluation.comparison import compare
from runs.baselines.beside import predictions, scores_of
from runs.config import RunConfig
from runs.evaluate import extra_columns, prepared_of, score_files
from serving.export.signatures import ServedModel
from transforms.beam.transform_dataset import load_declaration, load_transform
from transforms.files import write_text
from transforms.records import load_dataset, shard_paths

FOLDER = "baselines"
_METRICS = ("auc", "logloss", "gauc_request", "auc_entire", "auc_unexposed")
_AT_ONCE = {"row": 8192, "request": 256}


def gathered(root: Path, data: Mapping[str, tuple[Path, Path]], config: RunConfig) -> dict[str, dict[str, Any]]:
    """Returns the metrics of each baseline by the name of the data, each computed once a folder of results.

    Args:
      root: folder of the results.
      data: folders of the dataset and of what the transform made of it, by name.
      config: run file by which the data was transformed.
    """
    results = {}
    for name, folders in data.items():
        file = root / FOLDER / f"{name}.json"
        if not file.is_file():
            write_text(file, json.dumps(on_test(*folders, config), indent=1) + "\n")
        results[name] = json.loads(file.read_text())
    return results


def on_test(records: Path, transformed: Path, config: RunConfig) -> dict[str, dict[str, float]]:
    """Returns metrics of each baseline on the test split, without intervals; none without a split to fit them on.

    Args:
      records: the dataset.
      transformed: its learned transform and declaration.
      config: of the run.
    """
    dataset, features, record = load_dataset(records), load_declaration(transformed), config.record
    files = shard_paths(records, dataset, record, "test")
    # A model is not needed: what is asked are its inputs.
    served = ServedModel(keras.Sequential(), load_transform(transformed), features, record)

    def encode(examples: tf.Tensor) -> dict[str, np.ndarray]:
        values = served.features_of(examples).items()
        return {name: np.asarray(value.to_tensor() if hasattr(value, "to_tensor") else value) for name, value in values}

    shape = (1,) if record == "row" else (1, dataset.feature_set.list_size or 1)
    scored = score_files(
        lambda examples: np.zeros((len(examples), *shape[1:])),
        files,
        dataset.feature_set,
        record,
        extra_columns(dataset.feature_set),
        _AT_ONCE[record],
        dataset.records[record]["test"].records,
    )
    identity = {"learned_on": dataset.sha256}
    fitted = predictions(records, dataset, features, record, lambda: encode, files, identity)
    baselines = compare(prepared_of(scored), scores_of(scored, fitted), 0).baselines
    return {name: _kept(values) for name, values in baselines.items()}


def _kept(metrics: Mapping[str, float]) -> dict[str, float]:
    keys: Iterable[str] = (key for key in _METRICS if key in metrics)
    return {key: float(metrics[key]) for key in keys}
