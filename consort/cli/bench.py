"""`consort bench`: speed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli.output import JsonFile, Seed, save, say, show

app = typer.Typer(help="Speed, measured here and now.", no_args_is_help=True)


@app.command("input", epilog="Example: consort bench input --json input.json")
def input_(
    examples: Annotated[int, typer.Option(help="List-wise examples to read.", min=8)] = 400_000,
    rounds: Annotated[int, typer.Option(help="Rounds of each way; the median counts.", min=1)] = 3,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Parsed examples per second."""
    from benchmarks.input import bench_input

    _show(bench_input(examples, rounds, 1 if seed is None else seed), json_file)


@app.command("pipeline", epilog="Example: consort bench pipeline --rows 100000 --json pipeline.json")
def pipeline(
    rows: Annotated[int, typer.Option(help="Criteo-shaped rows to generate.", min=1000)] = 1_000_000,
    preset: Annotated[str, typer.Option(help="Whose features and Beam options.")] = "criteo_deepfm",
    folder: Annotated[Path | None, typer.Option(help="Where to work; default: a temporary folder.")] = None,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Raw file to transformed examples: seconds and peak memory."""
    from benchmarks.pipeline import bench_pipeline

    say(f"generating {rows} rows, then importing and transforming them")
    _show(bench_pipeline(rows, 1 if seed is None else seed, preset, folder), json_file)


def _show(result: dict[str, Any], json_file: Path | None) -> None:
    show({key: value for key, value in result.items() if key != "machine"})
    save(result, json_file)
