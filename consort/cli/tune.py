"""`consort tune`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli import places
from consort.cli.options import Data, JsonFile, Run, SeedOverride, Set, check_unused, overrides
from consort.cli.output import save, say, show, table


def tune(
    run: Run,
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Folder of the search; the same command resumes it.",
            parser=places.write_model,
        ),
    ],
    set_: Set = None,
    trials: Annotated[
        int | None, typer.Option(metavar="N", help="Maximum number of trials; overrides tuning.max_trials.", min=1)
    ] = None,
    seed: SeedOverride = None,
    json_file: JsonFile = None,
) -> None:
    """Search for better values of the keys in tuning.space.

    Each trial trains in its own process.

    Example: consort tune simulated_deepfm_tuned --data /tmp/log --out /tmp/search
    """
    from consort.config import load_config

    config = load_config(run, overrides(set_, {"tuning.max_trials": trials, "seed": seed}))
    check_unused(out, config)
    from runs.tuning.search import BEST_FILE, tune_run

    result = tune_run(config, data, out, say)
    keys = list(config.tuning.space)
    leaves = [key.rpartition(".")[2] for key in keys]
    names = [leaf if leaves.count(leaf) == 1 else key for leaf, key in zip(leaves, keys)]
    header = ("trial", "status", result["objective"], "seconds", *names)
    table("Trials", header, [_row(trial, keys) for trial in result["trials"]])
    for trial in result["trials"]:
        if trial["reason"]:
            print(f"trial {trial['trial']} failed: {trial['reason']}")
    counts = {key: result[key] for key in ("completed", "failed", "best")}
    show({"search": str(out), **counts, "run_file": str(out / BEST_FILE)})
    save(result, json_file)


def _row(trial: dict[str, Any], keys: list[str]) -> tuple[object, ...]:
    score = "" if trial["score"] is None else f"{trial['score']:.6f}"
    values = (trial["hyperparameters"].get(key, "") for key in keys)
    return (trial["trial"], trial["status"], score, f"{trial['seconds']:.1f}", *values)
