"""Metrics of the logits of a stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evaluation.pointwise import auc, logloss

SLICES = 20
"""Parts of the stream, equally long, of which the course has a figure each."""
SIDES = ("user", "item")
_GROUPS_AT_MOST = 2000


@dataclass(frozen=True)
class Rows:
    """R rows of a split in the order in which they come.

    Args:
      label: `[R]`.
      group: index of the request or, where most have one row alone, of the user, `[R]`.
      ids: of user and item, as the models see them, `[R, 2]`.
      truth: probability of a click, `[R]`; None where it is not known.
    """

    label: np.ndarray
    group: np.ndarray
    ids: np.ndarray
    truth: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    def since(self, start: int) -> "Rows":
        """Returns the rows from one on."""
        truth = None if self.truth is None else self.truth[start:]
        return Rows(self.label[start:], self.group[start:], self.ids[start:], truth)


def groups(request: np.ndarray, user: np.ndarray) -> np.ndarray:
    """Returns the index of each row's request, or of its user where most requests have one row alone."""
    names, index = np.unique(request, return_inverse=True)
    if 2 * len(names) > len(request):
        _, index = np.unique(user, return_inverse=True)
    return np.asarray(index, np.int64)


def measured(logits: np.ndarray, rows: Rows, cold: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns metrics of the towers and of the ranker on the same rows.

    Args:
      logits: of towers and ranker, `[R, 2]`.
      rows: that they are of.
      cold: masks by name, `[R]`.

    Returns:
      `auc`, `logloss` of the towers, `ranker_auc`, `ranker_logloss`; `kendall_tau` of the two; `auc_<mask>` of the
      towers and `share_<mask>` for each mask; with the truth `auc_truth`, `ranker_auc_truth` and `auc_truth_<mask>`,
      that expect labels to be drawn from it, and `oracle_auc`, `oracle_auc_truth`, of the truth as score. What is
      not defined is left out.
    """
    towers, ranker = logits.T
    metrics: dict[str, float | None] = {
        **metrics_of(towers, rows),
        **{f"ranker_{key}": value for key, value in metrics_of(ranker, rows).items()},
        "kendall_tau": kendall(towers, ranker, rows.group),
    }
    if rows.truth is not None:
        truth = np.asarray(rows.truth, np.float64)
        metrics |= {"oracle_auc": auc(rows.label, truth), "oracle_auc_truth": auc(truth, truth)}
    for name, mask in cold.items():
        metrics |= {f"share_{name}": float(mask.mean()), f"auc_{name}": auc(rows.label[mask], towers[mask])}
        if rows.truth is not None:
            metrics[f"auc_truth_{name}"] = auc(np.asarray(rows.truth, np.float64)[mask], towers[mask])
    return {key: value for key, value in metrics.items() if value is not None}


def metrics_of(logits: np.ndarray, rows: Rows) -> dict[str, float | None]:
    """Returns `auc`, `logloss` and, with the truth, `auc_truth` of logits `[R]`; None where one is not defined."""
    logits, label = np.asarray(logits, np.float64), np.asarray(rows.label, np.float64)
    metrics = {"auc": auc(label, logits), "logloss": logloss(label, 1 / (1 + np.exp(-logits)))}
    if rows.truth is not None:
        metrics["auc_truth"] = auc(np.asarray(rows.truth, np.float64), logits)
    return metrics


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


def cold_masks(train: Rows, rows: Rows, clicks: int, in_vocabulary_ids: Sequence[int]) -> dict[str, np.ndarray]:
    """Returns masks of the rows of cold users and of cold items, `cold_users` and `cold_items`.

    Args:
      train: whose clicks count.
      rows: that are masked.
      clicks: an id with at most so many is cold.
      in_vocabulary_ids: number of ids of users and of items without the out-of-vocabulary buckets, which are cold.
    """
    masks = {}
    for index, side in enumerate(SIDES):
        known, ids = in_vocabulary_ids[index], rows.ids[:, index]
        counts = np.bincount(train.ids[:, index], weights=train.label, minlength=known)
        seldom = counts[np.minimum(ids, len(counts) - 1)] <= clicks
        masks[f"cold_{side}s"] = seldom | (ids == 0) | (ids >= known)
    return masks


def course(logits: np.ndarray, rows: Sequence[Rows]) -> dict[str, list[float | None]]:
    """Returns AUC in each of `SLICES` parts of a stream.

    Args:
      logits: of towers and ranker, `[R, 2]`.
      rows: of the splits, one after the other.

    Returns:
      `towers` and `ranker` by labels, and with the truth `<part>_truth`, its expectation, and `oracle`.
    """
    edges = np.linspace(0, len(logits), SLICES + 1).round().astype(int)

    def by_slice(target: np.ndarray, score: np.ndarray) -> list[float | None]:
        target, score = np.asarray(target, np.float64), np.asarray(score, np.float64)
        return [auc(target[start:stop], score[start:stop]) for start, stop in zip(edges, edges[1:])]

    parts = dict(zip(("towers", "ranker"), logits.T, strict=True))
    label, truths = np.concatenate([split.label for split in rows]), [split.truth for split in rows]
    lines = {name: by_slice(label, part) for name, part in parts.items()}
    known = [truth for truth in truths if truth is not None]
    if len(known) == len(truths):
        truth = np.concatenate(known)
        lines |= {f"{name}_truth": by_slice(truth, part) for name, part in parts.items()}
        lines |= {"oracle": by_slice(label, truth), "oracle_truth": by_slice(truth, truth)}
    return lines


def distinct_in_batch(ids: np.ndarray, size: int) -> float:
    """Returns the mean number of ids in a batch of `size` rows, of ids as they come, `[R]`."""
    return float(np.mean([len(np.unique(ids[start : start + size])) for start in range(0, len(ids), size)]))
