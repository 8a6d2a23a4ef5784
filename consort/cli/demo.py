"""`consort demo`, `consort doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from consort.cli.output import JsonFile, Seed, save, say, table


def demo(
    out: Annotated[
        Path | None, typer.Option("--out", help="Keep everything here; default: a temporary folder.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="A fifth of the requests.")] = False,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """A cascade from one simulated log: three pipelines, one server, one query, and tables of what came of it.

    Example: consort demo --fast --out /tmp/demo --json /tmp/demo.json
    """
    import tempfile

    from consort.demo import FAST_REQUESTS, REQUESTS, quality_rows, query_rows, rows_of, run_demo

    requests = FAST_REQUESTS if fast else REQUESTS
    with tempfile.TemporaryDirectory() as temporary:
        result = run_demo(out or Path(temporary), requests, 1 if seed is None else seed, say)
    table("Consort demo", ("what", "how much"), rows_of(result))
    table("On the test split", ("stage", "figure", "model", "logging policy", "oracle"), quality_rows(result))
    header = ("item", "category", "retrieved at (logit)", "pre-ranked at", "ranked at")
    table("One user's answer", header, query_rows(result))
    save(result, json_file)
    if out is not None:
        print(f"kept in {out}; serve it again with: consort serve {out / 'pipeline'}")


def doctor(json_file: JsonFile = None) -> None:
    """What is present, what will not work, and the fix.

    Example: consort doctor
    """
    import dataclasses

    from consort.doctor import diagnose

    checks = diagnose()
    table("Doctor", ("part", "status", "found", "fix"), [(c.name, c.status, c.found, c.fix) for c in checks])
    save({c.name: dataclasses.asdict(c) for c in checks}, json_file)
    if any(c.status == "fail" for c in checks):
        raise typer.Exit(1)
