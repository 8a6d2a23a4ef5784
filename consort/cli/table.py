"""`consort table`: the tables of the papers, made again."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli.output import JsonFile, Seed, save, table
from consort.cli.table_options import Made, Out, RenderOnly, Requests, Seeds, Threads, Workers, given, names, parts

app = typer.Typer(help="Tables of the papers: their rows, ours, spread and tests.", no_args_is_help=True)


class _Part(StrEnum):
    TABLE_1 = "table_1"
    TABLE_2 = "table_2"
    SIZES = "sizes"
    CONTROLS = "controls"


class _CS3Part(StrEnum):
    MAIN = "main"
    ORDER = "order"
    SENSITIVITY = "sensitivity"
    SHUFFLED = "shuffled"
    DRIFT = "drift"


class _DuetPart(StrEnum):
    MAIN = "main"
    ABLATIONS = "ablations"
    LAMBDA = "lambda"
    BIAS = "bias"
    SET_EFFECT = "set_effect"
    SCHEDULES = "schedules"


@app.command(
    "mutual",
    short_help="Mutual learning: Tables 1 to 4, and controls.",
    epilog="Example: consort table mutual --out /tmp/mutual --groups 2 --models deepfm,dcn",
)
def mutual(
    out: Out = None,
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
    workers: Workers = None,
    threads: Threads = 1,
    render_only: RenderOnly = False,
    seed: Seed = None,
    json_file: JsonFile = None,
) -> None:
    """Mutual learning: Tables 1 to 4 of the paper and controls; OUT/mutual.md is the page."""
    made = Made("mutual", out, data, grid, workers, threads, render_only)
    results = made.results(given(rows=rows, seed=seed), names(models), groups, parts(part))
    _show(results)
    made.write_page(results)
    save(results, json_file)


@app.command(
    "duet",
    short_help="DUET: main table, ablations and studies.",
    epilog="Example: consort table duet --out /tmp/duet --part main --seeds 2",
)
def duet(
    out: Out = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A dataset of requests of `consort data import`; default: simulated.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="A grid: a YAML file, or a name such as duet_simulated; default: by the data.")
    ] = None,
    part: Annotated[list[_DuetPart] | None, typer.Option(help="These parts alone; may be repeated.")] = None,
    seeds: Seeds = None,
    requests: Requests = None,
    methods: Annotated[str | None, typer.Option(help="These rows alone, e.g. single,duet.")] = None,
    workers: Workers = None,
    threads: Threads = 1,
    render_only: RenderOnly = False,
    json_file: JsonFile = None,
) -> None:
    """DUET on the entire candidate space: main table, ablations and studies; OUT/duet.md is the page."""
    made = Made("duet", out, data, grid, workers, threads, render_only)
    results = made.results(given(requests=requests), names(methods), seeds, parts(part))
    _show_duet(results)
    made.write_page(results)
    save(results, json_file)


@app.command(
    "cs3",
    short_help="CS3 on a stream: each part, order, drift.",
    epilog="Example: consort table cs3 --out /tmp/cs3 --backbones dssm --seeds 2",
)
def cs3(
    out: Out = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A dataset of rows of `consort data import`; default: simulated.")
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="A grid: a YAML file, or a name such as cs3_simulated; default: by the data.")
    ] = None,
    part: Annotated[list[_CS3Part] | None, typer.Option(help="These parts alone; may be repeated.")] = None,
    seeds: Seeds = None,
    requests: Requests = None,
    methods: Annotated[str | None, typer.Option(help="These methods alone, e.g. base,full.")] = None,
    backbones: Annotated[str | None, typer.Option(help="These towers alone, e.g. dssm,dat.")] = None,
    workers: Workers = None,
    threads: Threads = 1,
    render_only: RenderOnly = False,
    json_file: JsonFile = None,
) -> None:
    """CS3 on a stream: towers with each part and all, over time, and a control that leaks; OUT/cs3.md is the page."""
    made = Made("cs3", out, data, grid, workers, threads, render_only)
    results = made.results(given(requests=requests), names(methods), seeds, parts(part), names(backbones))
    _show_cs3(results)
    made.write_page(results)
    save(results, json_file)


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


def _show_cs3(results: dict[str, Any]) -> None:
    from experiments.cs3.findings import Findings
    from experiments.cs3.methods import backbone_title, title
    from experiments.cs3.rates import RATES
    from experiments.cs3.words import verdict
    from experiments.text import interval, p_value

    findings = Findings(results)
    rows = [
        (
            rates,
            backbone_title(one.question.backbone),
            f"{title(one.question.better)} > {title(one.question.worse)}",
            one.question.mode,
            interval(one.test),
            p_value(one.adjusted_p),
            verdict(one),
        )
        for rates in RATES
        for one in findings.gains(rates)
    ]
    if rows:
        header = ("rates", "backbone", "claim", "test rows", "difference [95 %]", "p (Holm)", "verdict")
        table("Differences of AUC, in 1e-5", header, rows)
    for own in findings.orders():
        if own.flag:
            print(f"{title(own.method)}: {own.flag}")
