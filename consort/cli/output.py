"""Results on stdout, progress on stderr, the same result as JSON."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transforms.files import write_text

LOG_EVERY_S = 15.0
"""Seconds between two lines of progress where stderr is not a terminal."""


def show(result: Mapping[str, Any], json_file: Path | None = None) -> None:
    """Prints a result as aligned `key  value` lines and writes it as JSON if a file is named."""
    flat = list(_flatten(result))
    width = max((len(key) for key, _ in flat), default=0)
    for key, value in flat:
        print(f"{key:<{width}}  {_text(value)}")
    save(result, json_file)


def save(result: Mapping[str, Any], json_file: Path | None) -> None:
    """Writes a result as JSON, atomically, if a file is named."""
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


def report_changed(shards: Sequence[str]) -> None:
    """Reports shards that are readable but differ from their checksum in `dataset.json`."""
    for path in shards:
        say(f"{path} differs from its checksum in dataset.json; its records are readable and are used as they are")


def describe_best(run: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `run.json` records about the weights that were kept.

    Args:
      run: a result with `training`, and with `recipe` if several models were trained together.

    Returns:
      `kept_epoch`: metrics of the kept weights, also of an epoch that `max_steps` cut short; `served_peer`, e.g.
      `peer_2 of 4, DCN`, absent where there are no peers.
    """
    training, recipe = run["training"], run.get("recipe", {})
    best = {"kept_epoch": training.get("best", {})}
    if "best_peer" not in recipe:
        return best
    peers, index = recipe["peers"], recipe["best_peer"]
    return {**best, "served_peer": f"peer_{index} of {len(peers)}, {peers[index]['model']}"}


@contextlib.contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Yields `update(done, total)`: draws a bar on a terminal and prints a line every few seconds elsewhere."""
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
