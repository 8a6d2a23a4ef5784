"""What is measured of the logits of a stream."""

from collections.abc import Mapping

import numpy as np
from scipy import stats

from evaluation.pointwise import auc, logloss
from experiments.cs3.stream import Stream

SLICES = 20
"""Parts of the stream, equally long, of which the course is told."""
_GROUPS_AT_MOST = 2000


def measured(
    towers: np.ndarray, ranker: np.ndarray, stream: Stream, cold: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Metrics of the towers and of the ranker on the same rows.

    Args:
      towers, ranker: logits `[R]`.
      stream: that they are of.
      cold: masks by name, `[R]`.

    Returns:
      `auc`, `logloss` of the towers, `ranker_auc`, `ranker_logloss`; `kendall_tau` of the two; `auc_<mask>` of the
      towers and `share_<mask>` for each mask; with the truth `auc_truth`, `ranker_auc_truth` and `auc_truth_<mask>`,
      that expect labels to be drawn from it, and `oracle_auc`, `oracle_auc_truth`, of the truth as score. What is
      not defined is left out.
    """
    found: dict[str, float | None] = {
        **{f"{whose}{key}": value for whose, own in (("", towers), ("ranker_", ranker))
           for key, value in of_one(own, stream).items()},
        "kendall_tau": kendall(towers, ranker, stream.group),
    }  # fmt: skip
    if stream.truth is not None:
        truth = np.asarray(stream.truth, np.float64)
        found |= {"oracle_auc": auc(stream.label, truth), "oracle_auc_truth": auc(truth, truth)}
    for name, mask in cold.items():
        found |= {f"share_{name}": float(mask.mean()), f"auc_{name}": auc(stream.label[mask], towers[mask])}
        if stream.truth is not None:
            found[f"auc_truth_{name}"] = auc(np.asarray(stream.truth, np.float64)[mask], towers[mask])
    return {key: value for key, value in found.items() if value is not None}


def of_one(logits: np.ndarray, stream: Stream) -> dict[str, float | None]:
    """`auc`, `logloss` and, with the truth, `auc_truth` of logits `[R]`; None where one is not defined."""
    logits = np.asarray(logits, np.float64)
    label = np.asarray(stream.label, np.float64)
    found = {"auc": auc(label, logits), "logloss": logloss(label, 1 / (1 + np.exp(-logits)))}
    if stream.truth is not None:
        found["auc_truth"] = auc(np.asarray(stream.truth, np.float64), logits)
    return found


def kendall(one: np.ndarray, other: np.ndarray, group: np.ndarray) -> float | None:
    """Mean over groups of Kendall's tau-b between two scores; None without a group of two rows.

    Args:
      one, other: scores `[R]`.
      group: of each row; of more than 2,000 groups so many are taken, at equal distances.
    """
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=group[order][:1] - 1))
    parts = [part for part in np.split(order, starts[1:]) if len(part) > 1]
    taken = parts[:: max(1, -(-len(parts) // _GROUPS_AT_MOST))]
    taus = [float(stats.kendalltau(one[part], other[part]).statistic) for part in taken]
    defined = [tau for tau in taus if np.isfinite(tau)]
    return float(np.mean(defined)) if defined else None


def cold_masks(
    train: Stream, stream: Stream, columns: Mapping[str, str], clicks: int, in_vocabulary_ids: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Rows of cold users and of cold items.

    Args:
      train: whose clicks count.
      stream: whose rows are asked for.
      columns: names of the ids, by mask.
      clicks: an id with at most so many is cold.
      in_vocabulary_ids: number of ids of each column without the out-of-vocabulary buckets, which are always cold.
    """
    found = {}
    for name, column in columns.items():
        known = np.bincount(train.features[column], weights=train.label, minlength=int(in_vocabulary_ids[column]))
        ids = np.asarray(stream.features[column])
        counts = np.where(ids < len(known), known[np.minimum(ids, len(known) - 1)], 0)
        found[name] = (counts <= clicks) | (ids == 0) | (ids >= in_vocabulary_ids[column])
    return found


def course(
    parts: Mapping[str, np.ndarray], label: np.ndarray, truth: np.ndarray | None
) -> dict[str, list[float | None]]:
    """AUC in each of `SLICES` parts of a stream.

    Args:
      parts: logits by whose they are, `[R]`.
      label: `[R]`.
      truth: `[R]`, or None.

    Returns:
      For each part its AUC by labels, and with the truth `<part>_truth`, its expectation, and `oracle`.
    """
    edges = np.linspace(0, len(label), SLICES + 1).round().astype(int)
    slices = [slice(start, stop) for start, stop in zip(edges, edges[1:])]

    def by_slice(target: np.ndarray, score: np.ndarray) -> list[float | None]:
        target, score = np.asarray(target, np.float64), np.asarray(score, np.float64)
        return [auc(target[own], score[own]) for own in slices]

    found = {name: by_slice(label, logits) for name, logits in parts.items()}
    if truth is not None:
        found |= {f"{name}_truth": by_slice(truth, logits) for name, logits in parts.items()}
        found |= {"oracle": by_slice(label, truth), "oracle_truth": by_slice(truth, truth)}
    return found


def distinct_in_batch(ids: np.ndarray, size: int) -> float:
    """Mean number of ids in a batch of so many rows as they come, `[R]`."""
    return float(np.mean([len(np.unique(ids[start : start + size])) for start in range(0, len(ids), size)]))
