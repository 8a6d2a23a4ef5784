"""`consort table`: the tables of the papers, made again."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli.output import JsonFile, Seed, save, say, table

app = typer.Typer(help="Tables of the papers: their rows, ours, spread and tests.", no_args_is_help=True)


class _Part(StrEnum):
    TABLE_1 = "table_1"
    TABLE_2 = "table_2"
    SIZES = "sizes"
    CONTROLS = "controls"


class _DuetPart(StrEnum):
    MAIN = "main"
    ABLATIONS = "ablations"
    LAMBDA = "lambda"
    BIAS = "bias"
    SET_EFFECT = "set_effect"
    SCHEDULES = "schedules"


@app.command("mutual", epilog="Example: consort table mutual --out /tmp/mutual --groups 2 --models deepfm,dcn")
def mutual(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; the same command continues a killed one, finished cells stay.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A dataset of `consort data import`; default: a simulated log.")
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(
            help="A grid: a YAML file, or mutual_simulated, mutual_criteo, mutual_avazu; default: by the data."
        ),
    ] = None,
    groups: Annotated[int | None, typer.Option(help="Groups of Table 1; at most so many elsewhere.", min=1)] = None,
    rows: Annotated[int | None, typer.Option(help="Rows of a simulated log.", min=100)] = None,
    models: Annotated[str | None, typer.Option(help="These models alone, e.g. deepfm,dcn.")] = None,
    part: Annotated[list[_Part] | None, typer.Option(help="These parts alone; may be repeated.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that train at once; default: cores over threads.", min=1)
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each process.", min=1)] = 1,
    render_only: Annotated[
        bool, typer.Option("--render-only", help="Train nothing: write the page anew from OUT/mutual.json.")
    ] = False,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Mutual learning: Tables 1 to 4 of the paper and controls; OUT/mutual.md is the page."""
    out = _out(out, render_only)
    if render_only:
        from experiments.mutual.results_file import read_results

        results = read_results(out)
    else:
        from experiments.mutual.grid import load_grid, narrowed

        changes = {key: value for key, value in (("rows", rows), ("seed", seed)) if value is not None}
        whole = load_grid(grid or _grid_for(data, "mutual"), changes)
        chosen = narrowed(
            whole,
            None if models is None else tuple(models.split(",")),
            groups,
            None if part is None else tuple(each.value for each in part),
        )
        from experiments.mutual.runner import run_grid

        results = run_grid(chosen, out, data, whole, workers, threads, say)
    from experiments.mutual.page import PAGE, render
    from transforms.files import write_text

    for name, text in render(results).items():
        write_text(out / name, text)
    _show(results)
    print(f"the page: {out / PAGE}")
    save(results, json_file)


@app.command("duet", epilog="Example: consort table duet --out /tmp/duet --part main --seeds 2")
def duet(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; the same command continues a killed one, finished cells stay.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A dataset of requests of `consort data import`; default: simulated.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="A grid: a YAML file, or a name such as duet_simulated; default: by the data.")
    ] = None,
    part: Annotated[list[_DuetPart] | None, typer.Option(help="These parts alone; may be repeated.")] = None,
    seeds: Annotated[int | None, typer.Option(help="The first so many seeds.", min=1, max=100)] = None,
    requests: Annotated[int | None, typer.Option(help="Requests of a simulated log.", min=20)] = None,
    methods: Annotated[str | None, typer.Option(help="These rows alone, e.g. single,duet.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that train at once; default: cores over threads.", min=1)
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each process.", min=1)] = 1,
    render_only: Annotated[
        bool, typer.Option("--render-only", help="Train nothing: write the page anew from OUT/duet.json.")
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """DUET on the entire candidate space: main table, ablations and studies; OUT/duet.md is the page."""
    out = _out(out, render_only)
    if render_only:
        from experiments.duet.results_file import read_results

        results = read_results(out)
    else:
        from experiments.duet.grid import load_grid, narrowed

        whole = load_grid(grid or _grid_for(data, "duet"), {} if requests is None else {"requests": requests})
        chosen = narrowed(
            whole,
            None if methods is None else tuple(methods.split(",")),
            seeds,
            None if part is None else tuple(each.value for each in part),
        )
        from experiments.duet.runner import run_grid

        results = run_grid(chosen, out, data, whole, workers, threads, say)
    from experiments.duet.page import PAGE, render
    from transforms.files import write_text

    for name, text in render(results).items():
        write_text(out / name, text)
    _show_duet(results)
    print(f"the page: {out / PAGE}")
    save(results, json_file)


def _out(out: Path | None, render_only: bool) -> Path:
    if out is not None:
        return out
    from transforms.errors import InputError

    fix = "name one, e.g. --out experiments/results for the committed ones" if render_only else "name one"
    raise InputError("--out", "nothing", "a folder", fix)


def _grid_for(data: Path | None, of_table: str) -> str:
    if data is None:
        return f"{of_table}_simulated"
    from transforms.records import load_dataset

    return f"{of_table}_{load_dataset(data).source}"


def _show(results: dict[str, Any]) -> None:
    from experiments.mutual.findings import Findings
    from experiments.mutual.text import name
    from experiments.text import interval, p_value

    rows = [
        (
            name(one.model),
            f"{name(one.better)} > {name(one.worse)}",
            interval(one.test),
            p_value(one.test.p),
            one.verdict,
        )
        for one in Findings(results).headlines()
    ]
    if rows:
        table("Differences of AUC, in 1e-5", ("model", "claim", "difference [95 %]", "p", "verdict"), rows)


def _show_duet(results: dict[str, Any]) -> None:
    from experiments.duet.findings import METRICS, Findings
    from experiments.duet.methods import title
    from experiments.text import interval, p_value

    findings = Findings(results)
    rows = [
        (
            METRICS[one.metric],
            f"{title(one.better)} > {title(one.worse)}",
            interval(one.test),
            p_value(one.adjusted_p),
            one.verdict,
        )
        for one in (*findings.paper_tests(), *findings.strongest_tests())
    ]
    if rows:
        table("Differences of AUC, in 1e-5", ("AUC", "claim", "difference [95 %]", "p (Holm)", "verdict"), rows)
