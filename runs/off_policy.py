"""Estimates, from a log with propensities, what a model would earn that chooses the item itself."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from evaluation.off_policy import off_policy_value
from evaluation.units import Resample
from runs.evaluate import Load, earlier_paths, splits_of
from serving.contract import read_contract
from serving.loading import Scorer
from serving.retrieval.catalogue import Catalogue, catalogue_at, item_columns
from serving.retrieval.recall import Places
from transforms.errors import InputError
from transforms.features import ITEM_ID, LABEL, SPLITS, Column, FeatureSet
from transforms.input import serialized
from transforms.records import Dataset, load_dataset, paths_of_splits
from transforms.schema import parse_spec
from transforms.sources.base import RANDOM_EXPOSURE

PROPENSITY = "propensity"
"""Column of logs whose policy chose at random, in part at least: the probability with which it showed this item."""
MOST_ITEMS = 1000
"""With more items a log has hardly a row in which the model would have shown the same."""
_SCORES_AT_ONCE = 65_536


def off_policy_metrics(
    model_dir: str | os.PathLike[str],
    data_dir: str | os.PathLike[str],
    split: str = "test",
    resamples: int = 200,
    seed: int = 1,
    resample: Resample | None = None,
    progress: Callable[[int, int], None] | None = None,
    load: Load = Scorer,
) -> dict[str, float]:
    """Returns the value of the policy that shows the item with the largest score; empty for a log without propensities.

    Each row is an action: the policy could have shown any item of the log in its context and place. Items have the
    values that they had when the split began, and the reward is the label.

    Args:
      model_dir, data_dir, split: as in `runs.evaluate.score`, which has checked them.
      resamples, seed, resample: of the intervals, as in `runs.evaluate.metrics_of`.
      progress: called with rows done and rows in all.
      load: loads the model.

    Returns:
      What `evaluation.off_policy.off_policy_value` gives, the number of `items`, and `equal_propensities`, 1 if the
      logging policy chose uniformly at random; empty also for models of requests and for more than `MOST_ITEMS` items.

    Raises:
      InputError: a propensity is no probability above 0.
    """
    contract, dataset = read_contract(model_dir), load_dataset(data_dir)
    features = FeatureSet.model_validate(contract["feature_set"])
    if contract["record"] != "row" or not _reads_items(features):
        return {}
    if PROPENSITY not in {column.name for column in dataset.feature_set.columns_of("row")}:
        return {}
    asked = splits_of(dataset, "row", split)
    files = paths_of_splits(data_dir, dataset, "row", asked)
    # Of the records alone: what never was shown, the policy may not have had.
    items = catalogue_at(earlier_paths(data_dir, dataset, "row", asked), files, features, "row")
    if len(items) > MOST_ITEMS:
        return {}
    total = sum(dataset.records["row"][name].records for name in asked)
    rows = EveryItem(load(model_dir), items, features, dataset.feature_set)
    parts: list[dict[str, np.ndarray]] = []
    done = 0
    for batch in serialized(files, max(_SCORES_AT_ONCE // len(items), 1)):
        parts.append(rows(batch))
        done += len(batch)
        if progress is not None:
            progress(done, total)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    _check(columns[PROPENSITY], str(data_dir))
    return {**_value_of_best(columns, resamples, seed, resample), "items": float(len(items))}


def _value_of_best(
    columns: Mapping[str, np.ndarray], resamples: int, seed: int, resample: Resample | None
) -> dict[str, float]:
    scores, place, propensity = columns["scores"], columns["place"], columns[PROPENSITY]
    logged = scores[np.arange(len(scores)), np.maximum(place, 0)]
    best = scores.max(axis=1)
    # Equal scores share the choice.
    equals = (scores == best[:, np.newaxis]).sum(axis=1)
    value = off_policy_value(
        columns[LABEL].astype(np.float64),
        propensity.astype(np.float64),
        np.where((place >= 0) & (logged == best), 1 / equals, 0.0),
        logged,
        best,
        columns["user_id"],
        columns["request_id"],
        resamples,
        seed,
        resample,
    )
    return {**value, "equal_propensities": float(np.ptp(propensity) <= 1e-6 * propensity.max())}


def shown_at_random(dataset: Dataset, split: str, off_policy: Mapping[str, float]) -> bool:
    """Returns whether the items of a split were shown uniformly at random, so that metrics on it have no policy's bias.

    Args:
      dataset: its source says so in its origin, or its propensities do.
      split: as in `off_policy_metrics`.
      off_policy: what `off_policy_metrics` gave.
    """
    named = SPLITS if split == "all" else split.split("+")
    at_random = dataset.origin.get(RANDOM_EXPOSURE, ())
    return all(name in at_random for name in named) or off_policy.get("equal_propensities") == 1.0


class EveryItem:
    """Scores all items in the context of each row.

    Args:
      scorer: gives the scores of serialized rows, `[B]`.
      items: what could have been shown.
      features: of the model.
      logged: of the dataset.
    """

    def __init__(
        self, scorer: Callable[[tf.Tensor], np.ndarray], items: Catalogue, features: FeatureSet, logged: FeatureSet
    ):
        self._scorer, self._places = scorer, Places(items.ids)
        columns = item_columns(features)
        self._of_items = {ITEM_ID, *(column.name for column in columns)}
        values = {ITEM_ID: items.ids, **{column.name: items.columns[column.name] for column in columns}}
        kinds = {column.name: column for column in (logged.column(ITEM_ID), *columns)}
        self._examples = [_example(kinds, values, place) for place in range(len(items))]
        self._spec = parse_spec(logged, "row", (LABEL, PROPENSITY, ITEM_ID, "request_id", "user_id"))

    def __call__(self, batch: tf.Tensor) -> dict[str, np.ndarray]:
        """Returns the label, propensity and ids of rows, `scores` `[B, items]`, and the logged item's `place` or -1."""
        columns = {name: value.numpy() for name, value in tf.io.parse_example(batch, self._spec).items()}
        examples = []
        for record in batch.numpy():
            context = tf.train.Example.FromString(record)
            for name in self._of_items:
                context.features.feature.pop(name, None)
            rest = context.SerializeToString()
            # Fields of a message may come in pieces: both halves together are one example.
            examples += [rest + item for item in self._examples]
        scores = self._scorer(tf.constant(examples, tf.string)).reshape(len(batch), len(self._examples))
        return {**columns, "scores": scores.astype(np.float64), "place": self._places.of(columns[ITEM_ID])}


def _reads_items(features: FeatureSet) -> bool:
    return any(column.entity == "item" for column in features.raw_inputs())


def _example(columns: Mapping[str, Column], values: Mapping[str, np.ndarray], place: int) -> bytes:
    example = tf.train.Example()
    for name, column in columns.items():
        feature: Any = example.features.feature[name]
        kind = {"string": feature.bytes_list, "int64": feature.int64_list, "float": feature.float_list}[column.dtype]
        kind.value.extend(np.atleast_1d(values[name][place]).tolist())
    return bytes(example.SerializeToString(deterministic=True))


def _check(propensity: np.ndarray, where: str) -> None:
    wrong = np.flatnonzero(~((propensity > 0) & (propensity <= 1)))
    if len(wrong):
        received = f"{propensity[wrong[0]]} in {len(wrong)} of {len(propensity)} rows"
        fix = "repair the log, or give the column another name"
        raise InputError(f"{where}, column {PROPENSITY!r}", received, "probabilities above 0, at most 1", fix)
