"""The page of a grid: the paper's rows beside ours, tests, plots; every figure from the results."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.cs3 import paper
from experiments.cs3.catalogue_section import retrieval
from experiments.cs3.findings import AUC, TRUTH, Comparison, Findings
from experiments.cs3.methods import BASE, FULL, backbone_title, title
from experiments.cs3.modes import FROZEN, MODES
from experiments.cs3.rates import EQUAL, RATES, TUNED
from experiments.cs3.sections import cold, drift, noise, order, over_time, sensitivity
from experiments.cs3.tuning_section import tuning
from experiments.cs3.words import about, deviations, metric_name, reproduced, verdict
from experiments.dot_plot import DotRow, dot_plot
from experiments.statistics import CONFIDENCE, SIGNIFICANCE, rela_imp
from experiments.text import UNIT, interval, p_value, percent, spread, table

PAGE, MAIN_PLOT = "cs3.md", "cs3_main.svg"


def render(results: Mapping[str, Any]) -> dict[str, str]:
    """Text by file name: the page and its plots."""
    findings = Findings(results)
    lines = ["# CS3: the paper's tables, and ours", "", *about(findings), *deviations(findings)]
    files: dict[str, str] = {}
    if findings.backbones():
        lines += [*_main(findings), *_equal(findings), *_main_plot(findings, files), *_tests(findings)]
    lines += retrieval(findings)
    for section in (over_time, cold, noise, sensitivity, drift, order):
        lines += section(findings, files)
    lines += [*_seeds(findings), *tuning(findings), *reproduced(findings)]
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
        gains = {
            one.question.better: findings.rela_imp(one)
            for one in findings.gains(mode=FROZEN)
            if one.question.backbone == backbone
        }
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


def _equal(findings: Findings) -> list[str]:
    """The methods of the main part at one learning rate."""
    rows = []
    for backbone in findings.backbones():
        for method in findings.methods("main", backbone, rates=EQUAL):
            by_mode = [findings.values(backbone, method, findings.metric, mode, rates=EQUAL) for mode in MODES]
            rows.append([backbone_title(backbone), title(method), str(len(by_mode[0])), *map(spread, by_mode)])
    if not rows:
        return []
    header = ("backbone", "method", "seeds", *(f"{metric_name(findings)}, {mode}" for mode in MODES))
    return [f"All methods at learning rate {findings.grid.equal_rate:g}:", "", *table(header, rows)]


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
    rows: list[DotRow] = []
    for rates, mode in ((rates, mode) for rates in RATES for mode in MODES):
        for backbone in findings.backbones():
            own = [one for one in findings.gains(rates, mode) if one.question.backbone == backbone]
            if own:
                rows.append(DotRow(f"{backbone_title(backbone)}, {mode}, {rates} rates", heading=True))
            for one in own:
                dots = [UNIT * value for value in one.test.differences]
                low, high = (None if end is None else UNIT * end for end in (one.test.low, one.test.high))
                rows.append(DotRow(title(one.question.better), dots, UNIT * one.test.mean, low, high))
    if not rows:
        return []
    name = f"gain in {metric_name(findings)} over the base, in {1 / UNIT:.0e}"
    files[MAIN_PLOT] = dot_plot(f"CS3: {name}, a dot a seed", name, rows)
    return [f"![{name}]({MAIN_PLOT})", ""]


def _tests(findings: Findings) -> list[str]:
    headings = {
        TUNED: "### Each method at its own learning rate",
        EQUAL: f"### All at learning rate {findings.grid.equal_rate:g}" if findings.grid.equal_rate else "",
    }
    lines: list[str] = []
    for rates, heading in headings.items():
        if found := findings.gains(rates):
            lines += [heading, "", *comparisons(findings, found)]
    if not lines:
        return []
    return [
        "## Tests",
        "",
        f"Differences of the {metric_name(findings)} from the base of the same backbone, in units of {1 / UNIT:.0e}, "
        f"paired by seed, with their {CONFIDENCE:.0%} intervals by Student's t. p is of the paired t-test. The verdict "
        f"is that of p after Holm's correction for all {findings.tests} tests of this page, those of drift, of cold "
        f"users and items and of the agreement with the ranker among them: significant is what is then below "
        f"{SIGNIFICANCE:g}. *Prequential* rows give the labels of earlier test rows to caches of CTS and CMS and "
        "nothing to the base; the *online* row below each lets the base learn from them, too.",
        "",
        *lines,
    ]


def comparisons(findings: Findings, found: Sequence[Comparison]) -> list[str]:
    """A table of tests."""
    rows = []
    for one in found:
        gain, asked = findings.rela_imp(one), one.question
        rates = " / ".join(f"{rate:g}" for rate in one.learning_rates if rate is not None)
        rows.append(
            [backbone_title(asked.backbone), f"{title(asked.better)} > {title(asked.worse)}", asked.mode, rates,
             str(len(one.test.differences)), interval(one.test), "" if gain is None else percent(gain),
             p_value(one.test.p), p_value(one.adjusted_p), verdict(one)]
        )  # fmt: skip
    header = (
        "backbone", "claim", "test rows", "learning rates", "n", "difference [95 % interval]", "RelaImp", "p",
        "p (Holm)", "verdict",
    )  # fmt: skip
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
