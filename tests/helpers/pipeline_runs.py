"""Small runs of the whole pipeline, shared by the end-to-end tests."""

import sqlite3
from pathlib import Path
from typing import Any

from runs.config import RunConfig, parse_config

SMALL: dict[str, Any] = {
    "name": "toy_deepfm",
    "source": "toy",
    "baselines": False,
    "model": {"embedding_dim": 4, "hidden_units": [8]},
    "training": {"batch_size": 128, "epochs": 3, "learning_rate": 0.02},
    "gate": {"min_auc": 0.6, "max_calibration_error": 0.5, "min_auc_gain": 0.0},
}


def small_config(**changes: Any) -> RunConfig:
    values = {key: dict(value) if isinstance(value, dict) else value for key, value in SMALL.items()}
    for key, value in changes.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return parse_config(values)


def run(config: RunConfig, data: Path, root: Path) -> dict[str, Any]:
    from runs.plan import make_plan
    from tfx_pipeline.run import run_pipeline

    return run_pipeline(make_plan(config, data, root))


RUNNING, COMPLETE, FAILED, CACHED = 2, 3, 4, 5
"""Numbers of ml_metadata's Execution.State."""


def executions(root: Path) -> list[tuple[int, str, int]]:
    """Returns number, node and state of every execution, oldest first."""
    query = "SELECT e.id, t.name, e.last_known_state FROM Execution e JOIN Type t ON t.id = e.type_id ORDER BY e.id"
    return list(sqlite3.connect(root / "metadata.sqlite").execute(query))


def states(root: Path, node: str) -> list[int]:
    """Returns the states of every execution of a node, oldest first."""
    return [state for _, name, state in executions(root) if name.endswith(f".{node}")]
