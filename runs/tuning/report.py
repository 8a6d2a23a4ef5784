"""What a search found, for people and programs."""

from typing import Any

from runs.config import RunConfig
from runs.tuning.tuner import IsolatedTuner


def report_of(tuner: IsolatedTuner, config: RunConfig, info: dict[str, Any]) -> dict[str, Any]:
    """What a search found: the best trial, all trials, and what made them."""
    settings = config.tuning
    trials: list[dict[str, Any]] = [
        {
            "trial": index,
            "status": outcome.status,
            "score": outcome.metrics.get(settings.objective) if outcome.status == "completed" else None,
            "hyperparameters": outcome.hyperparameters,
            "metrics": outcome.metrics,
            "seconds": outcome.seconds,
            "peak_gb": outcome.peak_gb,
            "steps": outcome.steps,
            "epochs": outcome.epochs,
            "reason": outcome.reason,
        }
        for index, outcome in tuner.outcomes.items()
    ]
    scored = [trial for trial in trials if trial["status"] == "completed"]
    sign = 1 if settings.direction == "min" else -1
    best = min(scored, key=lambda trial: sign * trial["score"], default=None)
    return {
        "objective": settings.objective,
        "direction": settings.direction,
        "algorithm": settings.algorithm,
        "best": None if best is None else {key: best[key] for key in ("trial", "score", "hyperparameters")},
        "completed": len(scored),
        "failed": tuner.failed,
        "seconds": sum(trial["seconds"] for trial in trials),
        "trials": trials,
        **info,
    }
