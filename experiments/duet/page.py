"""The page of a grid: the paper's rows beside ours, ablations, studies, tests and plots."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import page
from experiments.duet.findings import EXPOSED, LOGGING, METRICS, ORACLE, Comparison, Findings
from experiments.duet.methods import DUET, DUET_STAGES, SINGLE, title
from experiments.duet.studies import STUDIES, choice, study
from experiments.grid import DEFAULT
from experiments.page import TEST_HEADER, interval, mean_of, percent, spread, table, test_cells
from experiments.plots import Line, dot_plot, dots, line_plot, points
from experiments.statistics import level

PAGE, MAIN_PLOT = "duet.md", "duet_main.svg"
LAMBDA_PLOT = "duet_lambda.svg"
_SETTINGS = (
    "source", "requests", "seeds", "batch_size", "embedding_dim", "hidden_units", "learning_rates", "tuning_seeds",
    "epochs", "patience",
)  # fmt: skip
_SETTINGS_IF_GIVEN = ("tuning_requests", "width")
_OTHERS = {"uauc": "UAUC", "logloss": "log loss", "ndcg@10": "NDCG@10", "gap_closed_unexposed": "gap closed, unexposed"}
_PAIR = {
    "prediction_unexposed": "mean prediction",
    "truth_unexposed": "mean truth",
    "error_mean_unexposed": "logit error, mean",
    "error_std_unexposed": "logit error, std",
    "agreement": "pair agrees",
    "disagreement": "pair differs by",
    "error_correlation": "correlation of the pair's errors",
}
_BY_SEED = (
    SINGLE, "weight_matched", "two_singles", "two_singles_ensemble", DUET, DUET_STAGES, "stage_heads_10", LOGGING,
    ORACLE,
)  # fmt: skip
_Files = dict[str, str]

# Figures of "Dual Model Co-Training for Entire Space CTR Prediction" (DUET, 2025, arXiv 2510.24369).
_PAPER_TABLE_2 = (("RecFlow", "AUC", 0.6322), ("industrial", "AUC", 0.6881), ("industrial", "UAUC", 0.6787))
"""Data, metric and value of DUET. Levels of the baselines are not known to us."""
_PAPER_WITHOUT_COTRAINING = (-0.0517, -0.0497, -0.0493)
"""RelaImp of the ablation on those three, its largest."""
_PAPER_WITHOUT_KL = (-0.0122, -0.0256)
"""RelaImp of the ablation: least and greatest loss."""


def render(results: Mapping[str, Any]) -> dict[str, str]:
    """Returns the page and its plots, text by file name."""
    findings = Findings(results)
    files: _Files = {}
    rates = results.get("rates")
    settings = [*_SETTINGS, *(key for key in _SETTINGS_IF_GIVEN if getattr(findings.grid, key) is not None)]
    values = {
        **page.runs(results),
        "baselines": page.baselines(results),
        "settings": page.settings(findings.grid, settings),
        "choice": choice(findings),
        "dataset": f"`{rates['dataset_sha256'][:16]}…`" if rates else "",
        "import": f"`{rates['import']}`" if rates else "",
        "rates": f"`{rates['command']}`, {rates['machine']['date']}, {rates['machine']['processor']}" if rates else "",
        "main_metric": METRICS[findings.main_metric],
        "main": _main(findings),
        "main_plot": _main_plot(findings, files),
        "paper_tests": _tests(findings.paper_tests()),
        "steps": _tests(findings.steps()),
        "strongest_tests": _tests(findings.strongest_tests()),
        "rates_tests": _tests(findings.rates_tests()),
        "pairs": _pairs(findings),
        "ablations": _ablations(findings),
        "schedules": _changed(findings, [(row, DUET, "") for row in findings.rows("schedules") if row != DUET]),
        "curve": _curve(findings, files),
        "curve_tests": _curve_tests(findings),
        "by_seed": _by_seed(findings),
        "tuning": _tuning(findings),
        **{key: value for part in STUDIES for key, value in study(findings, files, part).items()},
        "curve_plot": page.image("AUC by λ", LAMBDA_PLOT) if LAMBDA_PLOT in files else "",
    }
    return {PAGE: page.render("duet", values), **files}


def _main(findings: Findings) -> str:
    shown = findings.metrics()
    rows = []
    for row in (*findings.rows("main"), *findings.rates(), LOGGING, ORACLE):
        cells = [spread(findings.values(DEFAULT, row, metric)) for metric in shown]
        if any(cells):
            others = [mean_of(findings.values(DEFAULT, row, metric)) for metric in _OTHERS]
            n = len(findings.seeds(DEFAULT, EXPOSED, row))
            rows.append(["ours", title(row), str(n), *cells, *others, *_cost(findings, row)])
    of_paper = []
    for data, metric, value in _PAPER_TABLE_2:
        reported = f"{value:.4f}" + ("" if metric == "AUC" else f" ({metric})")
        of_metric = [reported if key == EXPOSED else "" for key in shown]
        of_paper.append([f"paper, {data}", "DUET", "", *of_metric, *[""] * (len(_OTHERS) + 3)])
    header = (
        "source", "method", "seeds", *(f"AUC, {METRICS[metric]}" for metric in shown), *_OTHERS.values(),
        "learning rate", "epochs", "CPU s",
    )  # fmt: skip
    return table(header, [*of_paper, *rows] if findings.rows("main") else [])


def _cost(findings: Findings, row: str) -> list[str]:
    by_seed = [findings.cell(DEFAULT, row, seed) for seed in findings.seeds(DEFAULT, EXPOSED, row)]
    cells = [cell for cell in by_seed if cell is not None]
    rates = sorted({f"{cell['learning_rate']:g}" for cell in cells})
    means = [mean_of([cell[key] for cell in cells], digits) for key, digits in (("best_epoch", 1), ("cpu_seconds", 0))]
    return [", ".join(rates), *means]


def _main_plot(findings: Findings, files: _Files) -> str:
    rows = []
    for row in findings.rows("main"):
        values = findings.values(DEFAULT, row, findings.main_metric)
        rows.append(dots(title(row), level(values)))
    if not rows:
        return ""
    references = {name: findings.values(DEFAULT, name, findings.main_metric) for name in (LOGGING, ORACLE)}
    marks = {name: statistics.fmean(values) for name, values in references.items() if values}
    name = f"AUC, {METRICS[findings.main_metric]} candidates"
    files[MAIN_PLOT] = dot_plot(f"{name}, a dot a seed", name, rows, marks, zero=False)
    return page.image(name, MAIN_PLOT)


def _tests(comparisons: Sequence[Comparison]) -> str:
    rows = [
        [METRICS[one.metric], f"{title(one.better)} > {title(one.worse)}", *test_cells(one.test)] for one in comparisons
    ]
    return table(("AUC", "claim", *TEST_HEADER), rows)


def _pairs(findings: Findings) -> str:
    shown = dict.fromkeys((*findings.rows("main"), *findings.rows("ablations")))
    rows = [[title(row), *(mean_of(findings.values(DEFAULT, row, key)) for key in _PAIR)] for row in shown]
    return table(("method", *_PAIR.values()), [row for row in rows if any(row[1:])])


def _ablations(findings: Findings) -> str:
    low, high = _PAPER_WITHOUT_KL
    of_paper = {
        SINGLE: f"{percent(min(_PAPER_WITHOUT_COTRAINING))} to {percent(max(_PAPER_WITHOUT_COTRAINING))}",
        "duet_no_kl": f"{percent(high)} to {percent(low)}",
        "duet_pointwise": "lower",
    }
    rows = [
        (row, DUET_STAGES if row.startswith(DUET_STAGES) else DUET, of_paper.get(row, ""))
        for row in findings.rows("ablations")
    ]
    return _changed(findings, [(SINGLE, DUET, of_paper[SINGLE]), *rows] if rows else [])


def _changed(findings: Findings, rows: Sequence[tuple[str, str, str]]) -> str:
    """Rows `(row, base, RelaImp of the paper)`, each against its base by all metrics."""
    metrics, lines = findings.metrics(), []
    for row, base, of_paper in rows:
        compared = [findings.compare(row, base, metric) for metric in metrics]
        cells = ["" if one is None else interval(one.test) for one in compared]
        if any(cells):
            n = max(len(one.test.differences) for one in compared if one is not None)
            lines.append(
                [title(row), title(base), str(n), *cells, percent(findings.gain(row, base, EXPOSED)), of_paper]
            )
    header = ("method", "compared with", "n", *(f"{METRICS[key]}, difference" for key in metrics), "RelaImp", "paper's")
    return table(header, lines)


def _curve(findings: Findings, files: _Files) -> str:
    """AUC over the consistency weight."""
    metrics = [metric for metric in findings.metrics() if len(findings.curve(metric)) > 1]
    if not metrics:
        return ""
    weights = [f"{weight:g}" for weight in findings.curve(metrics[0])]
    name = f"AUC, {METRICS[metrics[0]]}"
    lines = [Line(title(DUET), points([level(values) for values in findings.curve(metrics[0]).values()]))]
    files[LAMBDA_PLOT] = line_plot(f"{name} over the weight of the consistency", "λ", name, weights, lines)
    rows = [
        [f"{weight:g}", *(spread(findings.curve(metric)[weight]) for metric in metrics)]
        for weight in findings.curve(metrics[0])
    ]
    return table(("λ", *(f"AUC, {METRICS[metric]}" for metric in metrics)), rows)


def _curve_tests(findings: Findings) -> str:
    rows = [
        [METRICS[metric], f"λ {best:g} > λ {end:g}", *test_cells(test)]
        for metric, best, end, test in findings.curve_tests()
    ]
    return table(("AUC", "claim", *TEST_HEADER), rows)


def _by_seed(findings: Findings) -> str:
    metric = findings.main_metric
    rows = [row for row in _BY_SEED if findings.seeds(DEFAULT, metric, row)]
    lines = []
    for seed in findings.seeds(DEFAULT, metric, *rows) if rows else []:
        cell = next((one for one in (findings.cell(DEFAULT, row, seed) for row in rows) if one is not None), None)
        sha256 = "" if cell is None else f"`{cell['data_sha256'][:16]}…`"
        lines.append([str(seed), sha256, *(f"{findings.value(DEFAULT, row, seed, metric):.5f}" for row in rows)])
    return table(("seed", "sha256 of the data", *map(title, rows)), lines)


def _tuning(findings: Findings) -> str:
    rates = sorted({cell["learning_rate"] for cell in findings.tuning})
    by_method: dict[str, dict[float, list[float]]] = {}
    for cell in findings.tuning:
        by_method.setdefault(cell["method"], {}).setdefault(cell["learning_rate"], []).append(cell["monitored"])
    rows = [
        [title(method), *(mean_of(values.get(rate, []), 5) for rate in rates)] for method, values in by_method.items()
    ]
    return table(("method", *(f"{rate:g}" for rate in rates)), rows)
