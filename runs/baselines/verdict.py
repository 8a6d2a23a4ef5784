"""What a comparison with baselines means: warnings for the user, and the gate `min_gain_over_baseline`."""

from collections.abc import Mapping
from typing import Any

from evaluation.comparison import HIGHER_IS_BETTER, Comparison

NAIVE = ("mean_rate", "logging_policy", "most_popular", "recently_popular")
"""Baselines that know nothing of the features; a model that is not better than these has learned nothing of use."""
TRUE_VALUE, RECALL = "true_value", "catalogue_recall"
_BOUNDS = ("random", "oracle")
_DECISIVE = ("auc_entire", "auc")
_SHOWN = ("auc", "logloss", "gauc_request", "gauc_user", "auc_entire", "auc_unexposed")
_MOST_COLUMNS = 5


def decisive_metric(metrics: Mapping[str, Any]) -> str | None:
    """Returns the metric by which model and baseline are judged.

    Of towers the true value, or where that is not known the recall, at the largest k; else `auc_entire` or `auc`.
    """
    of_towers = _at_each_k(metrics, TRUE_VALUE) or _at_each_k(metrics, RECALL)
    if of_towers:
        return of_towers[-1]
    return next((key for key in _DECISIVE if key in metrics), None)


def _at_each_k(metrics: Mapping[str, Any], name: str) -> list[str]:
    """Returns the keys `name@k` of metrics, without those of intervals, by k."""
    keys = [key for key in metrics if key.startswith(f"{name}@") and key.rpartition("@")[2].isdigit()]
    return sorted(keys, key=lambda key: int(key.rpartition("@")[2]))


def warnings_of(comparison: Comparison) -> list[str]:
    """Returns a line for each naive baseline that the model is not significantly better than, and each better one."""
    key = decisive_metric(comparison.metrics)
    # Towers that learn from shown items alone seldom retrieve well, however long they train.
    of_towers = key is not None and key.startswith((RECALL, TRUE_VALUE))
    lines = []
    for name, gains in comparison.gain.items():
        if key not in gains:
            continue
        low, high = gains.get(f"{key}_low"), gains.get(f"{key}_high")
        if name in NAIVE and (gains[key] <= 0 if low is None else low <= 0):
            said, fix = "not significantly better than", "train longer or on more data, or look at the features"
            fix = "choose another recipe by docs/retrieval.md, or serve that instead" if of_towers else fix
        elif high is not None and high < 0:
            said, fix = (
                "significantly worse than",
                "search for better settings with `consort tune`, or serve that instead",
            )
        else:
            continue
        lines.append(f"the model is {said} the baseline {name}: {_gain(key, gains)}; {fix}")
    return lines


def reported(comparison: Comparison, notes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a result says of baselines: `baselines`, `gain`, `baselines_fitted` and, if any, `warnings`.

    Args:
      comparison: of the model with them.
      notes: on how they were fitted.
    """
    warnings = warnings_of(comparison)
    result = {"baselines": comparison.baselines, "gain": comparison.gain, "baselines_fitted": notes}
    return {**result, **({"warnings": warnings} if warnings else {})}


def failed_gains(report: Mapping[str, Any], least: float | None) -> list[str]:
    """Returns why a model is rejected by `gate.min_gain_over_baseline`; nothing where it is not.

    Args:
      report: metrics of the model, and `gain` by baseline, on the split that decides.
      least: gain over the best baseline that is needed; besides, the model must be significantly better than each
        naive baseline. None: nothing is needed.
    """
    if least is None:
        return []
    key = decisive_metric(report)
    gains = {name: values for name, values in report.get("gain", {}).items() if key in values}
    if key is None or not gains:
        return ["min_gain_over_baseline: there is no baseline to compare with; set `baselines: true`, or leave it out"]
    reasons = []
    best = min(gains, key=lambda name: gains[name][key])
    if not gains[best][key] >= least:
        reasons.append(f"{_gain(key, gains[best])} over the baseline {best}; at least {least:+g} is needed")
    for name in (name for name in NAIVE if name in gains):
        if not gains[name].get(f"{key}_low", gains[name][key]) > 0:
            reasons.append(f"not significantly better than the baseline {name}: {_gain(key, gains[name])}")
    return reasons


def _gain(key: str, gains: Mapping[str, float]) -> str:
    return f"gain in {key} {_interval(key, gains)}"


def _interval(key: str, gains: Mapping[str, float]) -> str:
    low, high = gains.get(f"{key}_low"), gains.get(f"{key}_high")
    return f"{gains[key]:+.4f}" + ("" if low is None or high is None else f" [{low:+.4f}, {high:+.4f}]")


def baseline_lines(report: Mapping[str, Any]) -> list[str]:
    """Returns a table of a model beside its baselines, the best value of each metric marked with a star.

    Args:
      report: metrics of the model, with `baselines` and `gain`, and perhaps the bounds of the true value; no lines
        without baselines.
    """
    baselines, gain = report.get("baselines", {}), report.get("gain", {})
    if not baselines:
        return []
    recalls, values = _at_each_k(report, RECALL), _at_each_k(report, TRUE_VALUE)
    shown = [key for key in _SHOWN if key in report and not (key == "gauc_user" and "auc_entire" in report)]
    keys = [*recalls[-1:], *values] if values else recalls or shown
    keys = keys[-_MOST_COLUMNS:] if recalls else keys[:_MOST_COLUMNS]
    decisive = decisive_metric(report) or ""
    rows = {"model": report, **baselines}
    known = {key: [one[key] for one in rows.values() if key in one] for key in keys}
    best = {key: (max if HIGHER_IS_BETTER[key.partition("@")[0]] else min)(known[key]) for key in keys}
    for name in _BOUNDS if values else ():
        rows[name] = {key: report[f"{name}_{key}"] for key in values if f"{name}_{key}" in report}
    title = f"{report['split']} split" if "split" in report else ""
    lines = [[title, *keys, f"gain in {decisive}"]]
    for name, figures in rows.items():
        stars = {key: "*" if name not in _BOUNDS and figures.get(key) == best[key] else "" for key in keys}
        cells = [f"{figures[key]:.4f}{stars[key]}" if key in figures else "" for key in keys]
        gained = gain.get(name, {})
        lines.append([name, *cells, _interval(decisive, gained) if decisive in gained else ""])
    widths = [max(map(len, column)) for column in zip(*lines)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    return [*table, "* best value of the column"]
