"""The data half of the pipeline on Criteo-shaped rows: raw file to transformed examples."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from consort.config import load_config
from runs.config import RunConfig
from runs.provenance import machine
from transforms.errors import ConsortError

STAGES = ("import", "tfx")


def bench_pipeline(
    rows: int = 1_000_000, seed: int = 1, preset: str = "criteo_deepfm", folder: Path | None = None
) -> dict[str, Any]:
    """Measures seconds and peak memory from a generated raw file to transformed examples, stage by stage.

    Each stage runs in a separate process, whose peak memory is read when it has ended.

    Args:
      rows: raw rows generated.
      seed: of the rows.
      preset: of the FeatureSet and the Beam options.
      folder: working folder; None: a temporary one.
    """
    with tempfile.TemporaryDirectory(dir=folder) as work:
        from benchmarks.criteo_like import write_criteo_like

        raw = Path(work, "raw")
        raw.mkdir()
        write_criteo_like(raw / "train.txt", rows, seed)
        config = load_config(preset)
        Path(work, "config.json").write_text(config.model_dump_json())
        seconds, peaks, nodes = {}, {}, {}
        for stage in STAGES:
            start = time.perf_counter()
            nodes[stage] = _in_child(stage, work)
            seconds[stage] = time.perf_counter() - start
            peaks[stage] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        raw_bytes = (raw / "train.txt").stat().st_size
    return {
        "seconds": sum(seconds.values()),
        "peak_gb": max(peaks.values()),
        "seconds_by_stage": seconds,
        "seconds_by_node": nodes,
        "rows": rows,
        "raw_mb": raw_bytes / 1e6,
        "preset": preset,
        "beam_args": list(config.pipeline.beam_args),
        "machine": machine(),
    }


def _in_child(stage: str, work: str) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.pipeline", stage, work]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConsortError(f"stage {stage} failed:\n{done.stderr[-4000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _import(work: Path) -> dict[str, float]:
    from transforms.beam.import_dataset import import_dataset
    from transforms.sources.registry import get_source

    import_dataset(get_source("criteo", {}), work / "raw", work / "data")
    return {}


def _tfx(work: Path) -> dict[str, float]:
    from runs.plan import make_plan
    from tfx_pipeline.run import run_data_half

    config = RunConfig.model_validate_json((work / "config.json").read_text())
    return run_data_half(make_plan(config, work / "data", work / "root"))


if __name__ == "__main__":
    print(json.dumps({"import": _import, "tfx": _tfx}[sys.argv[1]](Path(sys.argv[2]))))
