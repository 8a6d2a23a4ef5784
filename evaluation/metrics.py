"""The table of offline metrics, and their evaluation with confidence intervals: of rows, and of whole requests.

Sample weights count in all metrics of what was shown, as if an example of weight 2 stood there twice; of the means over
users and requests those of `gauc_user` alone are weighted. Ranking metrics at k and metrics against the truth of all
candidates take no weights: they compare places in a list and whole lists, of which each counts alike.

To add a metric, add an entry to `METRICS`: its keys, what it needs, and a function from the data to a `Statistic`.

The truth of a shown candidate is its probability of a click at its position beside the other items shown. That of a
candidate which was not shown is conditional on a hypothetical page: in the simulated worlds, the logged page with this
candidate in the place of its middle item; in a ratings matrix it follows from the rating alone, whatever the page.
A prediction for another page (the top position, say) is ranked fairly by the AUCs, but its `calibration_unexposed`
differs from 1 for that reason alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.bootstrap import Statistic, with_intervals
from evaluation.entire_space import LOGGING, MODEL, ORACLE, EntireSpace
from evaluation.pointwise import checked
from evaluation.ranking import CUT_OFFS, RankingDefinition, RequestRanking
from evaluation.requests import RequestArrays, request_arrays
from evaluation.statistics import Auc, GroupedAucs, PointwiseSums
from evaluation.units import MISSING, Resample, Units, group_indices, units_of, without_gaps, without_id

Need = Literal["user", "request", "truth", "logging_score", "candidates"]
"""What a metric may need beside labels and predictions; `candidates`: those that were not shown, too."""


@dataclass(frozen=True)
class RequestData:
    """Requests with all their candidates.

    Args:
      arrays: of R requests.
      unit: index of each request's unit, `[R]`.
      cut_offs, definition: of `recall@k` and `ndcg@k`.
    """

    arrays: RequestArrays
    unit: np.ndarray
    cut_offs: Sequence[int]
    definition: RankingDefinition

    def unit_of_candidates(self) -> np.ndarray:
        """Returns the unit of each real candidate, request by request."""
        return self.unit[np.repeat(np.arange(len(self.unit)), self.arrays.candidate.sum(axis=1))]


@dataclass(frozen=True)
class EvaluationData:
    """What metrics are computed from: n examples that were shown, and the requests that they belong to.

    Args:
      label: in [0, 1], `[n]`.
      probability: `[n]`.
      user: index of each example's user, from 0 without gaps, -1 = missing, `[n]`.
      request: likewise.
      unit: index of each example's bootstrap unit, `[n]`.
      num_units: U, also those without examples.
      scores: other scores of the same examples, by `ORACLE` (the truth) and `LOGGING`, `[n]` each.
      requests: all candidates; None: the data are rows.
      weight: of each example, `[n]`; None weights all alike.
    """

    label: np.ndarray
    probability: np.ndarray
    user: np.ndarray
    request: np.ndarray
    unit: np.ndarray
    num_units: int
    scores: Mapping[str, np.ndarray]
    requests: RequestData | None = None
    weight: np.ndarray | None = None

    def has(self, need: Need) -> bool:
        """Returns True if the data offer what a metric needs."""
        if need in ("user", "request"):
            return bool(((self.user if need == "user" else self.request) >= 0).any())
        if need == "candidates":
            return self.requests is not None
        return {"truth": ORACLE, "logging_score": LOGGING}[need] in self.scores

    @property
    def all_candidates(self) -> RequestData:
        """The requests.

        Raises:
          ValueError: the data are rows.
        """
        if self.requests is None:
            raise ValueError("the data are rows; expected requests; list `candidates` among the needs of the metric")
        return self.requests


@dataclass(frozen=True)
class Metric:
    """An entry of the table: one metric, or several that are computed together.

    Args:
      keys: what each key means; `@k` stands for one key for each cut-off.
      statistic: prepares the data.
      needs: the metric is left out of data that lack one of these.
    """

    keys: Mapping[str, str]
    statistic: Callable[[EvaluationData], Statistic]
    needs: tuple[Need, ...] = ()


def _request_ranking(data: EvaluationData) -> Statistic:
    requests = data.all_candidates
    arrays, unit = requests.arrays, requests.unit
    ranking = RequestRanking(
        arrays.probability, arrays.candidate, arrays.clicks, requests.cut_offs, requests.definition
    )
    return lambda counts: ranking(counts[unit])


def _entire_space(data: EvaluationData) -> Statistic:
    arrays, unit = data.all_candidates.arrays, data.all_candidates.unit_of_candidates()
    return EntireSpace(arrays.scores, arrays.scores[ORACLE], arrays.shown[arrays.candidate], unit)


def _unexposed(data: EvaluationData) -> Statistic:
    arrays, unit = data.all_candidates.arrays, data.all_candidates.unit_of_candidates()
    hidden = ~arrays.shown[arrays.candidate]
    keys = {name: f"{name}_unexposed" for name in ("logloss", "ece", "calibration")}
    truth, probability = arrays.scores[ORACLE][hidden], arrays.scores[MODEL][hidden]
    return PointwiseSums(truth, probability, unit[hidden], data.num_units, keys)


METRICS: tuple[Metric, ...] = (
    Metric(
        {"auc": "share of the pairs of a click and a non-click that are in order, ties one half"},
        lambda data: Auc("auc", data.label, data.probability, data.unit, data.weight),
    ),
    Metric(
        {
            "logloss": "mean log loss",
            "ne": "log loss over that of always predicting the click rate",
            "ece": "mean gap between prediction and click rate in 15 bins of equal size",
            "calibration": "sum of predictions over clicks",
        },
        lambda data: PointwiseSums(data.label, data.probability, data.unit, data.num_units, weight=data.weight),
    ),
    Metric(
        {
            "gauc_user": "mean of the users' AUCs, weighted by impressions",
            "uauc": "mean of the users' AUCs",
        },
        lambda data: GroupedAucs(data.user, data.label, data.probability, data.unit, "uauc", "gauc_user", data.weight),
        needs=("user",),
    ),
    Metric(
        {"gauc_request": "unweighted mean of the AUCs within requests"},
        lambda data: GroupedAucs(
            data.request, data.label, data.probability, data.unit, "gauc_request", weight=data.weight
        ),
        needs=("request",),
    ),
    Metric(
        {"oracle_auc": "AUC of the true probability"},
        lambda data: Auc("oracle_auc", data.label, data.scores[ORACLE], data.unit, data.weight),
        needs=("truth",),
    ),
    Metric(
        {"logging_policy_auc": "AUC of the logging policy's score"},
        lambda data: Auc("logging_policy_auc", data.label, data.scores[LOGGING], data.unit, data.weight),
        needs=("logging_score",),
    ),
    Metric(
        {
            "recall@k": "share of the clicked items in the top k, by request; see `--ranking-definition`",
            "ndcg@k": "discounted gain of the clicked items in the top k, by request; see `--ranking-definition`",
        },
        _request_ranking,
        needs=("candidates",),
    ),
    Metric(
        {
            "auc_entire": "AUC over all pairs of real candidates, the truth as soft label",
            "auc_unexposed": "the same over those not shown",
            "auc_exposed_truth": "the same over those shown",
            "oracle_auc_entire": "`auc_entire` of the truth itself as the score: the upper bound of any model",
            "oracle_auc_unexposed": "`auc_unexposed` of the truth itself as the score",
            "logging_auc_entire": "`auc_entire` of the policy that chose what was shown",
            "logging_auc_unexposed": "`auc_unexposed` of the policy that chose what was shown",
            "gap_closed": "(model - logging policy) / (oracle - logging policy) of `auc_entire`",
            "gap_closed_unexposed": "the same of `auc_unexposed`",
        },
        _entire_space,
        needs=("candidates", "truth"),
    ),
    Metric(
        {
            "logloss_unexposed": "log loss of predictions on candidates not shown, against the truth",
            "ece_unexposed": "their calibration error",
            "calibration_unexposed": "their sum over that of the truth",
        },
        _unexposed,
        needs=("candidates", "truth"),
    ),
)
"""All metrics, in the order of reports."""


def evaluate(
    label: np.ndarray,
    probability: np.ndarray,
    user_id: np.ndarray | None = None,
    request_id: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    logging_score: np.ndarray | None = None,
    resamples: int = 200,
    seed: int = 1,
    resample: Resample | None = None,
    weight: np.ndarray | None = None,
) -> dict[str, float]:
    """Returns the metrics of rows, each with a 95 % bootstrap interval, `<key>_low` to `<key>_high`.

    `METRICS` lists them; those that need `candidates` are of requests alone. The bootstrap draws users with all their
    rows: the rows of one user are not independent, so that intervals over requests or rows are too narrow where users
    come again. Rows without a user are drawn by request, and those without a request one by one; `resampled_users`,
    `resampled_requests` and `resampled_rows` are the numbers of units of each kind.

    A metric that is not defined (one class only, no groups with both, no ids) is left out. Where some rows lack an
    id, metrics by it leave them out, and `rows_without_user` and `rows_without_request` are their numbers.

    Args:
      label: in [0, 1], `[n]`; of requests, the exposed candidates only.
      probability: `[n]`.
      user_id: bytes, strings or numbers, `[n]`; `group_indices` defines which are missing; None: no metrics by user.
      request_id: likewise; None: no metrics by request.
      truth: the true probability or any score that stands for it, `[n]`; None: not known.
      logging_score: by which the logging policy ordered, `[n]`; None: not known.
      resamples: number of bootstrap resamples; 0: no intervals.
      seed: of the bootstrap.
      resample: the unit that is drawn, `user`, `request` or `row`; None: the largest with ids.
      weight: of each row, finite and not negative, `[n]`; None weights all alike.

    Raises:
      ValueError: lengths differ, a value is outside its domain, or the units to draw have no ids.
    """
    prepared = row_data(label, probability, user_id, request_id, truth, logging_score, resample, weight)
    return prepared.report(resamples, seed)


def row_data(
    label: np.ndarray,
    probability: np.ndarray,
    user_id: np.ndarray | None = None,
    request_id: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    logging_score: np.ndarray | None = None,
    resample: Resample | None = None,
    weight: np.ndarray | None = None,
) -> "Prepared":
    """Returns what `evaluate` computes its metrics from; arguments and errors are those of `evaluate`."""
    label, probability, checked_weight = checked(label, probability, weight)
    size = len(label)
    user = None if user_id is None else group_indices(user_id, size)
    request = None if request_id is None else group_indices(request_id, size)
    groups: dict[Resample, np.ndarray] = {
        "user": np.full(size, MISSING) if user is None else user,
        "request": np.full(size, MISSING) if request is None else request,
    }
    units = units_of(size, groups, resample)
    references = ((ORACLE, truth), (LOGGING, logging_score))
    scores = {whose: checked(label, score, None, scores=True)[1] for whose, score in references if score is not None}
    data = EvaluationData(
        label,
        probability,
        groups["user"],
        groups["request"],
        units.index,
        len(units),
        scores,
        weight=None if weight is None else checked_weight,
    )
    left_out = without_id("user", "rows", user) | without_id("request", "rows", request)
    return Prepared(data, units, left_out)


def evaluate_requests(
    probability: np.ndarray,
    candidate: np.ndarray,
    exposed: np.ndarray,
    label: np.ndarray,
    truth: np.ndarray | None = None,
    logging_score: np.ndarray | None = None,
    user_id: np.ndarray | None = None,
    cut_offs: Sequence[int] = CUT_OFFS,
    definition: RankingDefinition = "standard",
    resamples: int = 200,
    seed: int = 1,
    resample: Resample | None = None,
    weight: np.ndarray | None = None,
) -> dict[str, float]:
    """Returns the metrics of R requests of M candidates: those of rows on what was shown, and those of all candidates.

    `METRICS` lists them. Each has a 95 % bootstrap interval, `<key>_low` to `<key>_high`, over users with all their
    requests, or over requests where there are no users; `evaluate` says why, and what `resampled_users` and
    `resampled_requests` are. A metric that is not defined (one class only, nothing shown, no truth) is left out.
    Metrics by user leave out `requests_without_user`, where there are some. Padding has no influence.

    Args:
      probability: in [0, 1], `[R, M]`.
      candidate: True = real, False = padding, `[R, M]`.
      exposed: True = shown, `[R, M]`.
      label: in [0, 1], `[R, M]`; read where shown only.
      truth: true probability of a click, `[R, M]`; None: not known.
      logging_score: by which the logging policy ordered, `[R, M]`; None: not known.
      user_id: bytes, strings or numbers, `[R]`; `group_indices` defines which are missing; None: no metrics by user.
      cut_offs: each k of `recall@k` and `ndcg@k`.
      definition: of these, `standard` or `recflow`.
      resamples: number of bootstrap resamples; 0: no intervals.
      seed: of the bootstrap.
      resample: the unit that is drawn, `user` or `request`; None: users where there are ids.
      weight: of each candidate, finite and not negative where shown, `[R, M]`; None weights all alike.

    Raises:
      ValueError: shapes differ, a value is outside its domain, or the units to draw have no ids.
    """
    prepared = request_data(
        probability,
        candidate,
        exposed,
        label,
        truth,
        logging_score,
        user_id,
        cut_offs,
        definition,
        resample,
        weight,
    )
    return prepared.report(resamples, seed)


def request_data(
    probability: np.ndarray,
    candidate: np.ndarray,
    exposed: np.ndarray,
    label: np.ndarray,
    truth: np.ndarray | None = None,
    logging_score: np.ndarray | None = None,
    user_id: np.ndarray | None = None,
    cut_offs: Sequence[int] = CUT_OFFS,
    definition: RankingDefinition = "standard",
    resample: Resample | None = None,
    weight: np.ndarray | None = None,
) -> "Prepared":
    """Returns what `evaluate_requests` computes its metrics from; arguments and errors are those of that function."""
    arrays = request_arrays(probability, candidate, exposed, label, truth, logging_score)
    count, shown = len(arrays.candidate), arrays.shown
    user = np.full(count, MISSING) if user_id is None else group_indices(user_id, count)
    units = units_of(count, {"user": user}, resample, smallest="request")
    request = np.repeat(np.arange(count), shown.sum(axis=1))
    data = EvaluationData(
        arrays.clicks[shown],
        arrays.probability[shown],
        without_gaps(user[request]),
        without_gaps(request),
        units.index[request],
        len(units),
        {whose: score[shown[arrays.candidate]] for whose, score in arrays.scores.items() if whose != MODEL},
        RequestData(arrays, units.index, cut_offs, definition),
        None if weight is None else checked(arrays.clicks[shown], arrays.probability[shown], weight[shown])[2],
    )
    return Prepared(data, units, without_id("user", "requests", user))


@dataclass(frozen=True)
class Prepared:
    """Checked data, ready for metrics.

    Args:
      data: what metrics are computed from.
      units: of the bootstrap.
      left_out: number of rows or requests without an id, by the key to report it under.
    """

    data: EvaluationData
    units: Units
    left_out: Mapping[str, float]

    def report(self, resamples: int, seed: int) -> dict[str, float]:
        """Returns the metrics with their intervals, and what was resampled."""
        values = with_intervals(statistics_of(self.data), len(self.units), resamples, seed)
        return {**values, **self.left_out, **(self.units.counts() if resamples and values else {})}


def statistics_of(data: EvaluationData) -> list[Statistic]:
    """Returns the metrics that the data define, in the order of `METRICS`."""
    return [metric.statistic(data) for metric in METRICS if all(map(data.has, metric.needs))]
