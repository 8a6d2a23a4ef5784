"""The demo: one simulated world through three pipelines, a server for all, and a query through the cascade."""

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consort.config import load_config
from consort.demo_cascade import ask_everything
from runs.provenance import machine
from transforms.errors import ConsortError, InputError
from transforms.files import check_folder

STAGES = {"retrieval": "simulated_cs3", "pre-ranking": "simulated_duet_stages", "ranking": "simulated_mutual"}
"""Each stage of the cascade, and its preset."""
REQUESTS, FAST_REQUESTS = 16_000, 3_000

Say = Callable[[str], None]


def run_demo(out: Path, requests: int, seed: int, say: Say) -> dict[str, Any]:
    """Simulates, trains all three stages, serves them and asks; everything it makes lies under `out`.

    Args:
      out: a new or empty folder.
      requests: requests to simulate.
      seed: of the world; the presets' seeds are the models'.
      say: is told what happens.

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
    served = ask_everything({stage: found["model"] for stage, found in stages.items()}, root, data, say)
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
    from transforms.simulation.parameters import load_world
    from transforms.sources.simulator import simulate

    say(f"simulating {requests} requests")
    importlib.import_module("tensorflow")  # Its seconds of loading are not the simulator's.
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
    """A pipeline, and what the model that it pushed is worth on the test split."""
    from runs.evaluate import metrics_of, score
    from runs.plan import make_plan
    from serving.contract import read_contract
    from tfx_pipeline.run import run_pipeline

    say(f"{stage}: pipeline {preset}")
    start = time.monotonic()
    pushed = run_pipeline(make_plan(load_config(preset), data, root))
    slowest = sorted(pushed["seconds"].items(), key=lambda item: -item[1])[:3]
    say("  " + ", ".join(f"{node} {seconds:.0f} s" for node, seconds in slowest))
    training = read_contract(pushed["model"])["run"]["training"]
    return {
        "preset": preset,
        "model": pushed["model"],
        "steps": training["steps"],
        "step_seconds": training["step_seconds"],
        "quality": metrics_of(score(Path(pushed["model"]), data, "test"), resamples=50),
        "node_seconds": pushed["seconds"],
        "seconds": time.monotonic() - start,
    }


def rows_of(result: dict[str, Any]) -> list[tuple[str, str]]:
    """The first table that the demo prints: what, and how much."""
    data, cascade = result["data"], result["cascade"]
    rows = data["rows"]
    found = [
        ("requests simulated", f"{data['requests']:,} ({data['candidate_rows']:,} candidates)"),
        ("rows train / eval / test", " / ".join(f"{rows.get(split, 0):,}" for split in ("train", "eval", "test"))),
    ]
    for stage in STAGES:
        one = result["stages"][stage]
        step = (one["step_seconds"] or 0) * 1e3
        found.append((f"{stage}, {one['preset']}", f"{one['seconds']:.0f} s, {one['steps']:,} steps of {step:.0f} ms"))
    worst = max(result["largest_difference"].values())
    shown = " -> ".join(f"{count:,}" for count in cascade["items"])
    found += [
        ("served = trainer's scores", f"{worst <= result['tolerance']} (largest difference {worst:.1e})"),
        ("items, stage by stage", f"{cascade['catalogue']:,} -> {shown}"),
        (
            f"clicked items among {cascade['retrieved']} retrieved",
            f"{cascade['recall']:.1%} of {cascade['clicks']:,} "
            f"(the most clicked: {cascade['popular_recall']:.1%}: tells what was shown)",
        ),
        ("a cascade's answer", f"p50 {cascade['p50_ms']:.1f} ms, p99 {cascade['p99_ms']:.1f} ms"),
        ("all of it", f"{result['total_seconds']:.0f} s"),
    ]
    return found


def quality_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The second table: each stage's model beside the logging policy and the oracle, on the test split."""
    found = []
    for stage in STAGES:
        one = result["stages"][stage]
        quality = one["quality"]
        over_all = "auc_entire" in quality
        pairs = [("shown items", "auc", "logging_policy_auc", "oracle_auc")]
        if over_all:
            pairs = [
                ("all candidates", "auc_entire", "logging_auc_entire", "oracle_auc_entire"),
                ("not shown", "auc_unexposed", "logging_auc_unexposed", "oracle_auc_unexposed"),
            ]
        for over, own, logging, oracle in pairs:
            values = (quality[own], quality[logging], quality[oracle])
            found.append((stage, f"AUC, {over}", *(f"{value:.4f}" for value in values)))
    return found


def query_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The third table: one query's answer, each item's place and logit in every stage."""
    return [tuple(row) for row in result["query"]]
