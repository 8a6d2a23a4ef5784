"""All offline metrics of request records: on what was shown, and over the whole candidate space.

The truth of a shown candidate is its probability of a click at its position beside the other items
shown. That of a candidate which was not shown is conditional on a page that never was: in the simulator
(`transforms/simulation/clicks.py`), the logged page with this candidate in the place of its middle item.
Of a ratings matrix it is that of a yes by the rating alone, whatever the page.
A prediction that means another page (the top position, say) is ranked fairly by the AUCs, but its
`calibration_unexposed` differs from 1 for that alone.
"""

from collections.abc import Sequence

import numpy as np

from models.training.entire_space import LOGGING, MODEL, ORACLE, EntireSpace
from models.training.grouped import group_indices
from models.training.metrics import exposed_parts
from models.training.ranking_metrics import CUT_OFFS, RankingDefinition, RequestRanking
from models.training.request_arrays import RequestArrays, request_arrays
from models.training.resampling import Overall, Part, Sums, with_intervals
from models.training.units import Resample, Units, units_of, without_id


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
) -> dict[str, float]:
    """All metrics of R requests of M candidates; `metrics.evaluate` has those of rows.

    * On the shown candidates: `auc`, `logloss`, `ne`, `ece`, `calibration`, `gauc_user`, `uauc`,
      `gauc_request`; `oracle_auc` and `logging_policy_auc`, the AUC of the truth and of the logging policy.
    * Over all real candidates, the clicked ones as positives: `recall@k`, `ndcg@k` (`RequestRanking`).
    * With the truth as soft label: `auc_entire`, `auc_unexposed`, `auc_exposed_truth`, the oracle's and the
      logging policy's values, `gap_closed`, `gap_closed_unexposed` (`EntireSpace`).
    * Predictions on candidates that were not shown, against the truth: `logloss_unexposed`,
      `ece_unexposed`, `calibration_unexposed`.

    Each has a 95 % bootstrap interval, `<key>_low` to `<key>_high`, over users, with all their requests, and over
    requests where there are no users: `metrics.evaluate` says why, and what `resampled_users` and
    `resampled_requests` are. A metric that is not defined (one class only, nothing shown, no truth) is left out.
    Metrics by user leave out `requests_without_user`, where there are some. Padding has no influence.

    Args:
      probability: in [0, 1], `[R, M]`.
      candidate: True = real, False = padding, `[R, M]`.
      exposed: True = shown, `[R, M]`.
      label: in [0, 1], `[R, M]`; read where shown only.
      truth: true probability of a click, `[R, M]`; None: not known.
      logging_score: by which the logging policy ordered, `[R, M]`; None: not known.
      user_id: bytes, strings or numbers, `[R]`; `group_indices` tells which are missing; None: no metrics by user.
      cut_offs: each k of `recall@k` and `ndcg@k`.
      definition: of these, `standard` or `recflow`.
      resamples: bootstrap resamples; 0: no intervals.
      seed: of the bootstrap.
      resample: what is drawn, `user` or `request`; None: users where there are ids.

    Raises:
      ValueError: shapes differ, a value is outside its domain, or there are no ids of what is to be drawn.
    """
    arrays = request_arrays(probability, candidate, exposed, label, truth, logging_score)
    requests = len(arrays.candidate)
    user = np.full(requests, -1) if user_id is None else group_indices(user_id, requests)
    units = units_of(requests, {"user": user}, resample, smallest="request")
    parts = _parts_of_shown(arrays, user, units)
    ranking = RequestRanking(arrays.probability, arrays.candidate, arrays.clicks, cut_offs, definition)
    parts.append(lambda counts: ranking(counts[units.index]))
    if ORACLE in arrays.scores:
        parts += _parts_of_truth(arrays, units)
    found = with_intervals(parts, len(units), resamples, seed)
    left_out = without_id("user", "requests", user)
    return found | left_out | units.told() if resamples and found else found | left_out


def _parts_of_shown(arrays: RequestArrays, user: np.ndarray, units: Units) -> list[Part]:
    shown, requests = arrays.shown, len(arrays.shown)
    label = arrays.clicks[shown]
    request = np.repeat(np.arange(requests), shown.sum(axis=1))
    unit = units.index[request]
    groups = _without_gaps(user[request]), _without_gaps(request)
    parts = exposed_parts(label, arrays.probability[shown], *groups, unit, len(units))
    for whose, key in ((ORACLE, "oracle_auc"), (LOGGING, "logging_policy_auc")):
        if whose in arrays.scores:
            parts.append(Overall(key, label, arrays.scores[whose][shown[arrays.candidate]], unit))
    return parts


def _parts_of_truth(arrays: RequestArrays, units: Units) -> list[Part]:
    candidate, scores = arrays.candidate, arrays.scores
    unit = units.index[np.repeat(np.arange(len(candidate)), candidate.sum(axis=1))]
    shown, truth = arrays.shown[candidate], scores[ORACLE]
    keys = {name: f"{name}_unexposed" for name in ("logloss", "ece", "calibration")}
    sums = Sums(truth[~shown], scores[MODEL][~shown], unit[~shown], len(units), keys)
    return [EntireSpace(scores, truth, shown, unit), sums]


def _without_gaps(group: np.ndarray) -> np.ndarray:
    """Group indices from 0 without gaps; -1, which is missing, stays."""
    distinct, index = np.unique(group, return_inverse=True)
    return index - 1 if len(distinct) and distinct[0] < 0 else index
