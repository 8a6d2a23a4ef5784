"""Evaluate an exported model on raw records: any dataset of the same source, any split."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from evaluation.metrics import Prepared, request_data, row_data
from evaluation.ranking import CUT_OFFS, RankingDefinition
from evaluation.units import Resample, group_indices
from runs.baselines.retrieval import EvaluatedSplits
from runs.retrieval_report import retrieval_report
from serving.contract import read_contract, signatures_with_flags
from serving.export.golden import GOLDEN_SCORES, check_golden
from serving.export.signatures import request_columns
from serving.loading import Scorer
from serving.retrieval.catalogue import catalogue_at, user_columns
from serving.retrieval.recall import SeenItems, catalogued_export
from transforms.errors import InputError
from transforms.features import CANDIDATE, EXPOSED, LABEL, SPLITS, WEIGHT, Column, FeatureSet, RecordKind, Split
from transforms.input import serialized
from transforms.integrity import check_values, checked
from transforms.records import Dataset, items_in, load_dataset, paths_of_splits
from transforms.schema import parse_spec

TRUTH = "true_click_probability"
"""Column of simulated records: the probability behind the label. Read here, never by a model."""
LOGGED_SCORE = "logging_score"
"""Column of simulated records: the score by which the logging policy ordered."""

Load = Callable[..., Scorer]
"""Loads the exported model of a folder; one with a cache spares its next reader the seconds that it takes."""


@dataclass(frozen=True)
class ScoredRequests:
    """R request records with the scores of all their candidates.

    Args:
      candidate: True = real, `[R, M]`.
      exposed: True = shown, `[R, M]`.
      label: means something where shown, `[R, M]`.
      probability: `[R, M]`.
      user_id: `[R]`.
      extra: the columns `TRUTH`, `LOGGED_SCORE` and `WEIGHT` where the data has them, `[R, M]` each.
    """

    candidate: np.ndarray
    exposed: np.ndarray
    label: np.ndarray
    probability: np.ndarray
    user_id: np.ndarray
    extra: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Scored:
    """Exposed examples with their scores, one entry an example, and the data they come from.

    `requests` holds all candidates besides, shown or not, where the records are requests.
    """

    label: np.ndarray
    probability: np.ndarray
    request_id: np.ndarray
    user_id: np.ndarray
    extra: dict[str, np.ndarray]
    dataset_sha256: str = ""
    changed_shards: tuple[str, ...] = ()
    requests: ScoredRequests | None = None


def splits_of(dataset: Dataset, record: RecordKind, split: str) -> list[Split]:
    """The splits that `split` names: one, several joined by `+` (`eval+test`), or `all`.

    Raises:
      InputError: no such split, or no records of that kind.
    """
    if record not in dataset.records:
        received = f"a dataset with {', '.join(dataset.records)} records"
        fix = "name a dataset with such records, or a model of the others"
        raise InputError("--data", received, f"{record} records, which the model reads", fix)
    present = [name for name in SPLITS if name in dataset.records.get(record, {})]
    if split == "all":
        return present
    named = split.split("+")
    if not set(named) <= set(present):
        raise InputError(
            "--split", repr(split), f"one of {', '.join([*present, 'all'])}", "choose of these; join with +"
        )
    return [name for name in present if name in named]


def earlier_paths(
    data_dir: str | os.PathLike[str], dataset: Dataset, record: RecordKind, splits: Sequence[Split]
) -> list[str]:
    """Returns the shards of the splits before the first of these: what was known when it began."""
    present = splits_of(dataset, record, "all")
    return paths_of_splits(data_dir, dataset, record, present[: present.index(splits[0])])


def check_columns(model: FeatureSet, data: FeatureSet, record: RecordKind, where: str) -> None:
    """Compares the columns that a model reads with those that a dataset has.

    Raises:
      InputError: a column is missing or of another type.
    """
    have = {column.name: column for column in data.columns_of(record)}
    for column in request_columns(model, record):
        held = have.get(column.name)
        if held is None or _kind(held) != _kind(column):
            received = "no such column" if held is None else f"a column of {_kind(held)}"
            fix = "evaluate on a dataset of the source that the model was trained on"
            raise InputError(f"{where}, column {column.name!r}", received, _kind(column), fix)


def _kind(column: Column) -> str:
    number = " in lists" if column.variable_length else f", {column.width} values" if column.width else ""
    return f"type {column.dtype}{number}"


def score(
    model_dir: str | os.PathLike[str],
    data_dir: str | os.PathLike[str],
    split: str = "test",
    batch_size: int = 4096,
    progress: Callable[[int, int], None] | None = None,
    load: Load = Scorer,
) -> Scored:
    """Scores a split with an exported model.

    Args:
      model_dir: a SavedModel of `serving.export.export`.
      data_dir: a dataset.
      split: `train`, `eval`, `test`, several joined by `+`, or `all`.
      batch_size: records scored at once.
      progress: called with records done and records in all.
      load: loads the model.

    Raises:
      InputError: the model or the dataset is not one, they do not fit together, or a value is none that its column
        may have.
      GateRefused: the model's signatures do not give the trainer's answers; see `check_signatures`.
    """
    contract, dataset = read_contract(model_dir), load_dataset(data_dir)
    record: RecordKind = contract["record"]
    splits = splits_of(dataset, record, split)
    check_columns(FeatureSet.model_validate(contract["feature_set"]), dataset.feature_set, record, str(data_dir))
    dataset, changed = checked(data_dir, dataset, record, splits)
    check_values(data_dir, dataset, record, splits)
    files = paths_of_splits(data_dir, dataset, record, splits)
    total = sum(dataset.records[record][name].records for name in splits)
    extras = extra_columns(dataset.feature_set)
    scorer = load(model_dir)
    check_signatures(model_dir, scorer)
    scored = score_files(scorer, files, dataset.feature_set, record, extras, batch_size, total, progress)
    return replace(scored, dataset_sha256=dataset.sha256, changed_shards=tuple(changed))


def extra_columns(feature_set: FeatureSet) -> list[str]:
    """Returns the columns besides labels that metrics are computed from, as far as the data has them."""
    known = {column.name for column in feature_set.columns}
    return [name for name in (TRUTH, LOGGED_SCORE, WEIGHT) if name in known]


def check_signatures(model_dir: str | os.PathLike[str], scorer: Scorer) -> None:
    """Looks whether all signatures of a model give the trainer's answers, of which `score` asks one alone.

    Without golden records, as an earlier export may be, nothing is compared.

    Raises:
      GateRefused: they do not: what is evaluated is not what is served.
    """
    if (Path(model_dir) / GOLDEN_SCORES).is_file():
        # Those that need XLA are left to servers that have it: here it may be off.
        check_golden(model_dir, scorer.ask, signatures_with_flags(model_dir))


def retrieval_metrics(
    model_dir: str | os.PathLike[str],
    data_dir: str | os.PathLike[str],
    split: str = "test",
    exclude_seen: bool = False,
    resamples: int = 200,
    seed: int = 1,
    resample: Resample | None = None,
    baselines: bool = False,
) -> dict[str, Any]:
    """How often exported towers find what was clicked among all their items; empty for a model without a catalogue.

    Items have the values that they had when the split began: `catalogue_at`.

    Args:
      model_dir, data_dir, split: as in `score`, which has checked them.
      exclude_seen: leave out what a user was shown in the splits before.
      resamples, seed, resample: of the intervals, as in `metrics_of`, which has checked them.
      baselines: report those of `runs.baselines.retrieval`, too.

    Returns:
      What `retrieval_report` returns.
    """
    contract, dataset = read_contract(model_dir), load_dataset(data_dir)
    if "retrieval" not in contract:
        return {}
    record: RecordKind = contract["record"]
    features = FeatureSet.model_validate(contract["feature_set"])
    asked = splits_of(dataset, record, split)
    files = paths_of_splits(data_dir, dataset, record, asked)
    earlier = earlier_paths(data_dir, dataset, record, asked)
    then = catalogue_at(earlier, files, features, record, items_in(data_dir, dataset))
    items = catalogued_export(model_dir, then)
    seen = SeenItems(earlier, dataset.feature_set, record) if exclude_seen else None
    columns = [column.name for column in user_columns(features)]
    where = EvaluatedSplits(data_dir, dataset, features, record, tuple(asked))
    return retrieval_report(where, items, files, columns, seen, baselines, resamples, seed, resample)


def score_files(
    scorer: Callable[[Any], np.ndarray],
    files: Sequence[str],
    feature_set: FeatureSet,
    record: RecordKind,
    extras: Sequence[str],
    batch_size: int,
    total: int,
    progress: Callable[[int, int], None] | None = None,
    every: int = 1,
) -> Scored:
    """Scores raw records in the order of the files.

    Args:
      scorer: gives the scores of a batch of serialized records, `[B, ...]`.
      files: raw TFRecords.
      feature_set: of the dataset.
      record: `row` or `request`.
      extras: further columns to read, of `TRUTH`, `LOGGED_SCORE` and `WEIGHT`.
      batch_size: records scored at once.
      total: number of records.
      progress: called with records done and records in all.
      every: score one record of so many.
    """
    masks = (CANDIDATE, EXPOSED) if record == "request" else ()
    spec = parse_spec(feature_set, record, (LABEL, "request_id", "user_id", *masks, *extras))
    parts: list[dict[str, np.ndarray]] = []
    done = 0
    for examples in serialized(files, batch_size, every=every):
        columns = {name: value.numpy() for name, value in tf.io.parse_example(examples, spec).items()}
        columns["probability"] = scorer(examples)
        parts.append(columns)
        done += len(examples)
        if progress is not None:
            progress(done, total)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _requests_of(joined, extras) if record == "request" else _examples_of(joined, extras)


def _examples_of(columns: Mapping[str, np.ndarray], extras: Sequence[str]) -> Scored:
    return Scored(
        label=columns[LABEL],
        probability=columns["probability"],
        request_id=columns["request_id"],
        user_id=columns["user_id"],
        extra={name: columns[name] for name in extras},
    )


def _requests_of(columns: Mapping[str, np.ndarray], extras: Sequence[str]) -> Scored:
    candidate = columns[CANDIDATE] == 1
    shown = (columns[EXPOSED] == 1) & candidate
    requests = ScoredRequests(
        candidate=candidate,
        exposed=shown,
        label=columns[LABEL],
        probability=columns["probability"],
        user_id=columns["user_id"],
        extra={name: columns[name] for name in extras},
    )
    flat = {
        name: value[shown] if value.ndim >= shown.ndim else np.repeat(value, shown.sum(axis=1))
        for name, value in columns.items()
    }
    return replace(_examples_of(flat, extras), requests=requests)


def metrics_of(
    scored: Scored,
    resamples: int = 200,
    seed: int = 1,
    cut_offs: Sequence[int] = CUT_OFFS,
    definition: RankingDefinition = "standard",
    resample: Resample | None = None,
) -> dict[str, float]:
    """Metrics with confidence intervals; on simulated data also the oracle's and the logging policy's.

    Rows have the metrics of `evaluation.metrics.evaluate`, requests those of `evaluate_requests` there.

    Args:
      scored: of `score`.
      resamples: bootstrap resamples; 0: no intervals.
      seed: of the bootstrap.
      cut_offs: each k of `recall@k` and `ndcg@k`; requests only.
      definition: of these; requests only.
      resample: what the bootstrap draws, `user`, `request` or, of rows, `row`; None: the largest of which there are
        ids, as `metrics.evaluate` says.

    Raises:
      InputError: the truth or the logging policy's score is missing in some records, the model gives something else
        than probabilities, or what is to be drawn has no ids.
    """
    return prepared_of(scored, cut_offs, definition, resample).report(resamples, seed)


def prepared_of(
    scored: Scored,
    cut_offs: Sequence[int] = CUT_OFFS,
    definition: RankingDefinition = "standard",
    resample: Resample | None = None,
) -> Prepared:
    """Returns what the metrics are computed from; arguments and errors are those of `metrics_of`."""
    requests = scored.requests
    _check_resample(scored, resample)
    _check_probabilities(scored)
    if requests is not None:
        extra = {name: _complete(name, values, requests.candidate) for name, values in requests.extra.items()}
        return request_data(
            requests.probability,
            requests.candidate,
            requests.exposed,
            requests.label,
            extra.get(TRUTH),
            extra.get(LOGGED_SCORE),
            requests.user_id,
            cut_offs,
            definition,
            resample,
            requests.extra.get(WEIGHT),
        )
    extra = {name: _complete(name, values, np.True_) for name, values in scored.extra.items()}
    references = (extra.get(TRUTH), extra.get(LOGGED_SCORE))
    ids = (scored.user_id, scored.request_id)
    weight = scored.extra.get(WEIGHT)
    return row_data(scored.label, scored.probability, *ids, *references, resample, weight)


def _check_resample(scored: Scored, resample: Resample | None) -> None:
    kinds: list[Resample] = ["user", "request"] if scored.requests is not None else ["user", "request", "row"]
    ids = {"user": scored.user_id, "request": scored.request_id}
    known = [kind for kind in kinds if kind not in ids or (group_indices(ids[kind], len(ids[kind])) >= 0).any()]
    if resample is not None and resample not in known and len(scored.label):
        received = "no record has such an id" if resample in kinds else "the records are whole requests"
        raise InputError("--resample", f"{resample}, and {received}", " or ".join(known), "choose of these")


def _check_probabilities(scored: Scored) -> None:
    requests = scored.requests
    values = scored.probability if requests is None else requests.probability[requests.candidate]
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        what = "example" if requests is None else "candidate"
        received = f"{len(wrong)} of {len(values)} scores are no probabilities, the first, {values[wrong[0]]}, of"
        fix = "see which of its inputs the model cannot take; train it again"
        raise InputError("the model", f"{received} {what} {wrong[0]} of the split", "numbers in [0, 1]", fix)


def _complete(name: str, values: np.ndarray, needed: np.ndarray | np.bool_) -> np.ndarray:
    missing = int((np.isnan(values) & needed).sum())
    if missing:
        fix = "fill it in, or leave the column out, when the data is imported"
        raise InputError(f"column {name!r}", f"{missing} missing values", "a value for every real candidate", fix)
    return values
