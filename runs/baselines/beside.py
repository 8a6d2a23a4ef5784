"""Baselines beside an exported model: fitted on the train split of the dataset that it is evaluated on."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.comparison import BaselineScores, compare
from runs.baselines.cache import FITTED_ON, Predictions, cached, files_identity
from runs.baselines.ranking import LOGGING_POLICY, Encode, Reader, Split, predict
from runs.baselines.verdict import reported
from runs.evaluate import LOGGED_SCORE, Load, Scored, check_columns, prepared_of, retrieval_metrics, score, splits_of
from serving.contract import read_contract
from serving.export.signatures import EXAMPLES, TRANSFORM
from serving.loading import Scorer
from transforms.features import FeatureSet, RecordKind
from transforms.records import Dataset, load_dataset, paths_of_splits, shard_paths


def ranking_baselines(
    model_dir: str | os.PathLike[str],
    data_dir: str | os.PathLike[str],
    split: str,
    load: Load = Scorer,
    train_dir: str | os.PathLike[str] | None = None,
) -> Predictions | None:
    """Returns what simple models predict for a split, on the features of an exported model.

    Args:
      model_dir, data_dir, split, load: as in `runs.evaluate.score`, which has checked them.
      train_dir: dataset to fit them on; None: the one that is evaluated.

    Returns:
      None where the dataset has no train and eval split to fit them on, or the model no `transform_features`; also
      where they would be fitted on what is evaluated, which is another dataset than the model was trained on.
    """
    contract, dataset = read_contract(model_dir), load_dataset(data_dir)
    record: RecordKind = contract["record"]
    features = FeatureSet.model_validate(contract["feature_set"])
    # The transform was learned on the data that the model was trained on, which may be other data.
    learned_on = contract.get("run", {}).get("dataset_sha256", "")

    def encode() -> Encode | None:
        scorer = load(model_dir)
        return (lambda examples: scorer.ask(TRANSFORM, {EXAMPLES: examples})) if scorer.has(TRANSFORM) else None

    asked = splits_of(dataset, record, split)
    if train_dir is None and dataset.sha256 != learned_on and set(asked) & set(FITTED_ON):
        return None
    files = paths_of_splits(data_dir, dataset, record, asked)
    fit_dir = data_dir if train_dir is None else train_dir
    fitted_on = dataset if train_dir is None else load_dataset(train_dir)
    check_columns(features, fitted_on.feature_set, record, str(fit_dir))
    return predictions(fit_dir, fitted_on, features, record, encode, files, {"learned_on": learned_on})


def predictions(
    data_dir: str | os.PathLike[str],
    dataset: Dataset,
    features: FeatureSet,
    record: RecordKind,
    encode: Callable[[], Encode | None],
    files: Sequence[str],
    identity: Mapping[str, Any],
    every: int = 1,
) -> Predictions | None:
    """Returns what baselines predict for some files, from the cache where it was computed before.

    Args:
      data_dir, dataset: to fit them on.
      features: of the model.
      record: `row` or `request`.
      encode: makes the learned transform, or None where there is none; called where there is work for it.
      files: TFRecords to predict for.
      identity: of the learned transform, besides the features.
      every: predict for one record of so many.
    """
    known = dataset.records.get(record, {})
    if any(name not in known or not known[name].examples for name in FITTED_ON):
        return None
    fitted_on = (Split(shard_paths(data_dir, dataset, record, name), known[name].examples) for name in FITTED_ON)
    train, held_out = fitted_on
    read = [*train.files, *held_out.files, *files]
    identity = {
        **identity,
        "dataset_sha256": dataset.sha256,
        "files": files_identity(data_dir, read),
        "features": features.digest(),
        "record": record,
        "every": every,
        "predicted": [os.path.relpath(one, data_dir) for one in files],
    }

    def make() -> Predictions:
        transform = encode()
        if transform is None:
            return Predictions({})
        reader = Reader(dataset.feature_set, features.model_inputs(record), record, transform)
        return predict(reader, train, held_out, files, every)

    made = cached(Path(data_dir), identity, make)
    return made if made.arrays else None


def scores_of(scored: Scored, fitted: Predictions | None) -> dict[str, BaselineScores]:
    """Returns the baselines' scores for what a model was evaluated on, the logging policy's among them.

    Args:
      scored: the model's.
      fitted: of `ranking_baselines`.
    """
    scores = {name: BaselineScores(values) for name, values in ({} if fitted is None else fitted.arrays).items()}
    logged = scored.extra if scored.requests is None else scored.requests.extra
    if LOGGED_SCORE in logged:
        scores[LOGGING_POLICY] = BaselineScores(np.asarray(logged[LOGGED_SCORE]), are_probabilities=False)
    return scores


def on_split(model_dir: str | os.PathLike[str], data_dir: str | os.PathLike[str], split: str) -> dict[str, Any]:
    """Returns metrics of an exported model on a split, with `baselines`, `gain` and perhaps `warnings`.

    Of towers the metrics are those of retrieval. Arguments are those of `runs.evaluate.score`.
    """
    retrieval = retrieval_metrics(model_dir, data_dir, split, baselines=True)
    if retrieval:
        return {"split": split, **retrieval}
    load = lru_cache(maxsize=1)(Scorer)
    scored = score(model_dir, data_dir, split, load=load)
    fitted = ranking_baselines(model_dir, data_dir, split, load)
    comparison = compare(prepared_of(scored), scores_of(scored, fitted))
    return {"split": split, **comparison.metrics, **reported(comparison, {} if fitted is None else fitted.notes)}
