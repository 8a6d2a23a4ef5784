"""The page of a grid: the paper's rows beside ours, tests, plots; every figure from the results."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.cs3 import paper
from experiments.cs3.findings import AUC, TRUTH, Comparison, Findings
from experiments.cs3.methods import BASE, FULL, backbone_title, title
from experiments.cs3.modes import FROZEN, MODES, ONLINE
from experiments.cs3.sections import cold, drift, noise, order, over_time, sensitivity
from experiments.cs3.words import about, deviations, metric_name, reproduced
from experiments.dot_plot import DotRow, dot_plot
from experiments.statistics import rela_imp
from experiments.text import UNIT, interval, p_value, percent, spread, table

PAGE, MAIN_PLOT = "cs3.md", "cs3_main.svg"


def render(results: Mapping[str, Any]) -> dict[str, str]:
    """Text by file name: the page and its plots."""
    findings = Findings(results)
    lines = ["# CS3: the paper's tables, and ours", "", *about(findings), *deviations(findings)]
    files: dict[str, str] = {}
    if findings.backbones():
        lines += [*_main(findings), *_main_plot(findings, files), *_tests(findings)]
    for section in (over_time, cold, noise, sensitivity, drift, order):
        lines += section(findings, files)
    lines += [*_seeds(findings), *_tuning(findings), *reproduced(findings)]
    return {PAGE: "\n".join(lines).rstrip() + "\n", **files}


def _main(findings: Findings) -> list[str]:
    metrics = [TRUTH, AUC] if findings.knows_truth else [AUC]
    names = {TRUTH: "expected AUC", AUC: "AUC"}
    blank = [""] * (len(MODES) - 1 + (len(metrics) - 1) + 5)
    rows = []
    for data, base, full in paper.AUCS:
        for method, value in ((BASE, base), (FULL, full)):
            if value is not None:
                told = "" if method == BASE or base is None else percent(rela_imp(value, base))
                rows.append([f"paper, {data}", "DSSM", title(method), "5", f"{value:.4f}", *blank, told])
    for backbone in findings.backbones():
        gains = {one.better: findings.rela_imp(one) for one in findings.gains(FROZEN) if one.backbone == backbone}
        for method in findings.methods("main", backbone):
            frozen = [spread(findings.values(backbone, method, metric)) for metric in metrics]
            others = [_mean(findings, backbone, method, findings.metric, mode) for mode in MODES if mode != FROZEN]
            more = [_mean(findings, backbone, method, key) for key in ("logloss", "kendall_tau")]
            gain = gains.get(method)
            rows.append(
                ["ours", backbone_title(backbone), title(method), str(len(findings.seeds(backbone, method))), *frozen,
                 *others, *more, *_cost(findings, backbone, method), "" if gain is None else percent(gain)]
            )  # fmt: skip
        rows.append(_ranker(findings, backbone, metrics))
    later = [f"{names[findings.metric]}, {mode}" for mode in MODES if mode != FROZEN]
    header = (
        "whose", "backbone", "method", "seeds", *(f"{names[metric]}, frozen" for metric in metrics), *later,
        "log loss, frozen", "tau with the ranker", "learning rate", "parameters", "CPU s", "RelaImp",
    )  # fmt: skip
    truth = (
        "The expected AUC takes labels as drawn from the true probabilities, again and again, and so has less noise; "
        f"the truth itself has {_oracle(findings)}. "
        if findings.knows_truth
        else ""
    )
    return [
        "## Main table",
        "",
        f"On the test rows, mean ± standard deviation over seeds. {truth}The paper's figures are of other data and "
        "stand there for reference. *Tau*: Kendall's, of towers and ranker, within what belongs together.",
        "",
        *table(header, rows),
    ]


def _mean(findings: Findings, backbone: str, method: str, metric: str, mode: str = FROZEN) -> str:
    values = findings.values(backbone, method, metric, mode)
    return f"{statistics.fmean(values):.5f}" if values else ""


def _oracle(findings: Findings) -> str:
    backbone = findings.backbones()[0]
    return _mean(findings, backbone, findings.methods("main", backbone)[0], f"oracle_{TRUTH}")


def _ranker(findings: Findings, backbone: str, metrics: Sequence[str]) -> list[str]:
    """The ranker as it stands behind the base, or behind the first method there is."""
    methods = findings.methods("main", backbone)
    method = BASE if BASE in methods else methods[0]
    frozen = [spread(findings.values(backbone, method, f"ranker_{metric}")) for metric in metrics]
    others = [_mean(findings, backbone, method, f"ranker_{findings.metric}", mode) for mode in MODES if mode != FROZEN]
    loss = _mean(findings, backbone, method, "ranker_logloss")
    seeds = str(len(findings.seeds(backbone, method)))
    return ["ours", backbone_title(backbone), f"the ranker, with {title(method)}", seeds, *frozen, *others, loss] + [
        ""
    ] * 5


def _cost(findings: Findings, backbone: str, method: str) -> list[str]:
    found = [findings.cell(backbone, method, seed) for seed in findings.seeds(backbone, method)]
    cells = [cell for cell in found if cell is not None]
    rates = sorted({f"{cell['learning_rate']:g}" for cell in cells})
    cpu = statistics.fmean(cell["cpu_seconds"] for cell in cells)
    return [", ".join(rates), f"{cells[0]['parameters']:,}", f"{cpu:.0f}"]


def _main_plot(findings: Findings, files: dict[str, str]) -> list[str]:
    rows = []
    for mode in (FROZEN, ONLINE):
        for backbone in findings.backbones():
            own = [one for one in findings.gains(mode) if one.backbone == backbone]
            if own:
                rows.append(DotRow(f"{backbone_title(backbone)}, {mode}", heading=True))
            for one in own:
                dots = [UNIT * value for value in one.test.differences]
                low, high = (None if end is None else UNIT * end for end in (one.test.low, one.test.high))
                rows.append(DotRow(title(one.better), dots, UNIT * one.test.mean, low, high))
    if not rows:
        return []
    name = f"gain in {metric_name(findings)} over the base, in {1 / UNIT:.0e}"
    files[MAIN_PLOT] = dot_plot(f"CS3: {name}, a dot a seed", name, rows)
    return [f"![{name}]({MAIN_PLOT})", ""]


def _tests(findings: Findings) -> list[str]:
    lines: list[str] = []
    for mode in MODES:
        if found := findings.gains(mode):
            lines += [f"### {mode.capitalize()}", "", *comparisons(findings, found)]
    if not lines:
        return []
    return [
        "## Tests",
        "",
        f"Differences of the {metric_name(findings)} from the base of the same backbone, in units of {1 / UNIT:.0e}, "
        "paired by seed. The verdict is that of the 95 % interval on the claim of a gain: confirmed if it lies above "
        "zero, refuted if below. p is of the paired t-test; Holm's is adjusted for all rows of its table.",
        "",
        *lines,
    ]


def comparisons(findings: Findings, found: Sequence[Comparison]) -> list[str]:
    """A table of tests."""
    rows = []
    for one in found:
        gain = findings.rela_imp(one)
        rows.append(
            [backbone_title(one.backbone), f"{title(one.better)} > {title(one.worse)}", str(len(one.test.differences)),
             interval(one.test), "" if gain is None else percent(gain), p_value(one.test.p), p_value(one.adjusted_p),
             one.verdict]
        )  # fmt: skip
    header = ("backbone", "claim", "n", "difference [95 % interval]", "RelaImp", "p", "p (Holm)", "verdict")
    return table(header, rows)


def _seeds(findings: Findings) -> list[str]:
    rows = []
    for backbone in findings.backbones():
        methods = findings.methods("main", backbone)
        for method in methods:
            for seed in findings.seeds(backbone, method):
                cell = findings.cell(backbone, method, seed)
                sha256 = "" if cell is None else f"`{cell['data_sha256'][:16]}…`"
                values = [findings.values(backbone, method, findings.metric, mode, seeds=[seed]) for mode in MODES]
                rows.append(
                    [backbone_title(backbone), title(method), str(seed), sha256, *(f"{own[0]:.5f}" for own in values)]
                )
    if not rows:
        return []
    header = ("backbone", "method", "seed", "sha256 of the data", *MODES)
    return ["## Seed by seed", "", f"The {metric_name(findings)} of the test rows.", "", *table(header, rows)]


def _tuning(findings: Findings) -> list[str]:
    ways = list(dict.fromkeys((cell["backbone"], cell["method"]) for cell in findings.tuning))
    if not ways:
        return []
    rates = sorted({cell["learning_rate"] for cell in findings.tuning})
    found = {(cell["backbone"], cell["method"], cell["learning_rate"]): cell for cell in findings.tuning}
    rows = []
    for way in ways:
        cells = [found.get((*way, rate)) for rate in rates]
        values = ["" if cell is None else f"{cell['monitored']:.5f}" for cell in cells]
        rows.append([backbone_title(way[0]), title(way[1]), *values])
    return [
        "## Learning rates",
        "",
        f"Log loss of the frozen towers on the eval rows, on seed {findings.grid.tuning_seed}, which no table uses; "
        "the least one chose. The leaky control and other α, β take the rate of CS3; a rate chosen in the default "
        "world serves in all.",
        "",
        *table(("backbone", "method", *(f"{rate:g}" for rate in rates)), rows),
    ]
