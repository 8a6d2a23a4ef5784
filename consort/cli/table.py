"""`consort table`: the tables of the papers, made again."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli.options import JsonFile, SeedOverride
from consort.cli.output import save, say
from consort.cli.output import table as print_table
from transforms.errors import InputError

app = typer.Typer(help="Reproduce the tables of the papers.", no_args_is_help=True)

Out = Annotated[Path | None, typer.Option("--out", metavar="OUT", help="Folder of the results and the page; required.")]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="FOLDER", help="Dataset to train on; default: simulated logs.")
]
GridName = Annotated[
    str | None,
    typer.Option("--grid", metavar="GRID", help="YAML file, or name of a packaged grid; default: that of the data."),
]
Seeds = Annotated[int | None, typer.Option(metavar="N", help="Use only the first N seeds.", min=1, max=100)]
Methods = Annotated[str | None, typer.Option(metavar="NAMES", help="Run only these methods, separated by commas.")]
Parts = Annotated[
    list[str] | None, typer.Option("--part", metavar="PART", help="Run only this part of the grid; repeatable.")
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", help="Number of parallel processes; default: cores / threads.", min=1)
]
Threads = Annotated[int, typer.Option(metavar="N", help="Number of threads per process.", min=1)]
RenderOnly = Annotated[
    bool, typer.Option("--render-only", help="Do not train; write the page from the results in OUT.")
]


@app.command("mutual")
def mutual(
    out: Out = None,
    data: Data = None,
    grid: GridName = None,
    part: Parts = None,
    groups: Annotated[
        int | None, typer.Option(metavar="N", help="Number of groups in Table 1; the maximum elsewhere.", min=1)
    ] = None,
    rows: Annotated[int | None, typer.Option(metavar="N", help="Number of rows of the simulated log.", min=100)] = None,
    models: Annotated[str | None, typer.Option(metavar="NAMES", help="Run only these models, e.g. deepfm,dcn.")] = None,
    workers: Workers = None,
    threads: Threads = 1,
    render_only: RenderOnly = False,
    seed: SeedOverride = None,
    json_file: JsonFile = None,
) -> None:
    """Mutual learning: Tables 1 to 4 of the paper, and controls.

    Writes the page OUT/mutual.md. Parts: table_1, table_2, sizes, controls.

    Example: consort table mutual --out /tmp/mutual --groups 2
    """
    chosen = {"models": _names(models), "groups": groups, "parts": _names(part)}
    run = _Run("mutual", out, data, grid, {"rows": rows, "seed": seed}, chosen, workers, threads)
    results = run.results(render_only)

    from experiments.mutual.findings import Findings
    from experiments.mutual.page import name

    rows_shown = [
        (name(one.model), f"{name(one.better)} > {name(one.worse)}", *_test(one.test))
        for one in Findings(results).headlines()
    ]
    _show_tests(("model", "claim"), rows_shown)
    run.write_page(results)
    save(results, json_file)


@app.command("duet")
def duet(
    out: Out = None,
    data: Data = None,
    grid: GridName = None,
    part: Parts = None,
    seeds: Seeds = None,
    requests: Annotated[
        int | None, typer.Option(metavar="N", help="Number of requests to simulate, or to read of --data.", min=20)
    ] = None,
    methods: Methods = None,
    workers: Workers = None,
    threads: Threads = 1,
    render_only: RenderOnly = False,
    json_file: JsonFile = None,
) -> None:
    """DUET on the entire candidate space, with ablations.

    Writes the page OUT/duet.md. Parts: main, ablations, lambda, bias,
    set_effect, schedules, cascade, sizes, sizes_set_effect.

    Example: consort table duet --out /tmp/duet --part main --seeds 2
    """
    chosen = {"methods": _names(methods), "seeds": seeds, "parts": _names(part)}
    run = _Run("duet", out, data, grid, {"requests": requests}, chosen, workers, threads)
    results = run.results(render_only)

    from experiments.duet.findings import METRICS, Findings
    from experiments.duet.methods import title

    findings = Findings(results)
    rows = [
        (METRICS[one.metric], f"{title(one.better)} > {title(one.worse)}", *_test(one.test))
        for one in (*findings.paper_tests(), *findings.strongest_tests())
    ]
    _show_tests(("AUC", "claim"), rows)
    run.write_page(results)
    save(results, json_file)


@app.command("cs3")
def cs3(
    out: Out = None,
    data: Data = None,
    grid: GridName = None,
    part: Parts = None,
    seeds: Seeds = None,
    requests: Annotated[int | None, typer.Option(metavar="N", help="Number of requests to simulate.", min=20)] = None,
    methods: Methods = None,
    backbones: Annotated[str | None, typer.Option(metavar="NAMES", help="Run only these towers, e.g. dssm.")] = None,
    workers: Workers = None,
    threads: Threads = 1,
    render_only: RenderOnly = False,
    json_file: JsonFile = None,
) -> None:
    """CS3 on a stream: each of its parts, order and drift.

    Writes the page OUT/cs3.md. Parts: main, order, sensitivity, shuffled,
    drift.

    Example: consort table cs3 --out /tmp/cs3 --backbones dssm --seeds 2
    """
    chosen = {
        "methods": _names(methods), "seeds": seeds, "parts": _names(part), "backbones": _names(backbones)
    }  # fmt: skip
    run = _Run("cs3", out, data, grid, {"requests": requests}, chosen, workers, threads)
    results = run.results(render_only)

    from experiments.cs3.cells import RATES
    from experiments.cs3.findings import Findings
    from experiments.cs3.methods import backbone_title, title

    findings = Findings(results)
    rows = []
    for rates in RATES:
        for one in findings.gains(rates):
            question = one.question
            claim = f"{title(question.better)} > {title(question.worse)}"
            rows.append((rates, backbone_title(question.backbone), claim, question.mode, *_test(one.test)))
    _show_tests(("rates", "backbone", "claim", "test rows"), rows)
    for order in findings.orders():
        if order.flag:
            print(f"{title(order.method)}: {order.flag}")
    run.write_page(results)
    save(results, json_file)


class _Run:
    """A table of `experiments`, made or read.

    Args:
      table: its package.
      out: folder of the results and the page.
      data: a dataset; None for simulated logs.
      grid: a file or a name; None: by the data.
      changes: values over those of the grid's file; None leaves one as it is.
      chosen: what of the grid is run, as its `narrowed` takes it.
      workers, threads: of the runner.
    """

    def __init__(
        self,
        table: str,
        out: Path | None,
        data: Path | None,
        grid: str | None,
        changes: Mapping[str, Any],
        chosen: Mapping[str, Any],
        workers: int | None,
        threads: int,
    ):
        self._table, self._out, self._data, self._grid = table, out, data, grid
        self._changes = {key: value for key, value in changes.items() if value is not None}
        self._chosen, self._processes = chosen, (workers, threads)

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"experiments.{self._table}.{name}")

    def results(self, render_only: bool) -> dict[str, Any]:
        """Returns what the results file holds, once its cells are there."""
        from experiments.grid import read_grid, read_results

        if self._out is None:
            fix = "name one, e.g. --out experiments/results for the committed ones" if render_only else "name one"
            raise InputError("--out", "nothing", "a folder", fix)
        grid_class = self._module("grid").GRID
        if render_only:
            return read_results(grid_class, self._out)
        grid = read_grid(grid_class, self._grid or f"{self._table}_{self._source()}", self._changes)
        from experiments.runner import run_table

        part = grid.narrowed(**self._chosen)
        return run_table(self._module("training").TABLE, part, self._out, self._data, grid, *self._processes, say)

    def _source(self) -> str:
        if self._data is None:
            return "simulated"
        from transforms.records import load_dataset

        return load_dataset(self._data).source

    def write_page(self, results: Mapping[str, Any]) -> None:
        """Writes the page with its plots, and says where."""
        from transforms.files import write_text

        out, page = self._out or Path(), self._module("page")
        for name, text in page.render(results).items():
            write_text(out / name, text)
        print(f"the page: {out / page.PAGE}")


def _names(listed: str | list[str] | None) -> tuple[str, ...] | None:
    return tuple(listed.split(",") if isinstance(listed, str) else listed) if listed else None


def _test(test: Any) -> tuple[str, ...]:
    from experiments.page import interval, p_value

    return interval(test), p_value(test.adjusted_p), test.verdict


def _show_tests(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    if rows:
        header = (*columns, "difference [95 %]", "p (Holm)", "verdict")
        print_table("Differences of AUC, in 1e-5", header, rows)
