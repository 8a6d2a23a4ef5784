"""The demo: a simulated log, the pipeline, a server in a process of its own, requests over gRPC, a table."""

import contextlib
import importlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from consort.config import RunConfig
from transforms.errors import ConsortError, InputError

PRESET = "simulated_deepfm"
REQUESTS, FAST_REQUESTS = 20_000, 4_000
LATENCY_CALLS = 300

Say = Callable[[str], None]


def run_demo(out: Path, config: RunConfig, requests: int, seed: int, say: Say) -> dict[str, Any]:
    """Simulates, trains, serves and asks; everything it makes lies under `out`.

    Args:
      out: a new or empty folder.
      config: the run.
      requests: requests to simulate.
      seed: of the world; the config's seed is the model's.
      say: is told what happens.

    Raises:
      InputError: `out` is in use.
      ConsortError: a served answer differs from the trainer's score.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(str(out), "a folder in use", "a new or empty folder", "choose another --out, or delete it")
    start = time.monotonic()
    data, root = out / "data", out / "pipeline"
    simulated = _simulate(data, requests, seed, say)
    pushed = _pipeline(config, data, root, say)
    quality = _evaluate(Path(pushed["model"]), data, say)
    served = _serve_and_ask(config.name, root, Path(pushed["model"]), say)
    result = {
        "data": simulated,
        "training": _training(Path(pushed["model"])),
        "quality": quality,
        "serving": served,
        "pipeline_seconds": pushed["seconds"],
        "total_seconds": time.monotonic() - start,
        "machine": machine(),
    }
    if not served["equal_to_trainer"]:
        raise ConsortError(f"served scores differ from the trainer's by {served['largest_difference']:.3g}")
    return result


def _simulate(data: Path, requests: int, seed: int, say: Say) -> dict[str, Any]:
    from transforms.simulation.parameters import load_world
    from transforms.sources.simulator import simulate

    say(f"simulating {requests} requests")
    importlib.import_module("tensorflow")  # Its seconds of loading are not the simulator's.
    start = time.monotonic()
    dataset = simulate(data, load_world(None), requests, seed)
    seconds = time.monotonic() - start
    rows = {split: info.examples for split, info in dataset.records["row"].items()}
    candidates = sum(split["candidates"] for split in dataset.notes["request"].values())
    return {
        "requests": requests,
        "candidate_rows": candidates,
        "seconds": seconds,
        "candidate_rows_per_s": candidates / seconds,
        "rows": rows,
        "sha256": dataset.sha256,
    }


def _pipeline(config: RunConfig, data: Path, root: Path, say: Say) -> dict[str, Any]:
    from tfx_pipeline.plan import make_plan

    plan = make_plan(config, data, root)
    say("loading TFX")
    from tfx_pipeline.run import run_pipeline

    return run_pipeline(plan, lambda node, seconds: None if seconds is None else say(f"  {node}: {seconds:.1f} s"))


def _training(model: Path) -> dict[str, Any]:
    from serving.contract import read_contract

    training: dict[str, Any] = read_contract(model)["run"]["training"]
    return training


def _evaluate(model: Path, data: Path, say: Say) -> dict[str, float]:
    from tfx_pipeline.evaluation import metrics_of, score

    say("evaluating the pushed model on the test split")
    return metrics_of(score(model, data, "test"))


def _serve_and_ask(name: str, root: Path, model: Path, say: Say) -> dict[str, Any]:
    from serving.client import PredictClient
    from serving.contract import read_contract
    from serving.golden import TOLERANCE, read_golden
    from serving.requests import request_inputs
    from transforms.features import FeatureSet

    contract = read_contract(model)
    examples, expected = read_golden(model)
    inputs = request_inputs(examples, FeatureSet.model_validate(contract["feature_set"]), contract["record"])
    say("starting the server")
    with _server(root) as address, PredictClient(address, timeout_s=10.0) as client:
        say(f"asking {name} at {address}")
        answer = client.predict(name, inputs)
        difference = float(np.abs(answer.outputs["probability"] - expected).max())
        milliseconds = []
        for _ in range(LATENCY_CALLS):
            begin = time.perf_counter()
            client.predict(name, inputs)
            milliseconds.append(1e3 * (time.perf_counter() - begin))
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {
        "version": answer.version,
        "rows_per_request": len(examples),
        "largest_difference": difference,
        "equal_to_trainer": difference <= TOLERANCE,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "calls": LATENCY_CALLS,
    }


@contextlib.contextmanager
def _server(root: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "consort", "serve", str(root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101, the pipe was asked for
            line = process.stdout.readline()
            if " on " not in line:
                raise ConsortError(f"the server did not start: {line!r}")
            yield line.rsplit(" on ", 1)[1].strip()
        finally:
            process.terminate()
            process.wait(timeout=30)


def rows_of(result: dict[str, Any]) -> list[tuple[str, str]]:
    """The table that the demo prints: what, and how much."""
    data, training, quality, served = (result[key] for key in ("data", "training", "quality", "serving"))
    rows = data["rows"]
    return [
        ("requests simulated", f"{data['requests']:,} ({data['candidate_rows']:,} candidates)"),
        ("candidates per second", f"{data['candidate_rows_per_s']:,.0f}"),
        ("rows train / eval / test", " / ".join(f"{rows.get(split, 0):,}" for split in ("train", "eval", "test"))),
        ("training", f"{training['steps']:,} steps, {(training['step_seconds'] or 0) * 1e3:.1f} ms a step"),
        ("test AUC, model", f"{quality['auc']:.4f} [{quality['auc_low']:.4f}, {quality['auc_high']:.4f}]"),
        ("test AUC, logging policy", f"{quality['logging_policy_auc']:.4f}"),
        ("test AUC, oracle", f"{quality['oracle_auc']:.4f}"),
        ("test log loss / NE", f"{quality['logloss']:.4f} / {quality['ne']:.4f}"),
        (
            "served = trainer's scores",
            f"{served['equal_to_trainer']} (largest difference {served['largest_difference']:.1e})",
        ),
        (f"answer, {served['rows_per_request']} rows", f"p50 {served['p50_ms']:.2f} ms, p99 {served['p99_ms']:.2f} ms"),
        ("pipeline", f"{sum(result['pipeline_seconds'].values()):.0f} s"),
        ("all of it", f"{result['total_seconds']:.0f} s"),
    ]
