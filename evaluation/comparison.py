"""A model beside baselines on the same examples: their metrics, and paired differences with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluation.bootstrap import Statistic, with_intervals
from evaluation.entire_space import MODEL
from evaluation.metrics import EvaluationData, Prepared, statistics_of

HIGHER_IS_BETTER = {
    "auc": True,
    "logloss": False,
    "ne": False,
    "gauc_user": True,
    "uauc": True,
    "gauc_request": True,
    "recall": True,
    "ndcg": True,
    "auc_entire": True,
    "auc_unexposed": True,
    "logloss_unexposed": False,
    "catalogue_recall": True,
    "true_value": True,
}
"""The metrics of which a gain is reported, by name without `@k`."""
_OF_PROBABILITIES = ("logloss", "ne", "ece", "calibration")


@dataclass(frozen=True)
class BaselineScores:
    """What a baseline predicts for the examples that a model is evaluated on.

    Args:
      values: one for each example, `[n]`, or for each candidate of requests, `[R, M]`.
      are_probabilities: False for scores that only order; these have no log loss and no calibration.
    """

    values: np.ndarray
    are_probabilities: bool = True


@dataclass(frozen=True)
class Comparison:
    """Metrics of a model and of baselines, each with the ends of its interval as `<key>_low` and `<key>_high`.

    Args:
      metrics: of the model.
      baselines: metrics by the baseline's name.
      gain: by the baseline's name and metric, how much better the model is: positive where the model is better, also
        for metrics of which less is better. The interval is that of the difference on the same examples.
    """

    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    gain: dict[str, dict[str, float]]


def compare(
    prepared: Prepared, baselines: Mapping[str, BaselineScores], resamples: int = 200, seed: int = 1
) -> Comparison:
    """Compares a model with baselines by the metrics of `METRICS`.

    Args:
      prepared: the model's predictions, of `row_data` or `request_data`.
      baselines: scores by name.
      resamples, seed: of the bootstrap; model and baselines have the same draws.
    """
    data = {name: _with_scores(prepared.data, scores) for name, scores in baselines.items()}
    statistics = {name: statistics_of(one) for name, one in data.items()}
    result = compare_statistics(statistics_of(prepared.data), statistics, len(prepared.units), resamples, seed)
    for name, scores in baselines.items():
        if not scores.are_probabilities:
            result.baselines[name] = _without_probabilities(result.baselines[name])
            result.gain[name] = _without_probabilities(result.gain[name])
    counts = prepared.units.counts() if resamples and result.metrics else {}
    return replace(result, metrics={**result.metrics, **prepared.left_out, **counts})


def compare_statistics(
    model: Sequence[Statistic],
    baselines: Mapping[str, Sequence[Statistic]],
    num_units: int,
    resamples: int,
    seed: int,
) -> Comparison:
    """Compares statistics of a model with the same statistics of baselines.

    Args:
      model, baselines: what is computed of the drawn units, the baselines' by name.
      num_units: U.
      resamples, seed: of the bootstrap.
    """

    def paired(counts: np.ndarray) -> dict[str, float | None]:
        metrics = _values(model, counts)
        result: dict[str, float | None] = {f"metrics/{key}": value for key, value in metrics.items()}
        for name, statistics in baselines.items():
            others = _values(statistics, counts)
            result |= {f"{name}/value/{key}": value for key, value in others.items() if _is_of_model(key)}
            result |= {f"{name}/gain/{key}": value for key, value in _gains(metrics, others).items()}
        return result

    parts: dict[str, dict[str, float]] = {}
    for key, value in with_intervals([paired], num_units, resamples, seed).items():
        part, _, metric = key.rpartition("/")
        parts.setdefault(part, {})[metric] = value
    return Comparison(
        parts.get("metrics", {}),
        {name: parts.get(f"{name}/value", {}) for name in baselines},
        {name: parts.get(f"{name}/gain", {}) for name in baselines},
    )


def _values(statistics: Sequence[Statistic], counts: np.ndarray) -> dict[str, float]:
    values = {key: value for statistic in statistics for key, value in statistic(counts).items()}
    return {key: value for key, value in values.items() if value is not None}


def _is_of_model(key: str) -> bool:
    """Returns False for metrics of the oracle, the logging policy and chance, which are the same beside every model."""
    return not key.startswith(("oracle_", "logging_", "random_"))


def _gains(metrics: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    gains = {}
    for key in metrics.keys() & others.keys():
        higher = HIGHER_IS_BETTER.get(key.partition("@")[0])
        if higher is not None:
            gains[key] = metrics[key] - others[key] if higher else others[key] - metrics[key]
    return {key: gains[key] for key in metrics if key in gains}


def _without_probabilities(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if key.partition("_")[0] not in _OF_PROBABILITIES}


def _with_scores(data: EvaluationData, scores: BaselineScores) -> EvaluationData:
    """Returns the data with other predictions."""
    values = np.asarray(scores.values, np.float64)
    if data.requests is None:
        _check_shape(values, data.probability)
        return replace(data, probability=values if scores.are_probabilities else _shares(values))
    arrays = data.requests.arrays
    _check_shape(values, arrays.probability)
    if not scores.are_probabilities:
        ordered = np.zeros(values.shape)
        ordered[arrays.candidate] = _shares(values[arrays.candidate])
        values = ordered
    changed = replace(arrays, probability=values, scores={**arrays.scores, MODEL: values[arrays.candidate]})
    return replace(data, probability=values[arrays.shown], requests=replace(data.requests, arrays=changed))


def _shares(values: np.ndarray) -> np.ndarray:
    """Returns numbers in [0, 1] in the same order, equal where the values are equal."""
    distinct, place = np.unique(values, return_inverse=True)
    return place / max(len(distinct), 1)


def _check_shape(values: np.ndarray, expected: np.ndarray) -> None:
    if values.shape != expected.shape:
        raise ValueError(
            f"scores of a baseline have shape {values.shape}; expected that of the model's predictions, "
            f"{expected.shape}; score the same examples"
        )
