"""The page of a grid: the paper's rows beside ours, tests, plots; every figure from the results."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.dot_plot import DotRow, dot_plot
from experiments.duet import paper
from experiments.duet.findings import EXPOSED, LOGGING, METRICS, ORACLE, UNEXPOSED, Comparison, Findings
from experiments.duet.methods import DUET, DUET_STAGES, SINGLE, title
from experiments.duet.studies import ablations, bias, curve, schedules, set_effect
from experiments.duet.words import about, deviations, reproduced
from experiments.statistics import paired
from experiments.text import UNIT, interval, listed, p_value, spread, table
from experiments.world_grid import DEFAULT

PAGE, MAIN_PLOT = "duet.md", "duet_main.svg"
_OTHERS = ("uauc", "logloss", "ndcg@10", "gap_closed_unexposed")


def render(results: Mapping[str, Any]) -> dict[str, str]:
    """Text by file name: the page and its plots."""
    findings = Findings(results)
    lines = ["# DUET: the paper's tables, and ours", "", *about(findings), *deviations(findings)]
    files: dict[str, str] = {}
    if findings.rows("main"):
        lines += [*_main(findings), *_main_plot(findings, files), *_tests(findings), *_decomposition(findings)]
    for part in (ablations, curve, schedules, bias, set_effect):
        lines += part(findings, files)
    lines += [*_seeds(findings), *_tuning(findings), *reproduced(findings)]
    return {PAGE: "\n".join(lines).rstrip() + "\n", **files}


def _main(findings: Findings) -> list[str]:
    shown = findings.metrics()
    blank = [""] * (len(_OTHERS) + 3)
    rows = []
    for data, metric, value in paper.TABLE_2:
        told = f"{value:.4f}" + ("" if metric == "AUC" else f" ({metric})")
        rows.append([f"paper, {data}", "DUET", "", *(told if key == EXPOSED else "" for key in shown), *blank])
    for row in (*findings.rows("main"), *findings.rates(), LOGGING, ORACLE):
        cells = [_spread(findings, row, metric) for metric in shown]
        if any(cells):
            others = [_mean(findings, row, metric) for metric in _OTHERS]
            n = len(findings.seeds(DEFAULT, EXPOSED, row))
            rows.append(["ours", title(row), str(n), *cells, *others, *_cost(findings, row)])
    header = (
        "whose", "method", "seeds", *(f"AUC, {METRICS[metric]}" for metric in shown), "UAUC", "log loss", "NDCG@10",
        "gap closed, unexposed", "learning rate", "epochs", "CPU s",
    )  # fmt: skip
    return [
        "## Main table",
        "",
        "On the test requests, mean ± standard deviation over seeds. *Gap closed*: 0 is as good as the logging policy "
        "on unexposed candidates, 1 as the true probabilities. *Epochs*: after which the weights were taken.",
        "",
        *table(header, rows),
    ]


def _spread(findings: Findings, row: str, metric: str) -> str:
    values = findings.values(DEFAULT, row, metric)
    return spread(values) if values else ""


def _mean(findings: Findings, row: str, metric: str) -> str:
    values = findings.values(DEFAULT, row, metric)
    return f"{statistics.fmean(values):.4f}" if values else ""


def _cost(findings: Findings, row: str) -> list[str]:
    found = [findings.cell(DEFAULT, row, seed) for seed in findings.seeds(DEFAULT, EXPOSED, row)]
    cells = [cell for cell in found if cell is not None]
    if not cells:
        return ["", "", ""]
    rates = sorted({f"{cell['learning_rate']:g}" for cell in cells})
    epochs = statistics.fmean(cell["best_epoch"] for cell in cells)
    return [", ".join(rates), f"{epochs:.1f}", f"{statistics.fmean(cell['cpu_seconds'] for cell in cells):.0f}"]


def _main_plot(findings: Findings, files: dict[str, str]) -> list[str]:
    metric = UNEXPOSED if UNEXPOSED in findings.metrics() else EXPOSED
    rows = []
    for row in findings.rows("main"):
        values = findings.values(DEFAULT, row, metric)
        own = paired(values, [0.0] * len(values))
        rows.append(DotRow(title(row), values, own.mean, own.low, own.high))
    named = {name: findings.values(DEFAULT, name, metric) for name in (LOGGING, ORACLE)}
    marks = {name: statistics.fmean(values) for name, values in named.items() if values}
    name = f"AUC, {METRICS[metric]} candidates"
    files[MAIN_PLOT] = dot_plot(f"{name}, a dot a seed", name, rows, marks, zero=False)
    return [f"![{name}]({MAIN_PLOT})", ""]


def _tests(findings: Findings) -> list[str]:
    lines: list[str] = []
    told = (
        ("### DUET as the paper states it", findings.paper_tests()),
        ("### DUET with stages", findings.strongest_tests()),
        ("### Beside click rates without a model", findings.rates_tests()),
    )
    for heading, found in told:
        if found:
            lines += [heading, "", *comparisons(found)]
    if not lines:
        return []
    return [
        "## Tests",
        "",
        f"Differences of AUC in units of {1 / UNIT:.0e}, paired by seed: the same log. p is of the paired t-test; "
        "Holm's is adjusted for all rows of its table, and decides: the claim that the first is above the second is "
        "confirmed, or refuted, where that is below 0.05, by the side on which the interval lies; else it is not "
        "decided. The intervals are those of each test for itself.",
        "",
        *lines,
    ]


def comparisons(found: Sequence[Comparison]) -> list[str]:
    """A table of tests."""
    rows = []
    for one in found:
        p_values = [p_value(one.test.p), p_value(one.adjusted_p)]
        claim = f"{title(one.better)} > {title(one.worse)}"
        rows.append(
            [METRICS[one.metric], claim, str(len(one.test.differences)), interval(one.test), *p_values, one.verdict]
        )
    return table(("AUC", "claim", "n", "difference [95 % interval]", "p", "p (Holm)", "verdict"), rows)


def _decomposition(findings: Findings) -> list[str]:
    keys = (
        "prediction_unexposed", "truth_unexposed", "error_mean_unexposed", "error_std_unexposed", "agreement",
        "disagreement", "error_correlation",
    )  # fmt: skip
    rows = []
    for row in findings.rows("main"):
        cells = [_mean(findings, row, key) for key in keys]
        if any(cells):
            rows.append([title(row), *cells])
    if not rows:
        return []
    header = (
        "method", "mean prediction", "mean truth", "logit error, mean", "logit error, std", "pair agrees",
        "pair differs by", "correlation of the pair's errors",
    )  # fmt: skip
    return [
        "## What a pair could teach: predictions on unexposed candidates",
        "",
        "*Logit error*: predicted minus true logit. *Pair agrees*: share of candidates on which the two models' "
        "probabilities differ by less than 0.01. Where the errors of the two models are correlated, what one says is "
        "as wrong as what the other believes, in the same direction; a label from it moves nothing towards the truth.",
        "",
        *table(header, rows),
    ]


def _seeds(findings: Findings) -> list[str]:
    metric = UNEXPOSED if UNEXPOSED in findings.metrics() else EXPOSED
    named = [
        SINGLE,
        "weight_matched",
        "two_singles",
        "two_singles_ensemble",
        DUET,
        DUET_STAGES,
        "stage_heads_10",
        LOGGING,
        ORACLE,
    ]
    rows = [row for row in named if findings.seeds(DEFAULT, metric, row)]
    if not rows:
        return []
    lines = []
    for seed in findings.seeds(DEFAULT, metric, *rows):
        cell = next((one for one in (findings.cell(DEFAULT, row, seed) for row in rows) if one is not None), None)
        sha256 = "" if cell is None else f"`{cell['data_sha256'][:16]}…`"
        lines.append([str(seed), sha256, *(f"{findings.value(DEFAULT, row, seed, metric):.5f}" for row in rows)])
    header = ("seed", "sha256 of the data", *(title(row) for row in rows))
    return ["## Seed by seed", "", f"AUC, {METRICS[metric]} candidates.", "", *table(header, lines)]


def _tuning(findings: Findings) -> list[str]:
    methods = list(dict.fromkeys(cell["method"] for cell in findings.tuning))
    if not methods:
        return []
    rates = sorted({cell["learning_rate"] for cell in findings.tuning})
    found: dict[tuple[str, float], list[float]] = {}
    for cell in findings.tuning:
        found.setdefault((cell["method"], cell["learning_rate"]), []).append(cell["monitored"])
    rows = []
    for method in methods:
        values = [found.get((method, rate)) for rate in rates]
        rows.append([title(method), *("" if own is None else f"{statistics.fmean(own):.5f}" for own in values)])
    seeds = listed([str(seed) for seed in findings.grid.tuning_seeds])
    return [
        "## Learning rates",
        "",
        f"What each method monitors on the eval requests, at its best epoch, on seed {seeds}, which no table uses; the "
        "least mean chose. Variants of DUET take DUET's rate; a rate chosen in the default world serves in all.",
        "",
        *table(("method", *(f"{rate:g}" for rate in rates)), rows),
    ]
