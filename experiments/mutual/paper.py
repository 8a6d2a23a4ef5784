"""Figures of "Mutual Learning for Finetuning Click-Through Rate Prediction Models" (2024, arXiv 2406.12087)."""

from importlib import resources
from typing import Any

from transforms.packages import PREFIX
from transforms.plain_text import parse_yaml

_FIGURES = parse_yaml((resources.files(f"{PREFIX}experiments.mutual") / "paper.yaml").read_text(encoding="utf-8"))
TABLE_1: dict[str, dict[str, dict[str, list[float]]]] = _FIGURES["table_1"]
"""AUC of four runs of each arm, by data and model."""
TABLE_2: dict[str, dict[str, list[float]]] = _FIGURES["table_2"]
"""AUC of one run, by data and model: pretrained; mutual with runs of its own model; with one of each model."""
SIZES: dict[str, dict[str, Any]] = _FIGURES["sizes"]
"""Tables 3 and 4, by data: `model`, and `peers`, AUC by their number; the worst was dropped each time."""
