"""The demo: three pipelines on one simulated log, one server for their models, and a query through the cascade."""

import importlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consort.config import load_config
from consort.demo_cascade import query_models
from runs.provenance import machine
from transforms.errors import ConsortError, InputError
from transforms.files import check_folder

STAGES = {"retrieval": "simulated_retrieval", "pre-ranking": "simulated_duet_stages", "ranking": "simulated_mutual"}
"""Preset of each stage of the cascade."""
REQUESTS, FAST_REQUESTS = 16_000, 8_000

Say = Callable[[str], None]


def run_demo(out: Path, requests: int, seed: int, say: Say) -> dict[str, Any]:
    """Simulates a log, trains all three stages, serves them and queries them, writing everything under `out`.

    Args:
      out: a new or empty folder.
      requests: number of requests to simulate.
      seed: random seed of the world; the models take the seeds of their presets.
      say: called with a line of progress.

    Raises:
      InputError: `out` is in use.
      ConsortError: a served answer differs from the trainer's score.
    """
    check_folder(out, "--out")
    if out.exists() and any(out.iterdir()):
        raise InputError(str(out), "a folder in use", "a new or empty folder", "choose another --out, or delete it")
    start = time.monotonic()
    data, root = out / "data", out / "pipeline"
    simulated = _simulate(data, requests, seed, say)
    say("loading TFX")
    stages = {stage: _stage(stage, preset, data, root, say) for stage, preset in STAGES.items()}
    say("starting the server")
    served = query_models({stage: report["model"] for stage, report in stages.items()}, root, data, say)
    result = {
        "data": simulated,
        "stages": stages,
        **served,
        "total_seconds": time.monotonic() - start,
        "machine": machine(),
    }
    for stage, difference in served["largest_difference"].items():
        if not difference <= served["tolerance"]:
            raise ConsortError(f"{stage}: served scores differ from the trainer's by {difference:.3g}")
    return result


def _simulate(data: Path, requests: int, seed: int, say: Say) -> dict[str, Any]:
    from simulation.cascade_log import simulate
    from simulation.parameters import load_world

    say(f"simulating {requests} requests")
    importlib.import_module("tensorflow")  # Loaded here, so that its seconds are not counted as the simulator's.
    start = time.monotonic()
    dataset = simulate(data, load_world(None), requests, seed)
    seconds = time.monotonic() - start
    candidates = sum(split["candidates"] for split in dataset.notes["request"].values())
    return {
        "requests": requests,
        "candidate_rows": candidates,
        "seconds": seconds,
        "candidate_rows_per_s": candidates / seconds,
        "rows": {split: info.examples for split, info in dataset.records["row"].items()},
        "sha256": dataset.sha256,
    }


def _stage(stage: str, preset: str, data: Path, root: Path, say: Say) -> dict[str, Any]:
    """Runs a pipeline and evaluates the model that it pushed on the test split."""
    from runs.evaluate import metrics_of, retrieval_metrics, score
    from runs.plan import make_plan
    from serving.contract import read_contract
    from tfx_pipeline.run import run_pipeline

    say(f"{stage}: pipeline {preset}")
    start = time.monotonic()
    pushed = run_pipeline(make_plan(load_config(preset), data, root))
    slowest = sorted(pushed["seconds"].items(), key=lambda item: -item[1])[:3]
    say("  " + ", ".join(f"{node} {seconds:.0f} s" for node, seconds in slowest))
    training = read_contract(pushed["model"])["run"]["training"]
    retrieval = retrieval_metrics(pushed["model"], data, "test", resamples=0, baselines=True)
    return {
        "preset": preset,
        "model": pushed["model"],
        "steps": training["steps"],
        "step_seconds": training["step_seconds"],
        "quality": metrics_of(score(Path(pushed["model"]), data, "test"), resamples=50),
        **({"retrieval": retrieval} if retrieval else {}),
        "node_seconds": pushed["seconds"],
        "seconds": time.monotonic() - start,
    }


def rows_of(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns the rows of the summary table."""
    data, cascade = result["data"], result["cascade"]
    rows = data["rows"]
    table = [
        ("requests simulated", f"{data['requests']:,} ({data['candidate_rows']:,} candidates)"),
        ("rows train / eval / test", " / ".join(f"{rows.get(split, 0):,}" for split in ("train", "eval", "test"))),
    ]
    for stage in STAGES:
        report = result["stages"][stage]
        step = (report["step_seconds"] or 0) * 1e3
        table.append(
            (f"{stage}, {report['preset']}", f"{report['seconds']:.0f} s, {report['steps']:,} steps of {step:.0f} ms")
        )
    worst = max(result["largest_difference"].values())
    shown = " -> ".join(f"{count:,}" for count in cascade["items"])
    table += [
        ("served = trained scores", f"{worst <= result['tolerance']} (largest difference {worst:.1e})"),
        ("items, stage by stage", f"{cascade['catalogue']:,} -> {shown}"),
        *_value_rows(result["stages"]["retrieval"].get("retrieval", {})),
        ("latency of the cascade", f"p50 {cascade['p50_ms']:.1f} ms, p99 {cascade['p99_ms']:.1f} ms"),
        ("total time", f"{result['total_seconds']:.0f} s"),
    ]
    return table


def _value_rows(retrieval: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns the row that judges retrieval by the truth: the mean true click probability of what is retrieved."""
    k = max((int(key.rpartition("@")[2]) for key in retrieval if re.fullmatch(r"true_value@\d+", key)), default=None)
    if k is None:
        return []
    values = [("", retrieval[f"true_value@{k}"])]
    popular = retrieval.get("baselines", {}).get("most_popular", {})
    values += [("most clicked items", popular[f"true_value@{k}"])] if f"true_value@{k}" in popular else []
    values += [(name, retrieval[f"{name}_true_value@{k}"]) for name in ("random", "oracle")]
    own, *others = (f"{name} {value:.3f}".strip() for name, value in values)
    return [(f"true click probability of {k} retrieved", f"{own} ({', '.join(others)})")]


def quality_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Returns the rows of the table that compares each stage's model with the logging policy and the oracle."""
    table = []
    for stage in STAGES:
        report = result["stages"][stage]
        quality = report["quality"]
        has_requests = "auc_entire" in quality
        pairs = [("shown items", "auc", "logging_policy_auc", "oracle_auc")]
        if has_requests:
            pairs = [
                ("all candidates", "auc_entire", "logging_auc_entire", "oracle_auc_entire"),
                ("not shown", "auc_unexposed", "logging_auc_unexposed", "oracle_auc_unexposed"),
            ]
        for subset, model, logging, oracle in pairs:
            values = (quality[model], quality[logging], quality[oracle])
            table.append((stage, f"AUC, {subset}", *(f"{value:.4f}" for value in values)))
    return table


def query_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Returns the rows of one query's answer: each item's rank and logit in every stage."""
    return [tuple(row) for row in result["query"]]
