"""Options that the tables share, and how each is made."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from consort.cli.output import say

Out = Annotated[Path | None, typer.Option("--out", metavar="OUT", help="Folder of the results and the page; required.")]
Seeds = Annotated[int | None, typer.Option(metavar="N", help="Use only the first N seeds.", min=1, max=100)]
Requests = Annotated[int | None, typer.Option(metavar="N", help="Number of requests of a simulated log.", min=20)]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="FOLDER", help="Dataset of rows (duet: requests); default: a simulated log."),
]
Grid = Annotated[
    str | None,
    typer.Option(metavar="GRID", help="YAML file, or a name of experiments/grids; default: by the data."),
]
Workers = Annotated[
    int | None, typer.Option(metavar="N", help="Number of parallel processes; default: cores / threads.", min=1)
]
Threads = Annotated[int, typer.Option(metavar="N", help="Number of threads per process.", min=1)]
RenderOnly = Annotated[
    bool, typer.Option("--render-only", help="Do not train; render the page from the results in OUT.")
]


@dataclass(frozen=True)
class Made:
    """A table of `experiments`, made or read.

    Args:
      table: its package.
      out: of the results and the page.
      data: a dataset; None for simulated logs.
      grid: a file or a name; None: by the data.
      workers, threads: of the runner.
      render_only: read the results instead of making them.
    """

    table: str
    out: Path | None
    data: Path | None
    grid: str | None
    workers: int | None
    threads: int
    render_only: bool

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"experiments.{self.table}.{name}")

    def results(self, changes: Mapping[str, Any], *narrowing: Any) -> dict[str, Any]:
        """What the results file holds, once its cells are there.

        Args:
          changes: values over those of the grid's file.
          narrowing: what of the grid is made, as its `narrowed` takes it.
        """
        out = _folder(self.out, self.render_only)
        found: dict[str, Any]
        if self.render_only:
            found = self._module("grid").read_results(out)
            return found
        grids = self._module("grid")
        whole = grids.load_grid(self.grid or _grid_for(self.data, self.table), changes)
        chosen = grids.narrowed(whole, *narrowing)
        found = self._module("runner").run_grid(chosen, out, self.data, whole, self.workers, self.threads, say)
        return found

    def write_page(self, results: Mapping[str, Any]) -> None:
        """Writes the page with its plots, and says where."""
        from transforms.files import write_text

        out, page = _folder(self.out, self.render_only), self._module("page")
        for name, text in page.render(results).items():
            write_text(out / name, text)
        print(f"the page: {out / page.PAGE}")


def _folder(out: Path | None, render_only: bool) -> Path:
    """The folder of a table.

    Raises:
      InputError: none is named.
    """
    if out is not None:
        return out
    from transforms.errors import InputError

    fix = "name one, e.g. --out experiments/results for the committed ones" if render_only else "name one"
    raise InputError("--out", "nothing", "a folder", fix)


def _grid_for(data: Path | None, of_table: str) -> str:
    """Name of the grid of a table that fits the data."""
    if data is None:
        return f"{of_table}_simulated"
    from transforms.records import load_dataset

    return f"{of_table}_{load_dataset(data).source}"


def names(listed: str | None) -> tuple[str, ...] | None:
    """Names given as one text, with commas between them."""
    return None if listed is None else tuple(listed.split(","))


def parts(part: Sequence[StrEnum] | None) -> tuple[str, ...] | None:
    """Parts by their names."""
    return None if part is None else tuple(each.value for each in part)


def given(**changes: Any) -> dict[str, Any]:
    """Those that are given."""
    return {key: value for key, value in changes.items() if value is not None}
