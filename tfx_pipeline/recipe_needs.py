"""What a recipe needs of the data, looked for before anything is written."""

import os
from collections.abc import Sequence

import tensorflow as tf

from consort.config import RunConfig
from models.cotraining.base import Recipe
from tfx_pipeline.short_runs import mean_label
from transforms.errors import InputError
from transforms.features import CANDIDATE, EXPOSED, LABEL, STAGE, FeatureSet
from transforms.input import parsed, serialized
from transforms.records import Dataset, shard_paths
from transforms.schema import parse_spec

_READ_AT_ONCE = 1024


def check_needs(
    config: RunConfig, recipe: Recipe, feature_set: FeatureSet, dataset: Dataset, data_dir: str | os.PathLike[str]
) -> None:
    """Refuses data on which a recipe has nothing to learn from.

    Args:
      config: the run.
      recipe: its recipe.
      feature_set: the dataset's, with the run's changes.
      dataset: of `data_dir`.
      data_dir: where the shards lie.

    Raises:
      InputError: rows for a recipe of requests, no stages, no candidate that was not shown, or labels of one class.
    """
    where, needs = f"recipe {config.recipe.name!r}", recipe.needs()
    if "requests" in needs and config.record != "request":
        raise InputError(
            where,
            "record 'row'",
            "requests, which hold the candidates that were not shown, too",
            "set `record: request` on a dataset that has requests, or choose the recipe single or mutual_learning",
        )
    if "stages" in needs and STAGE not in {column.name for column in feature_set.columns_of(config.record)}:
        raise InputError(
            where,
            f"a dataset without the column {STAGE!r}",
            "how far each candidate got",
            "choose a source that logs it, such as simulator or recflow, or options without stages",
        )
    files = shard_paths(data_dir, dataset, config.record, "train")
    _check_labels(config, feature_set, dataset, files)
    if "unexposed" in needs and not _has_unexposed(files, feature_set):
        raise InputError(
            f"{data_dir}, split train",
            f"requests of which every candidate was shown, for {where}",
            "candidates that were not shown",
            "import requests with all their candidates, or choose the recipe single or mutual_learning",
        )


def _check_labels(config: RunConfig, feature_set: FeatureSet, dataset: Dataset, files: Sequence[str]) -> None:
    split = dataset.records[config.record]["train"]
    if 0 < split.positives < split.examples:
        return
    # Labels between 0 and 1 are no positives, and teach all the same.
    rate = mean_label(files, parse_spec(feature_set, config.record, (LABEL, EXPOSED, CANDIDATE)))
    if rate is None or rate in (0.0, 1.0):
        received = "no label" if rate is None else f"labels that are all {rate:g}"
        fix = "check the import's label, or take a longer time"
        raise InputError("split train", received, "labels of both classes, 0 and 1", fix)


def _has_unexposed(files: Sequence[str], feature_set: FeatureSet) -> bool:
    spec = parse_spec(feature_set, "request", (CANDIDATE, EXPOSED))
    for masks in parsed(serialized(files, _READ_AT_ONCE), spec):
        if bool(tf.reduce_any((masks[CANDIDATE] > 0) & (masks[EXPOSED] == 0))):
            return True
    return False
