"""AUCs over all candidates of requests, shown or not, where the truth is known (simulated worlds)."""

from collections.abc import Mapping

import numpy as np

from evaluation.ranks import PooledAuc

MODEL, ORACLE, LOGGING = "", "oracle_", "logging_"
_LEAST_GAP = 1e-9
"""Below it the logging policy equals the oracle up to rounding, and there is no gap to close."""


class EntireSpace:
    """AUCs over the whole candidate space, with the truth as soft label, and the share of the gap closed.

    Over all pairs (i, j) of real candidates, of one request or of two, with truth p and score s:

        auc_entire = sum p_i (1 - p_j) [s_i > s_j] / sum p_i (1 - p_j)        (ties 1/2)

    which is the expectation over labels drawn from p, taken above and below the line. `auc_unexposed` is the
    same over the candidates that were not shown, `auc_exposed_truth` over those that were. `oracle_` is
    the truth as score, which no score exceeds; `logging_` the logging policy's score.

        gap_closed = (auc_entire - logging_auc_entire) / (oracle_auc_entire - logging_auc_entire)

    and `gap_closed_unexposed` likewise: 0 is as good as the logging policy, 1 as the oracle.

    Args:
      scores: by whose scores they are: `MODEL` always, `ORACLE` and `LOGGING` where known; `[n]` each.
      truth: probability of a click, in [0, 1], `[n]`.
      exposed: True = shown, `[n]`.
      unit: index of each candidate's bootstrap unit, `[n]`.
    """

    def __init__(self, scores: Mapping[str, np.ndarray], truth: np.ndarray, exposed: np.ndarray, unit: np.ndarray):
        self._pools: dict[str, PooledAuc] = {}
        for whose, score in scores.items():
            order = np.argsort(score)
            shown = exposed[order]
            self._pools[f"{whose}auc_entire"] = PooledAuc(order, score, truth, unit)
            self._pools[f"{whose}auc_unexposed"] = PooledAuc(order[~shown], score, truth, unit)
            if whose == MODEL:
                self._pools["auc_exposed_truth"] = PooledAuc(order[shown], score, truth, unit)

    def __call__(self, counts: np.ndarray) -> dict[str, float | None]:
        values = {key: pool.auc(counts) for key, pool in self._pools.items()}
        for space, key in (("entire", "gap_closed"), ("unexposed", "gap_closed_unexposed")):
            aucs = (values.get(f"{whose}auc_{space}") for whose in (MODEL, ORACLE, LOGGING))
            values[key] = _share_closed(*aucs)
        return values


def _share_closed(model: float | None, oracle: float | None, logging: float | None) -> float | None:
    if model is None or oracle is None or logging is None or oracle - logging < _LEAST_GAP:
        return None
    return (model - logging) / (oracle - logging)
