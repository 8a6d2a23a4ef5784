"""Pages in Markdown: a template of fixed prose, filled with numbers and tables of results."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from experiments.statistics import Paired
from transforms.packages import PREFIX

UNIT = 1e5
"""Differences of AUC are reported in hundred-thousandths."""
_FIELD = re.compile(r"\{\{ (\w+) \}\}")
_BASELINE_METRICS = {
    "auc": "AUC",
    "logloss": "log loss",
    "gauc_request": "AUC within requests",
    "auc_entire": "AUC, entire space",
    "auc_unexposed": "AUC, unexposed",
}
TEST_HEADER = ("n", "difference [95 % interval]", "p", "p (Holm)", "verdict")
"""Columns of `test_cells`."""


def render(name: str, values: Mapping[str, str]) -> str:
    """Fills the template of a table, `templates/<name>.md`.

    A line with an empty value is left out, and so is a section that consists of values (lines that hold one value and
    nothing else) if all of them are empty.

    Args:
      name: of the table.
      values: text by placeholder.

    Raises:
      KeyError: the template has a placeholder without a value.
    """
    folder = resources.files(f"{PREFIX}experiments") / "templates"
    return fill((folder / f"{name}.md").read_text(encoding="utf-8"), values)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fills a template; see `render`."""
    kept: list[str] = []
    # From the last section to the first: (level, is kept) of the sections below one that is still to come.
    below: list[tuple[int, bool]] = []
    for section in reversed(re.split(r"(?m)^(?=#+ )", template)):
        level = len(section) - len(section.lstrip("#"))
        children = [is_kept for depth, is_kept in below if depth > level]
        below = [(depth, is_kept) for depth, is_kept in below if depth <= level]
        blocks = [values[field] for field in re.findall(rf"(?m)^{_FIELD.pattern}$", section)]
        is_kept = level < 2 or any(blocks) or any(children) or not (blocks or children)
        below.append((level, is_kept))
        if is_kept:
            lines = [line for line in section.split("\n") if all(values[field] for field in _FIELD.findall(line))]
            kept.append(_FIELD.sub(lambda match: values[match[1]], "\n".join(lines)))
    return re.sub(r"\n{3,}", "\n\n", "".join(reversed(kept))).strip() + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table; nothing without a row."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    head = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*head, *lines]) if lines else ""


def image(text: str, file: str) -> str:
    """Returns a plot on the page."""
    return f"![{text}]({file})"


def runs(results: Mapping[str, Any]) -> dict[str, str]:
    """Returns values that all templates share: the number of trainings, and what they ran on."""
    cells = results["cells"]
    rows = [
        [f"`{run['command']}`", str(run["date"]), run["machine"]["processor"], str(run["machine"]["cores"]),
         run["machine"]["versions"]["tensorflow"], f"`{run['code_sha256'][:16]}…`" if "code_sha256" in run else ""]
        for run in results["contexts"]
    ]  # fmt: skip
    header = ("command", "date", "processor", "cores", "TensorFlow", "sha256 of the code")
    minutes = sum(cell["cpu_seconds"] for cell in cells) / 60
    return {"trainings": f"{len(cells)}", "cpu_minutes": f"{minutes:.0f}", "runs": table(header, rows)}


def baselines(results: Mapping[str, Any]) -> str:
    """Returns a table of what simple models reach on the test split, over the logs; nothing for older results."""
    by_log = list(results.get("baselines", {}).values())
    names = dict.fromkeys(name for one in by_log for name in one)
    metrics = [key for key in _BASELINE_METRICS if any(key in one[name] for one in by_log for name in one)]
    rows = []
    for name in names:
        values = {key: [one[name][key] for one in by_log if key in one.get(name, {})] for key in metrics}
        rows.append([f"`{name}`", str(len(by_log)), *(spread(values[key]) for key in metrics)])
    return table(("baseline", "logs", *(_BASELINE_METRICS[key] for key in metrics)), rows)


def settings(grid: Any, keys: Sequence[str], of_paper: Mapping[str, Any] | None = None) -> str:
    """Returns a table of keys of a grid with their values, beside those of the paper where these are known."""
    if of_paper is None:
        return table(("setting", "value"), [[f"`{key}`", shown(getattr(grid, key))] for key in keys])
    rows = [[f"`{key}`", shown(getattr(grid, key)), shown(of_paper.get(key, ""))] for key in keys]
    return table(("setting", "ours", "paper"), rows)


def shown(value: Any) -> str:
    """Returns a setting's value as text."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(shown(each) for each in value)
    if hasattr(value, "model_dump"):
        value = {key: each for key, each in value.model_dump().items() if each is not None}
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(each)}" for key, each in value.items())
    return "" if value is None else str(value)


def auc(value: float) -> str:
    """Returns an AUC as papers print it."""
    return f"{value:.5f}"


def spread(values: Sequence[float]) -> str:
    """Returns mean ± standard deviation of AUCs; nothing without a value."""
    if not values:
        return ""
    mean = auc(statistics.fmean(values))
    return f"{mean} ± {statistics.stdev(values):.5f}" if len(values) > 1 else mean


def mean_of(values: Sequence[float], digits: int = 4) -> str:
    """Returns a mean; nothing without a value."""
    return f"{statistics.fmean(values):.{digits}f}" if values else ""


def interval(test: Paired) -> str:
    """Returns a mean difference of AUC and its interval."""
    if test.low is None or test.high is None:
        return f"{UNIT * test.mean:+.1f}"
    return f"{UNIT * test.mean:+.1f} [{UNIT * test.low:+.1f}, {UNIT * test.high:+.1f}]"


def percent(value: float | None) -> str:
    """Returns a relative improvement; nothing where there is none."""
    return "" if value is None else f"{100 * value:+.3f} %"


def p_value(value: float | None) -> str:
    """Returns a p value; nothing where there was no test."""
    if value is None:
        return ""
    return f"{value:.4f}" if value >= 1e-4 else "< 0.0001"


def test_cells(test: Paired) -> list[str]:
    """Returns the cells of a test: those that `TEST_HEADER` names."""
    return [
        str(len(test.differences)), interval(test), p_value(test.p), p_value(test.adjusted_p), test.verdict
    ]  # fmt: skip
