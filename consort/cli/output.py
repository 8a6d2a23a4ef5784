"""Results on stdout, and the same result as JSON; progress is `transforms.progress`, on stderr."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transforms.files import write_text
from transforms.progress import as_named, clock, progress, say

__all__ = [
    "clock", "describe_best", "progress", "report_changed", "report_warnings", "save", "say", "show",
    "show_baselines", "summary_of", "table", "with_readable_times",
]  # fmt: skip


def show(result: Mapping[str, Any], json_file: Path | None = None) -> None:
    """Prints a result as aligned `key  value` lines and writes it as JSON if a file is named."""
    flat = list(_flatten(result))
    width = max((len(key) for key, _ in flat), default=0)
    for key, value in flat:
        print(as_named(f"{key:<{width}}  {_text(value)}"))
    save(result, json_file)


def save(result: Mapping[str, Any], json_file: Path | None) -> None:
    """Writes a result as JSON, atomically, if a file is named."""
    if json_file is not None:
        write_text(json_file, as_named(json.dumps(result, indent=2, sort_keys=True, default=str)) + "\n")


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


def show_baselines(report: Mapping[str, Any]) -> None:
    """Prints a model beside its baselines, the best value of each metric marked with a star.

    Args:
      report: metrics of the model, with `baselines` and `gain` as `evaluation.comparison.Comparison` has them and
        perhaps `warnings`, which are reported; without baselines nothing is printed.
    """
    from runs.baselines.verdict import baseline_lines

    for line in baseline_lines(report):
        print(line)
    for warning in report.get("warnings", ()):
        say(f"warning: {warning}")


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


def summary_of(directory: Path, dataset: Any) -> dict[str, Any]:
    """Returns what is shown of a dataset: its counts, positives and times."""
    counts = {
        record: {
            split: {
                "records": info.records,
                "examples": info.examples,
                "positives": info.positives,
                "time_range": list(info.time_range or ()),
            }
            for split, info in splits.items()
        }
        for record, splits in dataset.records.items()
    }
    summary = {"directory": str(directory), "source": dataset.source, "sha256": dataset.sha256, "records": counts}
    tables = dataset.items.tables if dataset.items else {}
    if tables:
        summary["items"] = {name: sum(shard.records for shard in table.shards) for name, table in tables.items()}
    return summary


def with_readable_times(summary: dict[str, Any]) -> dict[str, Any]:
    """Returns a summary with times of a clock as text, UTC."""
    from datetime import UTC, datetime

    from transforms.domains import FIRST_PLAUSIBLE

    def text(time: int) -> str:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}" if time >= FIRST_PLAUSIBLE else str(time)

    def split(info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "time_range": " to ".join(map(text, info["time_range"]))}

    records = {
        record: {name: split(info) for name, info in splits.items()} for record, splits in summary["records"].items()
    }
    return {**summary, "records": records}
