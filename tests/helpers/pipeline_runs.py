"""Small runs of the whole pipeline, shared by the end-to-end tests."""

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
