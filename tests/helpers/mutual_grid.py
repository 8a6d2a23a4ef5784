"""A grid of mutual learning that runs in seconds, and results with figures made up by hand."""

from typing import Any

WORLD = {
    "categories": [
        {"name": "a", "ids": 5, "exponent": 0.0},
        {"name": "b", "ids": 30, "exponent": 1.0},
        {"name": "c", "ids": 400, "exponent": 1.2},
    ],
    "numbers": ["x"],
    "pairs": [["a", "b"]],
    "triples": [["a", "b", "c"]],
}
TINY: dict[str, Any] = {
    "name": "tiny",
    "world": WORLD,
    "rows": 4000,
    "peers": 2,
    "batch_size": 200,
    "embedding_dim": 2,
    "hidden_units": [4],
    "pretraining": {"epochs": 2, "learning_rate": 0.01, "decay_epochs": 3},
    "finetuning": {"epochs": 1, "learning_rate": 0.001},
    "slow_rate": 0.0003,
    "other_epochs": 1,
    "table_1": {"models": ["deepfm"], "groups": 1},
}


def made_up(aucs: dict[tuple[str, int, str], list[float]], **grid: Any) -> dict[str, Any]:
    """Results in the form of `mutual.json`.

    Args:
      aucs: of the peers, by model, group and arm; `mixed` has one peer of each model of table_2; of an
        ensemble, the one of the mean.
      **grid: keys over those of the tiny grid.
    """
    values = {**TINY, **grid}
    cells = []
    for (model, group, arm), figures in aucs.items():
        members = values["table_2"]["models"] if model == "mixed" else [model] * len(figures)
        peers = [{"model": each, "number": 0 if model == "mixed" else k} for k, each in enumerate(members)]
        numbers = [[k] for k in range(len(figures))] if arm.startswith("independent") else [range(len(figures))]
        for chosen in numbers:
            test: dict[str, Any] = {
                "peers": [_metrics(figures[k]) for k in chosen],
                "mean_of_peers": _metrics(figures[0]),
            }
            name = f"{model}-{group}-{arm}-{chosen[0]}"
            head = {"cell": name, "model": model, "group": group, "arm": arm, "cpu_seconds": 30.0, "best_epoch": 2}
            cells.append({**head, "peers": [peers[k] for k in chosen], "test": test})
    split = {"rows": 100, "click_rate": 0.25, "oracle": {"auc": 0.9, "expected_auc": 0.9, "logloss": 0.4}}
    data = {"source": "simulated", "seed": 1, "sha256": "0" * 64, "fields": 4, "ids": 435}
    machine = {"processor": "P", "cores": 2, "versions": {"tensorflow": "2.16.2"}}
    return {
        "grid": values,
        "data": {**data, "splits": {"train": split, "eval": split, "test": split}},
        "contexts": [{"command": "consort table mutual", "date": "2026-01-01", "machine": machine}],
        "cells": cells,
    }


def _metrics(auc: float) -> dict[str, float]:
    return {"auc": auc, "expected_auc": auc, "logloss": 1 - auc}
