"""Trains one cell of a grid as `consort train` does, and measures what it serves."""

import shutil
from typing import Any

import numpy as np

from evaluation.metrics import evaluate_requests
from experiments.duet.grid import cells_of
from experiments.product import score_peers, sigmoid, train
from experiments.runner import CellRun, Table, chosen_rate
from runs.evaluate import LOGGED_SCORE, TRUTH, ScoredRequests
from transforms.features import Split

_LEAST = 1e-6
_AGREEMENT = 0.01
_SCORED: tuple[Split, ...] = ("eval", "test")
_SCORED_AT_ONCE = 256
_HISTORY = (
    "epoch", "loss", "logloss", "seconds", "eval_logloss", "eval_agreement", "eval_disagreement",
    "eval_prediction/unexposed", "eval_logloss/peer_0", "eval_logloss/peer_1",
)  # fmt: skip


def run_cell(run: CellRun) -> dict[str, Any]:
    """Trains a cell and measures what it serves on eval and test requests.

    Returns:
      Settings, metrics of what is served and of a pair's mean, the course of training.
    """
    cell, grid, data = run.cell, run.grid, run.data
    dataset, rate = data.dataset(), chosen_rate(cell, grid, run.root)
    requests = dataset.records["request"]["train"].records
    is_tried = cell.learning_rate is not None
    config = grid.cell_config(dataset.source, requests, cell.method, cell.place.seed, rate, is_tried)
    task, trained = train(config, data.records, run.folder, data.transformed)
    best = int(trained.report.get("best_peer", 0))
    models = trained.models()
    metrics: dict[str, Any] = {}
    for split, scored in score_peers(task, models, data.records, _SCORED, _SCORED_AT_ONCE).items():
        if scored.requests is not None:
            metrics[split] = _metrics(scored.requests, best)
    shutil.rmtree(run.folder)
    result = trained.result
    weights = [weight for model in models for weight in model.trainable_variables]
    return {
        "variant": cell.place.variant,
        "seed": cell.place.seed,
        "method": cell.method,
        "tried": is_tried,
        "learning_rate": rate,
        "served": f"peer_{best}",
        **metrics,
        "monitored": result.best["eval_logloss"],
        "best_epoch": result.best_epoch,
        "history": [{key: row[key] for key in _HISTORY if key in row} for row in result.history],
        "steps": result.steps,
        "parameters": int(sum(np.prod(weight.shape) for weight in weights)),
        **grid.facts(cell),
    }


def _metrics(requests: ScoredRequests, best: int) -> dict[str, Any]:
    """Metrics of the served peer, and of a pair's mean logit; the scores are logits of all peers."""
    peers = [requests.probability[..., peer] for peer in range(requests.probability.shape[-1])]
    metrics: dict[str, Any] = {"served": measured(peers[best], requests)}
    if len(peers) > 1:
        metrics["ensemble"] = measured((peers[0] + peers[1]) / 2, requests)
        metrics["pair"] = of_pair(peers[0], peers[1], requests)
    return metrics


def measured(logits: np.ndarray, requests: ScoredRequests) -> dict[str, float]:
    """Returns all metrics of `evaluate_requests`, and how far predictions are from the truth where it is known.

    Args:
      logits: `[R, M]`.
      requests: that they are of.

    Returns:
      Besides the metrics, of exposed and of unexposed candidates `prediction_...`, the mean probability,
      and with the truth `truth_...`, its mean, `error_mean_...` and `error_std_...` of logit minus true logit.
    """
    candidate, exposed, true = requests.candidate, requests.exposed, requests.extra.get(TRUTH)
    metrics = evaluate_requests(
        np.where(candidate, sigmoid(logits), 0.0),
        candidate,
        exposed,
        requests.label,
        true,
        requests.extra.get(LOGGED_SCORE),
        requests.user_id,
        resamples=0,
    )
    for name, part in (("exposed", candidate & exposed), ("unexposed", candidate & ~exposed)):
        if not part.any():
            continue
        metrics[f"prediction_{name}"] = float(sigmoid(logits[part]).mean())
        if true is not None:
            error = logits[part] - _logit(true[part])
            metrics[f"truth_{name}"] = float(true[part].mean())
            metrics[f"error_mean_{name}"], metrics[f"error_std_{name}"] = float(error.mean()), float(error.std())
    return metrics


def of_pair(one: np.ndarray, other: np.ndarray, requests: ScoredRequests) -> dict[str, float]:
    """Returns what two models could teach each other about unexposed candidates.

    Args:
      one, other: logits `[R, M]`.
      requests: that they are of.

    Returns:
      `agreement`, the share of probabilities that differ by less than 0.01; `disagreement`, their mean absolute
      difference; with the truth `error_correlation`, of the errors of the logits: at 1 they err alike.
    """
    part = requests.candidate & ~requests.exposed
    if not part.any():
        return {}
    difference = np.abs(sigmoid(one[part]) - sigmoid(other[part]))
    figures: dict[str, Any] = {
        "agreement": float((difference < _AGREEMENT).mean()),
        "disagreement": float(difference.mean()),
    }
    if (known := requests.extra.get(TRUTH)) is not None:
        true = _logit(known[part])
        figures["error_correlation"] = float(np.corrcoef(one[part] - true, other[part] - true)[0, 1])
    return figures


def _logit(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(np.asarray(probability, np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _figure(result: dict[str, Any]) -> str:
    test = result["test"]["served"]
    key = "auc_unexposed" if "auc_unexposed" in test else "auc"
    return f"test {key} {test[key]:.4f}, epoch {result['best_epoch']}"


TABLE = Table("duet", cells_of, run_cell, _figure)
