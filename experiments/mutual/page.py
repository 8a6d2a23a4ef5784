"""The page of a grid: the paper's rows beside ours, tests, plots; every figure from the results."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.dot_plot import DotRow, dot_plot
from experiments.mutual import paper
from experiments.mutual.cells import INDEPENDENT, INDEPENDENT_OTHER
from experiments.mutual.findings import ENSEMBLE, FINETUNE_ONLY, MUTUAL, SCRATCH, Comparison, Findings
from experiments.mutual.text import name
from experiments.mutual.words import about, deviations, mixed_verdicts, reproduced
from experiments.statistics import paired, rela_imp
from experiments.text import UNIT, auc, interval, p_value, percent, spread, table

_DATA: tuple[tuple[paper.Data, str], ...] = (("avazu", "Avazu"), ("criteo", "Criteo"))
PAGE, GAIN_PLOT, SIZE_PLOT = "mutual.md", "mutual_gain.svg", "mutual_sizes.svg"
_CONTROLS = (
    # What is tried, and the way that differs from it in one thing.
    ("logit_mse", MUTUAL),
    ("symmetric_kl", MUTUAL),
    ("no_stop_gradient", MUTUAL),
    ("two_epochs", MUTUAL),
    ("finetune_only_two_epochs", FINETUNE_ONLY),
    ("two_epochs", "finetune_only_two_epochs"),
    ("mutual_slow", MUTUAL),
    ("mutual_slow", "finetune_only_slow"),
    ("mutual_slow", INDEPENDENT),
    (INDEPENDENT_OTHER, INDEPENDENT),
    ("mutual_other_length", INDEPENDENT_OTHER),
    ("mutual_other_length", "finetune_only_other_length"),
    ("mutual_other_length", INDEPENDENT),
)


def render(results: Mapping[str, Any]) -> dict[str, str]:
    """Text by file name: the page and its plots."""
    findings = Findings(results)
    lines = ["# Mutual learning: the paper's tables, and ours", "", *about(findings), *deviations(findings)]
    files = {}
    if findings.table_1_models():
        files[GAIN_PLOT] = _gain_plot(findings)
        lines += [*_table_1(findings), f"![Gains over independent runs]({GAIN_PLOT})", "", *_tests(findings)]
        lines += _groups(findings)
    lines += _table_2(findings)
    if sizes := _sizes(findings):
        files[SIZE_PLOT] = _size_plot(findings)
        lines += [*sizes, f"![Gains by number of peers]({SIZE_PLOT})", ""]
    lines += [*_controls(findings), *reproduced(findings)]
    return {PAGE: "\n".join(lines).rstrip() + "\n", **files}


def _table_1(findings: Findings) -> list[str]:
    rows = []
    for data, title in _DATA:
        for model, runs in paper.TABLE_1[data].items():
            means = {arm: statistics.fmean(runs[arm]) for arm in (INDEPENDENT, SCRATCH, MUTUAL)}
            cells = [spread(runs[arm]) for arm in (INDEPENDENT, SCRATCH, MUTUAL)]
            gain = percent(rela_imp(means[MUTUAL], means[INDEPENDENT]))
            rows.append([f"paper, {title}", name(model), "4 runs", *cells, "", "", gain, "", ""])
    for model in findings.table_1_models():
        groups = findings.groups(model, INDEPENDENT, SCRATCH, MUTUAL)
        cells = [_cell(findings, model, arm, groups) for arm in (INDEPENDENT, SCRATCH, MUTUAL, FINETUNE_ONLY, ENSEMBLE)]
        gains = [_gain(findings, model, arm) for arm in (MUTUAL, FINETUNE_ONLY)]
        share = findings.share_of_oracle(model, INDEPENDENT)
        shown = "" if share is None else f"{100 * share:.1f} %"
        rows.append(["ours", name(model), f"{len(groups)} groups", *cells, *gains, shown])
    header = (
        "whose", "model", "n", "independent", "mutual from scratch", "pretrained, mutual",
        "finetuned alone", "mean of K predictions", "RelaImp, mutual", "RelaImp, finetuned alone", "share of oracle",
    )  # fmt: skip
    return [
        "## Table 1: independent, from scratch, with pretraining",
        "",
        "AUC on the test split, mean ± standard deviation: of the paper over four runs, of ours over groups, each "
        f"group being the mean of its K = {findings.grid.peers} peers. *Finetuned alone* is the control that the paper "
        "lacks: the same extra epoch with mutual weight 0. *Mean of K predictions* is that of the pretrained peers, "
        "before that epoch. *Share of oracle* is the AUC above one half of independent runs, "
        "over that of the true probabilities.",
        "",
        *table(header, rows),
    ]


def _tests(findings: Findings) -> list[str]:
    rows = []
    for one in findings.headlines():
        rows.append([name(one.model), f"{name(one.better)} > {name(one.worse)}", *_test_cells(one)])
    return [
        "### Tests",
        "",
        f"Differences of AUC in units of {1 / UNIT:.0e}, paired by group: the same initial weights, the same order of "
        "the data where both ways read it as a group. p is of the paired t-test; Holm's is adjusted for all rows of "
        "this table, and decides: confirmed, or refuted, where it is below 0.05, by the side on which the interval "
        "lies. Wilcoxon's cannot be below 0.0625 with five groups.",
        "",
        *table(("model", "claim", "n", "difference [95 % interval]", "p", "p (Holm)", "p (Wilcoxon)", "verdict"), rows),
    ]


def _test_cells(one: Comparison) -> list[str]:
    test = one.test
    p_values = [p_value(test.p), p_value(one.adjusted_p), p_value(test.wilcoxon_p)]
    return [str(len(test.differences)), interval(test), *p_values, one.verdict]


def _groups(findings: Findings) -> list[str]:
    arms = (INDEPENDENT, SCRATCH, MUTUAL, FINETUNE_ONLY, ENSEMBLE)
    rows = []
    for model in findings.table_1_models():
        for group in findings.groups(model, *arms):
            aucs = [f"{findings.of_group(model, group, arm):.5f}" for arm in arms]
            losses = [f"{findings.of_group(model, group, arm, 'logloss'):.5f}" for arm in (INDEPENDENT, MUTUAL)]
            rows.append([name(model), str(group), *aucs, *losses])
    header = ("model", "group", *(name(arm) for arm in arms), "log loss, independent", "log loss, mutual")
    return ["### Group by group", "", "AUC, mean of the K peers.", "", *table(header, rows)]


def _table_2(findings: Findings) -> list[str]:
    rows = []
    for data, title in _DATA:
        for model, (alone, same, different) in paper.TABLE_2[data].items():
            verdict = "better" if different > same else "worse"
            rows.append([f"paper, {title}", name(model), "1 run", auc(alone), auc(same), auc(different), "", verdict])
    own, verdicts = [], mixed_verdicts(findings)
    for model in findings.grid.table_2.models:
        found = findings.table_2(model)
        if found is None:
            continue
        verdict = {"confirmed": "better", "refuted": "worse"}.get(verdicts[model], "not decided")
        cells = [spread(values) for values in (found.alone, found.same, found.different)]
        difference = interval(paired(found.different, found.same))
        own.append(["ours", name(model), f"{len(found.same)} groups", *cells, difference, verdict])
    if not own:
        return []
    header = (
        "whose", "model", "n", "pretrained", "with its own model", "with other models",
        "other − own [95 % interval]", "with others",
    )  # fmt: skip
    return [
        "## Table 2: peers of the same model, and of different ones",
        "",
        "AUC of one peer: pretrained, finetuned among peers of its own model, and among one peer of each model. The "
        f"paper takes its best run of each; ours is the first of each group. Differences in {1 / UNIT:.0e}; the words "
        "are those of all models' tests together, by Holm.",
        "",
        *table(header, [*rows, *own]),
    ]


def _sizes(findings: Findings) -> list[str]:
    rows = []
    for data, title in _DATA:
        model, sizes = paper.SIZES[data]
        for size, runs in sorted(sizes.items()):
            rows.append([f"paper, {title}", name(model), "1 group", str(size), f"{statistics.fmean(runs):.5f}", "", ""])
    own = []
    for model in findings.grid.sizes.models:
        for size, found in findings.sizes(model).items():
            test = paired(found.gains, [0.0] * len(found.gains))
            cells = [spread(found.means), interval(test), spread(found.of_first_two)]
            own.append(["ours", name(model), f"{len(found.means)} groups", str(size), *cells])
    if not own:
        return []
    header = (
        "whose",
        "model",
        "n",
        "peers",
        "AUC after finetuning",
        "gain over the same peers alone",
        "first two peers",
    )
    return [
        "## Tables 3 and 4: number of peers",
        "",
        "The paper drops the worst run each time; ours drops the last one, whatever its AUC. *First two peers* are "
        f"those that groups of all sizes share. Gains in {1 / UNIT:.0e}, with 95 % intervals over groups.",
        "",
        *table(header, [*rows, *own]),
    ]


def _controls(findings: Findings) -> list[str]:
    rows = []
    for model in findings.grid.controls.models:
        for arm, other in _CONTROLS:
            one = findings.compare(model, arm, other)
            if one is None:
                continue
            auc = _cell(findings, model, arm, findings.groups(model, arm, other))
            cells = [interval(one.test), p_value(one.test.p)]
            rows.append([name(model), name(arm), auc, name(other), str(len(one.test.differences)), *cells])
    if not rows:
        return []
    header = ("model", "way", "AUC", "compared with", "n", "difference [95 % interval]", "p")
    return [
        "## Controls",
        "",
        "Each way beside one that differs from it in one thing; differences of AUC in "
        f"{1 / UNIT:.0e}, paired by group. *Slow*: finetuned at {findings.grid.slow_rate:g} instead of "
        f"{findings.grid.finetuning.learning_rate:g}. *Other length*: pretrained for {findings.grid.other_epochs} "
        f"instead of {findings.grid.pretraining.epochs} epochs.",
        "",
        *table(header, rows),
    ]


def _gain_plot(findings: Findings) -> str:
    rows = []
    for model in findings.table_1_models():
        rows.append(DotRow(name(model), heading=True))
        for arm in (SCRATCH, FINETUNE_ONLY, MUTUAL, ENSEMBLE):
            if one := findings.compare(model, arm, INDEPENDENT):
                rows.append(_dots(name(arm), one.test.differences))
    return dot_plot("AUC minus that of independent runs, a dot a group", "difference of AUC, in 1e-5", rows)


def _size_plot(findings: Findings) -> str:
    rows = []
    for model in findings.grid.sizes.models:
        if found := findings.sizes(model):
            rows.append(DotRow(name(model), heading=True))
            rows += [_dots(f"{size} peers", each.gains) for size, each in found.items()]
    return dot_plot("Gain of finetuning together over the same peers alone", "difference of AUC, in 1e-5", rows)


def _dots(label: str, differences: Sequence[float]) -> DotRow:
    test = paired(differences, [0.0] * len(differences))
    low, high = (None if bound is None else bound * UNIT for bound in (test.low, test.high))
    return DotRow(label, [value * UNIT for value in differences], test.mean * UNIT, low, high)


def _cell(findings: Findings, model: str, arm: str, among: Sequence[int]) -> str:
    groups = [group for group in findings.groups(model, arm) if group in among]
    return spread(findings.by_group(model, arm, groups)) if groups else ""


def _gain(findings: Findings, model: str, arm: str) -> str:
    return percent(findings.gain(model, arm)) if findings.groups(model, INDEPENDENT, arm) else ""
