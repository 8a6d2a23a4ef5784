"""Evaluate an exported model on raw records: any dataset of the same source, any split."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from models.training.metrics import evaluate as compute_metrics
from serving.contract import read_contract
from serving.scoring import Scorer
from serving.signatures import request_columns
from transforms.errors import InputError
from transforms.features import CANDIDATE, EXPOSED, LABEL, SPLITS, FeatureSet, RecordKind, Split
from transforms.input import serialized
from transforms.integrity import checked
from transforms.records import Dataset, load_dataset, shard_paths
from transforms.schema import parse_spec

TRUTH = "true_click_probability"
"""Column of simulated records: the probability behind the label. Read here, never by a model."""
LOGGED_SCORE = "logging_score"
"""Column of simulated records: the score by which the logging policy ordered."""


@dataclass(frozen=True)
class Scored:
    """Exposed examples with their scores, one entry an example, and the data they come from."""

    label: np.ndarray
    probability: np.ndarray
    request_id: np.ndarray
    user_id: np.ndarray
    extra: dict[str, np.ndarray]
    dataset_sha256: str = ""
    changed_shards: tuple[str, ...] = ()


def splits_of(dataset: Dataset, record: RecordKind, split: str) -> list[Split]:
    """The splits that `split` names: one, several joined by `+` (`eval+test`), or `all`.

    Raises:
      InputError: no such split.
    """
    present = [name for name in SPLITS if name in dataset.records.get(record, {})]
    if split == "all":
        return present
    named = split.split("+")
    if not set(named) <= set(present):
        raise InputError(
            "--split", repr(split), f"one of {', '.join([*present, 'all'])}", "choose of these; join with +"
        )
    return [name for name in present if name in named]


def check_columns(model: FeatureSet, data: FeatureSet, record: RecordKind, where: str) -> None:
    """Compares the columns that a model reads with those that a dataset has.

    Raises:
      InputError: a column is missing or of another type.
    """
    have = {column.name: column for column in data.columns_of(record)}
    for column in request_columns(model, record):
        found = have.get(column.name)
        received = "no such column" if found is None else f"a column of type {found.dtype}"
        if found is None or (found.dtype, found.variable_length) != (column.dtype, column.variable_length):
            fix = "evaluate on a dataset of the source that the model was trained on"
            raise InputError(f"{where}, column {column.name!r}", received, f"type {column.dtype}", fix)


def score(
    model_dir: str | os.PathLike[str],
    data_dir: str | os.PathLike[str],
    split: str = "test",
    batch_size: int = 4096,
    progress: Callable[[int, int], None] | None = None,
) -> Scored:
    """Scores a split with an exported model.

    Args:
      model_dir: a SavedModel of `serving.export`.
      data_dir: a dataset.
      split: `train`, `eval`, `test`, several joined by `+`, or `all`.
      batch_size: records scored at once.
      progress: called with records done and records in all.

    Raises:
      InputError: the model or the dataset is not one, or they do not fit together.
    """
    contract, dataset = read_contract(model_dir), load_dataset(data_dir)
    record: RecordKind = contract["record"]
    splits = splits_of(dataset, record, split)
    check_columns(FeatureSet.model_validate(contract["feature_set"]), dataset.feature_set, record, str(data_dir))
    dataset, changed = checked(data_dir, dataset, record, splits)
    files = [path for name in splits for path in shard_paths(data_dir, dataset, record, name)]
    total = sum(dataset.records[record][name].records for name in splits)
    extras = [name for name in (TRUTH, LOGGED_SCORE) if name in {c.name for c in dataset.feature_set.columns}]
    scored = _score_files(Scorer(model_dir), files, dataset.feature_set, record, extras, batch_size, total, progress)
    return replace(scored, dataset_sha256=dataset.sha256, changed_shards=tuple(changed))


def _score_files(
    scorer: Scorer,
    files: Sequence[str],
    feature_set: FeatureSet,
    record: RecordKind,
    extras: Sequence[str],
    batch_size: int,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> Scored:
    masks = (CANDIDATE, EXPOSED) if record == "request" else ()
    spec = parse_spec(feature_set, record, (LABEL, "request_id", "user_id", *masks, *extras))
    parts: list[dict[str, np.ndarray]] = []
    done = 0
    for examples in serialized(files, batch_size):
        columns = {name: value.numpy() for name, value in tf.io.parse_example(examples, spec).items()}
        columns["probability"] = scorer(examples)
        parts.append(_exposed_only(columns) if record == "request" else columns)
        done += len(examples)
        if progress is not None:
            progress(done, total)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    named = {name: joined[name] for name in (LABEL, "probability", "request_id", "user_id")}
    return Scored(**named, extra={name: joined[name] for name in extras})


def _exposed_only(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    shown = (columns.pop(EXPOSED) == 1) & (columns.pop(CANDIDATE) == 1)
    return {
        name: value[shown] if value.ndim == shown.ndim else np.repeat(value, shown.sum(axis=1))
        for name, value in columns.items()
    }


def metrics_of(scored: Scored, resamples: int = 200, seed: int = 1) -> dict[str, float]:
    """Metrics with confidence intervals; on simulated data also the oracle's and the logging policy's AUC."""
    metrics = compute_metrics(
        scored.label, scored.probability, scored.user_id, scored.request_id, resamples=resamples, seed=seed
    )
    for column, key in ((TRUTH, "oracle_auc"), (LOGGED_SCORE, "logging_policy_auc")):
        if column in scored.extra:
            reference = compute_metrics(scored.label, _squashed(scored.extra[column]), resamples=0, seed=seed)
            metrics[key] = reference["auc"]
    return metrics


def _squashed(values: np.ndarray) -> np.ndarray:
    # AUC only sees the order: ranks keep it and lie inside (0, 1), whatever the scale of the scores.
    _, ranks = np.unique(values, return_inverse=True)
    squashed: np.ndarray = (ranks + 1) / (ranks.max() + 2)
    return squashed
