"""`consort demo`, `consort doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.options import JsonFile, Seed
from consort.cli.output import save, say, table


def demo(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Folder to keep; default: a temporary one.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Simulate half of the requests.")] = False,
    seed: Seed = 1,
    json_file: JsonFile = None,
) -> None:
    """Train and query a whole cascade on a simulated log.

    Runs three TFX pipelines, serves their models, sends one query and prints the results.

    Example: consort demo --fast --out /tmp/demo --json /tmp/demo.json
    """
    import tempfile

    from consort.demo import FAST_REQUESTS, REQUESTS, quality_rows, query_rows, rows_of, run_demo

    requests = FAST_REQUESTS if fast else REQUESTS
    with tempfile.TemporaryDirectory() as temporary:
        result = run_demo(out or Path(temporary), requests, seed, say)
    table("Consort demo", ("figure", "value"), rows_of(result))
    table("On the test split", ("stage", "figure", "model", "logging policy", "oracle"), quality_rows(result))
    header = ("item", "category", "retrieved at (logit)", "pre-ranked at", "ranked at")
    table("One user's answer", header, query_rows(result))
    save(result, json_file)
    if out is not None:
        print(f"kept in {out}; to serve the models again: consort serve {out / 'pipeline'}")


def doctor(json_file: JsonFile = None) -> None:
    """Check this machine and installation, and suggest fixes.

    Example: consort doctor
    """
    import dataclasses

    from consort.doctor import diagnose

    checks = diagnose()
    table("Doctor", ("part", "status", "found", "fix"), [(c.name, c.status, c.found, c.fix) for c in checks])
    save({c.name: dataclasses.asdict(c) for c in checks}, json_file)
    if any(c.status == "fail" for c in checks):
        raise typer.Exit(1)
