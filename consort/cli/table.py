"""`consort table`: the tables of the papers, made again."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from consort.cli.options import JsonFile, SeedOverride
from consort.cli.output import save, table
from consort.cli.table_options import (
    Data,
    Grid,
    Made,
    Out,
    RenderOnly,
    Requests,
    Seeds,
    Threads,
    Workers,
    given,
    names,
    parts,
)

app = typer.Typer(help="Reproduce the tables of the papers.", no_args_is_help=True)


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


@app.command("mutual")
def mutual(
    out: Out = None,
    data: Data = None,
    grid: Grid = None,
    groups: Annotated[
        int | None, typer.Option(metavar="N", help="Number of groups in Table 1, and at most elsewhere.", min=1)
    ] = None,
    rows: Annotated[int | None, typer.Option(metavar="N", help="Number of rows of a simulated log.", min=100)] = None,
    models: Annotated[str | None, typer.Option(metavar="NAMES", help="Only these models, e.g. deepfm,dcn.")] = None,
    part: Annotated[list[_Part] | None, typer.Option(help="Only this part; repeatable.")] = None,
    workers: Workers = None,
    threads: Threads = 1,
    render_only: RenderOnly = False,
    seed: SeedOverride = None,
    json_file: JsonFile = None,
) -> None:
    """Mutual learning: Tables 1 to 4 of the paper, and controls.

    Writes the page OUT/mutual.md.

    Example: consort table mutual --out /tmp/mutual --groups 2
    """
    made = Made("mutual", out, data, grid, workers, threads, render_only)
    results = made.results(given(rows=rows, seed=seed), names(models), groups, parts(part))
    _show(results)
    made.write_page(results)
    save(results, json_file)


@app.command("duet")
def duet(
    out: Out = None,
    data: Data = None,
    grid: Grid = None,
    part: Annotated[list[_DuetPart] | None, typer.Option(help="Only this part; repeatable.")] = None,
    seeds: Seeds = None,
    requests: Requests = None,
    methods: Annotated[str | None, typer.Option(metavar="NAMES", help="Only these methods, e.g. single,duet.")] = None,
    workers: Workers = None,
    threads: Threads = 1,
    render_only: RenderOnly = False,
    json_file: JsonFile = None,
) -> None:
    """DUET on the entire candidate space, with ablations.

    Writes the page OUT/duet.md.

    Example: consort table duet --out /tmp/duet --part main --seeds 2
    """
    made = Made("duet", out, data, grid, workers, threads, render_only)
    results = made.results(given(requests=requests), names(methods), seeds, parts(part))
    _show_duet(results)
    made.write_page(results)
    save(results, json_file)


@app.command("cs3")
def cs3(
    out: Out = None,
    data: Data = None,
    grid: Grid = None,
    part: Annotated[list[_CS3Part] | None, typer.Option(help="Only this part; repeatable.")] = None,
    seeds: Seeds = None,
    requests: Requests = None,
    methods: Annotated[str | None, typer.Option(metavar="NAMES", help="Only these methods, e.g. base,full.")] = None,
    backbones: Annotated[str | None, typer.Option(metavar="NAMES", help="Only these towers, e.g. dssm,dat.")] = None,
    workers: Workers = None,
    threads: Threads = 1,
    render_only: RenderOnly = False,
    json_file: JsonFile = None,
) -> None:
    """CS3 on a stream: each of its parts, order and drift.

    Writes the page OUT/cs3.md.

    Example: consort table cs3 --out /tmp/cs3 --backbones dssm --seeds 2
    """
    made = Made("cs3", out, data, grid, workers, threads, render_only)
    results = made.results(given(requests=requests), names(methods), seeds, parts(part), names(backbones))
    _show_cs3(results)
    made.write_page(results)
    save(results, json_file)


def _show(results: dict[str, Any]) -> None:
    from experiments.mutual.findings import Findings
    from experiments.mutual.page import name

    rows = [
        (name(one.model), f"{name(one.better)} > {name(one.worse)}", *_test(one.test))
        for one in Findings(results).headlines()
    ]
    _show_tests(("model", "claim"), rows)


def _show_duet(results: dict[str, Any]) -> None:
    from experiments.duet.findings import METRICS, Findings
    from experiments.duet.methods import title

    findings = Findings(results)
    rows = [
        (METRICS[one.metric], f"{title(one.better)} > {title(one.worse)}", *_test(one.test))
        for one in (*findings.paper_tests(), *findings.strongest_tests())
    ]
    _show_tests(("AUC", "claim"), rows)


def _show_cs3(results: dict[str, Any]) -> None:
    from experiments.cs3.findings import Findings
    from experiments.cs3.methods import backbone_title, title
    from experiments.cs3.rates import RATES

    findings = Findings(results)
    rows = []
    for rates in RATES:
        for one in findings.gains(rates):
            asked = one.question
            claim = f"{title(asked.better)} > {title(asked.worse)}"
            rows.append((rates, backbone_title(asked.backbone), claim, asked.mode, *_test(one.test)))
    _show_tests(("rates", "backbone", "claim", "test rows"), rows)
    for own in findings.orders():
        if own.flag:
            print(f"{title(own.method)}: {own.flag}")


def _test(test: Any) -> tuple[str, ...]:
    from experiments.page import interval, p_value

    return interval(test), p_value(test.adjusted_p), test.verdict


def _show_tests(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    if rows:
        header = (*columns, "difference [95 %]", "p (Holm)", "verdict")
        table("Differences of AUC, in 1e-5", header, rows)
