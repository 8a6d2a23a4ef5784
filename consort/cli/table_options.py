"""Options that the tables share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Out = Annotated[
    Path | None, typer.Option("--out", help="Folder; the same command continues a killed one, finished cells stay.")
]
Seeds = Annotated[int | None, typer.Option(help="The first so many seeds.", min=1, max=100)]
Requests = Annotated[int | None, typer.Option(help="Requests of a simulated log.", min=20)]
Workers = Annotated[int | None, typer.Option(help="Processes that train at once; default: cores over threads.", min=1)]
Threads = Annotated[int, typer.Option(help="Threads of each process.", min=1)]
RenderOnly = Annotated[
    bool, typer.Option("--render-only", help="Train nothing: write the page anew from the results in OUT.")
]


def folder(out: Path | None, render_only: bool) -> Path:
    """The folder of a table.

    Raises:
      InputError: none is named.
    """
    if out is not None:
        return out
    from transforms.errors import InputError

    fix = "name one, e.g. --out experiments/results for the committed ones" if render_only else "name one"
    raise InputError("--out", "nothing", "a folder", fix)


def grid_for(data: Path | None, of_table: str) -> str:
    """Name of the grid of a table that fits the data."""
    if data is None:
        return f"{of_table}_simulated"
    from transforms.records import load_dataset

    return f"{of_table}_{load_dataset(data).source}"


def names(listed: str | None) -> tuple[str, ...] | None:
    """Names given as one text, with commas between them."""
    return None if listed is None else tuple(listed.split(","))


def write_page(out: Path, files: Mapping[str, str], page: str) -> None:
    """Writes a page with its plots, and says where."""
    from transforms.files import write_text

    for name, text in files.items():
        write_text(out / name, text)
    print(f"the page: {out / page}")


def given(**changes: Any) -> dict[str, Any]:
    """Those that are given."""
    return {key: value for key, value in changes.items() if value is not None}
