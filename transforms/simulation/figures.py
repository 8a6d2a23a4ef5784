"""What only the world knows of its log: the best AUC that is possible, and the logging policy's own."""

from typing import Any

import numpy as np

from transforms.batches import Batch
from transforms.features import SPLITS, Split
from transforms.simulation.auc import auc

_COLUMNS = ("label", "true_click_probability", "logging_score")


class Figures:
    """Collects exposed impressions and counts candidates, split by split."""

    def __init__(self) -> None:
        self._parts: dict[Split, list[list[np.ndarray]]] = {}
        self._candidates: dict[Split, int] = {}

    def add(self, rows: Batch, candidates: int) -> None:
        """Takes in a batch of row records, and the number of candidates of the requests they come from."""
        self._parts.setdefault(rows.split, []).append([np.asarray(rows.columns[name]) for name in _COLUMNS])
        self._candidates[rows.split] = self._candidates.get(rows.split, 0) + candidates

    def notes(self) -> dict[str, Any]:
        """`{"row": {split: figures}, "request": {split: {"candidates": count}}}`.

        Figures of rows are the click rate, and the AUC against the labels of the true click
        probability (the oracle) and of the logging score; None where all labels are equal.
        """
        present = [split for split in SPLITS if split in self._parts]
        return {
            "row": {split: _figures(self._parts[split]) for split in present},
            "request": {split: {"candidates": self._candidates[split]} for split in present},
        }


def _figures(parts: list[list[np.ndarray]]) -> dict[str, float | None]:
    label, probability, score = (np.concatenate(values) for values in zip(*parts, strict=True))
    return {
        "click_rate": np.count_nonzero(label) / len(label) if len(label) else None,
        "oracle_auc": auc(probability, label),
        "logging_policy_auc": auc(score, label),
    }
