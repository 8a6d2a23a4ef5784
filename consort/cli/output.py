"""Results on stdout, and the same result as JSON; progress is `transforms.progress`, on stderr."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transforms.files import write_text
from transforms.progress import clock, progress, say

__all__ = [
    "clock", "describe_best", "progress", "report_changed", "report_warnings", "save", "say", "show",
    "show_baselines", "table",
]  # fmt: skip


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


_SHOWN = ("auc", "logloss", "gauc_user", "gauc_request", "auc_entire", "auc_unexposed")
_MOST_COLUMNS = 5


def show_baselines(metrics: Mapping[str, Any]) -> None:
    """Prints the model beside its baselines, the best value of each metric marked with a star.

    Args:
      metrics: of the model, with `baselines` and `gain` as `evaluation.comparison.Comparison` has them and perhaps
        `warnings`, which are reported; without baselines nothing is printed.
    """
    from evaluation.comparison import HIGHER_IS_BETTER
    from runs.baselines.verdict import decisive_metric

    baselines, gain = metrics.get("baselines", {}), metrics.get("gain", {})
    if not baselines:
        return
    recalls = [key for key in metrics if key.startswith("catalogue_recall@") and key.rpartition("@")[2].isdigit()]
    keys = (recalls or [key for key in _SHOWN if key in metrics])[-_MOST_COLUMNS:]
    decisive = decisive_metric(metrics)
    rows = {"model": metrics, **baselines}
    lines = [["", *(key.replace("catalogue_", "") for key in keys), f"gain in {decisive}".replace("catalogue_", "")]]
    for name, values in rows.items():
        cells = [name]
        for key in keys:
            known = [one[key] for one in rows.values() if key in one]
            best = max(known) if HIGHER_IS_BETTER[key.partition("@")[0]] else min(known)
            cells.append(f"{values[key]:.4f}{'*' if values[key] == best else ' '}" if key in values else "")
        lines.append([*cells, _interval(gain.get(name, {}), decisive)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    print("* best value of the column")
    for warning in metrics.get("warnings", ()):
        say(f"warning: {warning}")


def _interval(gains: Mapping[str, float], key: str | None) -> str:
    if key is None or key not in gains:
        return ""
    low, high = gains.get(f"{key}_low"), gains.get(f"{key}_high")
    return f"{gains[key]:+.4f}" + ("" if low is None or high is None else f" [{low:+.4f}, {high:+.4f}]")


def report_changed(shards: Sequence[str]) -> None:
    """Reports shards that are readable but differ from their checksum in `dataset.json`."""
    for path in shards:
        say(f"{path} differs from its checksum in dataset.json; its records are readable and are used as they are")


def report_warnings(run: Mapping[str, Any]) -> None:
    """Reports what `run.json` warns of: training that was too short or learned nothing."""
    for section in ("training", "recipe"):
        for warning in run.get(section, {}).get("warnings", []):
            say(f"warning: {warning}")


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
