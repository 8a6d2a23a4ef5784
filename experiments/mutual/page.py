"""The page of a grid: the tables of the paper beside ours, tests and plots."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import page
from experiments.mutual import paper
from experiments.mutual.cells import INDEPENDENT, INDEPENDENT_OTHER
from experiments.mutual.findings import ENSEMBLE, FINETUNE_ONLY, MUTUAL, SCRATCH, Findings
from experiments.page import TEST_HEADER, UNIT, auc, interval, p_value, percent, spread, table, test_cells
from experiments.plots import DotRow, dot_plot, dots
from experiments.statistics import Paired, adjusted, level, paired, rela_imp

PAGE, GAIN_PLOT, SIZE_PLOT = "mutual.md", "mutual_gain.svg", "mutual_sizes.svg"
_SETTINGS = (
    "peers", "batch_size", "embedding_dim", "hidden_units", "embedding_l2", "precision", "pretraining", "finetuning",
    "slow_rate", "other_epochs",
)  # fmt: skip
_OF_PAPER = {"peers": 4, "batch_size": 4000, "embedding_dim": 16, "hidden_units": (400, 200, 100)}
_DATA = (("avazu", "Avazu"), ("criteo", "Criteo"))
_CONTROLS = (
    # An arm, and the one that differs from it in one thing.
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
_NAMES = {
    "deepfm": "DeepFM",
    "dcn": "DCN",
    "pnn": "PNN",
    "fibinet": "FiBiNET",
    SCRATCH: "mutual from scratch",
    MUTUAL: "pretrained, mutual",
    FINETUNE_ONLY: "finetuned alone",
    ENSEMBLE: "mean of K predictions",
    "mixed": "different models",
    "logit_mse": "mutual, squared differences of logits",
    "symmetric_kl": "mutual, symmetric KL",
    "no_stop_gradient": "mutual, gradient through the peers",
    "two_epochs": "mutual, two epochs",
    "finetune_only_two_epochs": "finetuned alone, two epochs",
    "mutual_slow": "mutual, slow",
    "finetune_only_slow": "finetuned alone, slow",
    INDEPENDENT_OTHER: "independent, other length",
    "mutual_other_length": "mutual, other length",
    "finetune_only_other_length": "finetuned alone, other length",
}


def name(key: str) -> str:
    """Returns a model's or an arm's name on the page."""
    return _NAMES.get(key, key)


def render(results: Mapping[str, Any]) -> dict[str, str]:
    """Returns the page and its plots, text by file name."""
    findings = Findings(results)
    data, splits = results["data"], results["data"]["splits"]
    alone = Counter(cell["best_epoch"] for cell in results["cells"] if cell["arm"] == INDEPENDENT)
    plots = {GAIN_PLOT: _gain_plot(findings), SIZE_PLOT: _size_plot(findings)}
    values = {
        **page.runs(results),
        "baselines": page.baselines(results),
        "source": data["source"],
        "dataset": f"`{data['dataset_sha256'][:16]}…`" if "dataset_sha256" in data else "",
        "fields": f"{data['fields']}",
        "ids": f"{data['ids']:,}",
        "rows": " / ".join(f"{split['rows']:,}" for split in splits.values()),
        "click_rate": f"{100 * splits['test']['click_rate']:.1f} %",
        "sha256": f"`{data['sha256'][:16]}…`",
        "oracle": auc(splits["test"]["oracle"]["auc"]) if splits["test"]["oracle"] else "",
        "settings": page.settings(findings.grid, _SETTINGS, _OF_PAPER),
        "best_epochs": ", ".join(f"{epoch} ({count} runs)" for epoch, count in sorted(alone.items())),
        "table_1": _table_1(findings),
        "gain_plot": page.image("Gains over independent runs", GAIN_PLOT) if plots[GAIN_PLOT] else "",
        "tests": _tests(findings),
        "spreads": _spreads(findings),
        "groups": _groups(findings),
        "table_2": _table_2(findings),
        "sizes": _sizes(findings),
        "size_tests": _size_tests(findings),
        "size_plot": page.image("Gains by number of peers", SIZE_PLOT) if plots[SIZE_PLOT] else "",
        "controls": _controls(findings),
    }
    return {PAGE: page.render("mutual", values), **{file: text for file, text in plots.items() if text}}


def _table_1(findings: Findings) -> str:
    rows = []
    for model in findings.table_1_models():
        groups = findings.groups(model, INDEPENDENT, SCRATCH, MUTUAL)
        cells = [_cell(findings, model, arm, groups) for arm in (INDEPENDENT, SCRATCH, MUTUAL, FINETUNE_ONLY, ENSEMBLE)]
        gains = [percent(findings.gain(model, arm)) for arm in (MUTUAL, FINETUNE_ONLY)]
        share = findings.share_of_oracle(model, INDEPENDENT)
        shown = "" if share is None else f"{100 * share:.1f} %"
        rows.append(["ours", name(model), f"{len(groups)} groups", *cells, *gains, shown])
    of_paper = []
    for data, title in _DATA:
        for model, runs in paper.TABLE_1[data].items():
            arms = (INDEPENDENT, SCRATCH, MUTUAL)
            gain = percent(rela_imp(statistics.fmean(runs[MUTUAL]), statistics.fmean(runs[INDEPENDENT])))
            cells = [spread(runs[arm]) for arm in arms]
            of_paper.append([f"paper, {title}", name(model), "4 runs", *cells, "", "", gain, "", ""])
    header = (
        "source", "model", "n", "independent", "mutual from scratch", "pretrained, mutual",
        "finetuned alone", "mean of K predictions", "RelaImp, mutual", "RelaImp, finetuned alone", "share of oracle",
    )  # fmt: skip
    return table(header, [*of_paper, *rows] if rows else [])


def _tests(findings: Findings) -> str:
    expected = findings.headlines("expected_auc") if findings.results["data"]["splits"]["test"]["oracle"] else []
    rows = []
    for index, one in enumerate(findings.headlines()):
        cells = [name(one.model), f"{name(one.better)} > {name(one.worse)}", *test_cells(one.test)]
        more = [interval(expected[index].test), expected[index].test.verdict] if expected else ["", ""]
        rows.append([*cells, p_value(one.test.wilcoxon_p), *more])
    header = ("model", "claim", *TEST_HEADER, "p (Wilcoxon)", "difference of the expected AUC", "verdict on it")
    return table(header, rows)


def _spreads(findings: Findings) -> str:
    rows, tests = list[list[str]](), list[Paired]()
    for model in findings.table_1_models():
        if groups := findings.groups(model, INDEPENDENT, MUTUAL, FINETUNE_ONLY):
            arms = (INDEPENDENT, FINETUNE_ONLY, MUTUAL)
            spreads = [findings.spreads(model, arm, groups) for arm in arms]
            tests.append(paired(spreads[0], spreads[2]))
            rows.append([name(model), *(f"{UNIT * statistics.fmean(values):.1f}" for values in spreads)])
    header = ("model", "independent", "finetuned alone", "pretrained, mutual", *TEST_HEADER)
    return table(header, [[*row, *test_cells(test)] for row, test in zip(rows, adjusted(tests), strict=True)])


def _groups(findings: Findings) -> str:
    arms = (INDEPENDENT, SCRATCH, MUTUAL, FINETUNE_ONLY, ENSEMBLE)
    rows = []
    for model in findings.table_1_models():
        for group in findings.groups(model, *arms):
            aucs = [f"{findings.of_group(model, group, arm):.5f}" for arm in arms]
            losses = [f"{findings.of_group(model, group, arm, 'logloss'):.5f}" for arm in (INDEPENDENT, MUTUAL)]
            rows.append([name(model), str(group), *aucs, *losses])
    return table(("model", "group", *map(name, arms), "log loss, independent", "log loss, mutual"), rows)


def _table_2(findings: Findings) -> str:
    mixed = {model: findings.table_2(model) for model in findings.grid.table_2.models}
    known = {model: one for model, one in mixed.items() if one is not None}
    tests = adjusted([paired(one.different, one.same) for one in known.values()])
    rows = []
    for (model, one), test in zip(known.items(), tests, strict=True):
        rows.append(["ours", name(model), *map(spread, (one.alone, one.same, one.different)), *test_cells(test)])
    of_paper = [
        [f"paper, {title}", name(model), *map(auc, aucs), "1", f"{UNIT * (aucs[2] - aucs[1]):+.1f}", "", "", ""]
        for data, title in _DATA
        for model, aucs in paper.TABLE_2[data].items()
    ]
    header = ("source", "model", "pretrained", "with its own model", "with other models", *TEST_HEADER)
    return table(header, [*of_paper, *rows] if rows else [])


def _sizes(findings: Findings) -> str:
    rows = []
    for model in findings.grid.sizes.models:
        for size, one in findings.sizes(model).items():
            cells = [spread(one.means), interval(level(one.gains)), spread(one.of_first_two)]
            rows.append(["ours", name(model), f"{len(one.means)} groups", str(size), *cells])
    of_paper = []
    for data, title in _DATA:
        model, sizes = paper.SIZES[data]["model"], paper.SIZES[data]["peers"]
        for size, runs in sorted(sizes.items()):
            cells = [f"paper, {title}", name(model), "1 group", str(size), f"{statistics.fmean(runs):.5f}", "", ""]
            of_paper.append(cells)
    header = ("source", "model", "n", "peers", "AUC after finetuning", "gain over the same peers alone",
              "first two peers")  # fmt: skip
    return table(header, [*of_paper, *rows] if rows else [])


def _size_tests(findings: Findings) -> str:
    rows = []
    for model in findings.grid.sizes.models:
        sizes = findings.sizes(model)
        if len(sizes) > 1:
            test = paired(sizes[max(sizes)].of_first_two, sizes[min(sizes)].of_first_two)
            rows.append([name(model), f"{max(sizes)} peers > {min(sizes)} peers", *test_cells(test)])
    return table(("model", "claim, on the first two peers", *TEST_HEADER), rows)


def _controls(findings: Findings) -> str:
    rows, tests = list[list[str]](), list[Paired]()
    for model in findings.grid.controls.models:
        for arm, other in _CONTROLS:
            if one := findings.compare(model, arm, other):
                tests.append(one.test)
                mean = _cell(findings, model, arm, findings.groups(model, arm, other))
                rows.append([name(model), name(arm), mean, name(other)])
    header = ("model", "arm", "AUC", "compared with", *TEST_HEADER)
    return table(header, [[*row, *test_cells(test)] for row, test in zip(rows, adjusted(tests), strict=True)])


def _gain_plot(findings: Findings) -> str:
    rows = []
    for model in findings.table_1_models():
        rows.append(DotRow(name(model), heading=True))
        for arm in (SCRATCH, FINETUNE_ONLY, MUTUAL, ENSEMBLE):
            if one := findings.compare(model, arm, INDEPENDENT):
                rows.append(dots(name(arm), one.test, UNIT))
    title = "AUC minus that of independent runs, a dot a group"
    return dot_plot(title, "difference of AUC, in 1e-5", rows) if rows else ""


def _size_plot(findings: Findings) -> str:
    rows = []
    for model in findings.grid.sizes.models:
        if sizes := findings.sizes(model):
            rows.append(DotRow(name(model), heading=True))
            rows += [dots(f"{size} peers", level(each.gains), UNIT) for size, each in sizes.items()]
    title = "Gain of finetuning together over the same peers alone"
    return dot_plot(title, "difference of AUC, in 1e-5", rows) if rows else ""


def _cell(findings: Findings, model: str, arm: str, among: Sequence[int]) -> str:
    return spread(findings.by_group(model, arm, [group for group in findings.groups(model, arm) if group in among]))
