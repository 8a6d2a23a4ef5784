"""Results on stdout, progress on stderr, the same result as JSON."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transforms.errors import InputError
from transforms.files import check_folder, check_local, write_text
from transforms.locks import check_unlocked

if TYPE_CHECKING:
    from runs.config import RunConfig

LOG_EVERY_S = 15.0
"""Seconds between two lines of progress where stderr is no terminal."""


def _check_json_file(path: Path | None) -> Path | None:
    # Before the work, which may take hours, not when its result is to be written.
    if path is not None:
        if path.is_dir():
            raise InputError(f"--json {path}", "a folder", "a file, there or not", "name a file in it")
        check_local(path, "--json")
        check_folder(path.parent, "--json")
    return path


JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON too.", callback=_check_json_file),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of every random thing.", min=0, max=2**32 - 1)]


def check_unused(folder: Path, config: "RunConfig") -> None:
    """Refuses a folder in which another run is at work, before TensorFlow is loaded, which takes a while.

    Raises:
      InputError: one is.
    """
    # The processes of one run share its folder, and its chief holds the lock.
    if config.training.distribution in ("none", "mirrored"):
        check_unlocked(folder)


def show(result: Mapping[str, Any], json_file: Path | None = None) -> None:
    """Prints a result as aligned `key  value` lines and writes it as JSON if a file is named."""
    flat = list(_flatten(result))
    width = max((len(key) for key, _ in flat), default=0)
    for key, value in flat:
        print(f"{key:<{width}}  {_text(value)}")
    save(result, json_file)


def save(result: Mapping[str, Any], json_file: Path | None) -> None:
    """Writes a result as JSON, whole or not at all."""
    if json_file is not None:
        write_text(json_file, json.dumps(result, indent=2, sort_keys=True, default=str) + "\n")


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints rows under a header, columns aligned."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, title_justify="left", header_style="bold")
    for index, name in enumerate(header):
        drawn.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(_text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 110).print(drawn)


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def tell_changed(shards: Sequence[str]) -> None:
    """Says which shards are sound but no longer what their `dataset.json` says."""
    for path in shards:
        say(f"{path} is no longer what dataset.json says; its records are sound and are taken as they are")


def what_is_kept(run: Mapping[str, Any]) -> dict[str, Any]:
    """What `run.json` says of the weights that were kept: their metrics, and which peer is served.

    Args:
      run: with `training`, and with `recipe` if models were trained together.

    Returns:
      `kept_epoch`: metrics of the kept weights, those of an epoch that `max_steps` cut short, too; `served_peer`, e.g.
      `peer_2 of 4, DCN`, absent where there are no peers.
    """
    training, recipe = run["training"], run.get("recipe", {})
    kept = {"kept_epoch": training.get("best", {})}
    if "best_peer" not in recipe:
        return kept
    peers, best = recipe["peers"], recipe["best_peer"]
    return {**kept, "served_peer": f"peer_{best} of {len(peers)}, {peers[best]['model']}"}


@contextlib.contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Gives `update(done, total)`: a bar on a terminal, elsewhere a line now and then."""
    if not sys.stderr.isatty():
        yield _progress_lines(title)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _progress_lines(title: str) -> Callable[[int, int], None]:
    written = time.monotonic()

    def update(done: int, total: int) -> None:
        nonlocal written
        if time.monotonic() - written >= LOG_EVERY_S:
            say(f"{title}: {done:,} of {total:,}")
            written = time.monotonic()

    return update


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
