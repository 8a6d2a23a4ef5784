"""`consort tune`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli.config import Run, Set
from consort.cli.models import Data
from consort.cli.output import JsonFile, Seed, check_unused, save, say, show, table


def tune(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder of the search; the same command continues a killed one.")],
    set_: Set = None,
    trials: Annotated[int | None, typer.Option(help="Trials at most; over tuning.max_trials.", min=1)] = None,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Search for better values of the keys in tuning.space; each trial trains in a process of its own.

    Example: consort tune simulated_deepfm_tuned --data /tmp/log --out /tmp/search
    """
    from consort.config import load_config

    overrides = [*(set_ or ())]
    overrides += [f"tuning.max_trials={trials}"] if trials is not None else []
    overrides += [f"seed={seed}"] if seed is not None else []
    config = load_config(run, tuple(overrides))
    check_unused(out, config)
    from runs.tuning.search import BEST_FILE, tune_run

    found = tune_run(config, data, out, say)
    keys = list(config.tuning.space)
    leaves = [key.rpartition(".")[2] for key in keys]
    names = [leaf if leaves.count(leaf) == 1 else key for leaf, key in zip(leaves, keys)]
    header = ("trial", "status", found["objective"], "seconds", *names)
    table("Trials", header, [_row(trial, keys) for trial in found["trials"]])
    for trial in found["trials"]:
        if trial["reason"]:
            print(f"trial {trial['trial']} failed: {trial['reason']}")
    told = {"search": str(out), "completed": found["completed"], "failed": found["failed"], "best": found["best"]}
    show({**told, "run_file": str(out / BEST_FILE)})
    save(found, json_file)


def _row(trial: dict[str, Any], keys: list[str]) -> tuple[object, ...]:
    score = "" if trial["score"] is None else f"{trial['score']:.6f}"
    values = (trial["hyperparameters"].get(key, "") for key in keys)
    return (trial["trial"], trial["status"], score, f"{trial['seconds']:.1f}", *values)
