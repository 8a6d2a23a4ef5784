"""The page of a grid: the paper's rows beside ours, tests, sections on each part, and plots."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import page
from experiments.cs3.cells import EQUAL, RATES, TUNED
from experiments.cs3.findings import AUC, COLD, LEAK_GAP, TAU, TRAIN, TRUTH, Comparison, Findings, Question
from experiments.cs3.methods import BASE, FROZEN, FULL, MODES, RECALL, backbone_title, emptied, title
from experiments.page import TEST_HEADER, UNIT, image, interval, mean_of, percent, spread, table, test_cells
from experiments.plots import DotRow, Line, Point, dot_plot, dots, line_plot, points
from experiments.statistics import level, paired, rela_imp

PAGE, MAIN_PLOT, NOISE_PLOT, DECAY_PLOT = "cs3.md", "cs3_main.svg", "cs3_noise.svg", "cs3_alpha_beta.svg"
_SETTINGS = (
    "source", "requests", "seeds", "batch_size", "embedding_dim", "hidden_units", "softmax_weight", "learning_rates",
    "tuning_seeds", "equal_rate", "cold_clicks",
)  # fmt: skip
_DRAWN = (BASE, "cas", "cts", "cms", FULL)
_Files = dict[str, str]

# Figures of "Efficient Online Capability Synergy for Two-Tower Recommendation" (CS3, 2026, arXiv 2604.19269).
_PAPER_AUCS = (("TaobaoAd", 0.6194, 0.6855), ("KuaiRand", 0.6646, 0.7484), ("RecSys2017", None, 0.8380))
"""Data, AUC of DSSM and of DSSM with CS3; the one that is missing is not known to us."""
_PAPER_COLD = (("cold_users", 0.5333, 0.6037), ("cold_items", 0.5964, 0.6408))
"""AUC on ids with at most three interactions, without and with CS3."""
_PAPER_NOISE_LOSS = -0.00051
"""Change of the AUC of DSSM with CAS under noise of deviation 0.1; DSSM alone loses more."""


def render(results: Mapping[str, Any]) -> dict[str, str]:
    """Returns the page and its plots, text by file name."""
    findings = Findings(results)
    grid, files = findings.grid, _Files()
    first = findings.methods("main", findings.backbones()[0])[0] if findings.backbones() else ""
    known = findings.backbones() and findings.knows_truth
    values = {
        **page.runs(results),
        "baselines": page.baselines(results),
        "rows": ", ".join(f"{count:,} {split}" for split, count in results["cells"][0].get("rows", {}).items()),
        "settings": page.settings(grid, _SETTINGS),
        "metric": _metric_name(findings),
        "oracle": mean_of(findings.values(findings.backbones()[0], first, f"oracle_{TRUTH}"), 5) if known else "",
        "number_of_tests": str(findings.tests),
        "equal_rate": "" if grid.equal_rate is None else f"{grid.equal_rate:g}",
        "cold_clicks": str(grid.cold_clicks),
        "cut_off": str(grid.cut_off),
        "studied": backbone_title(grid.studied),
        "noise_loss": f"{UNIT * _PAPER_NOISE_LOSS:.0f}",
        "leak_gap": f"{LEAK_GAP:g}",
        "main": _main(findings),
        "equal": _equal(findings),
        "main_plot": _main_plot(findings, files),
        "tuned_tests": _tests(findings, findings.gains(TUNED)),
        "equal_tests": _tests(findings, findings.gains(EQUAL)),
        "more_tests": _tests(findings, findings.answers(findings.more_questions())),
        "stream": _stream(findings),
        "recall": _recall(findings),
        "over_time": _over_time(findings, files),
        "cold": _cold(findings),
        "noise": _noise(findings, files),
        "decays": _decays(findings, files),
        "order": _order(findings),
        "by_seed": _by_seed(findings),
        "tuning": _tuning(findings),
        "drift": _drift(findings),
    }
    values["noise_plot"] = image("Change by noise", NOISE_PLOT) if NOISE_PLOT in files else ""
    values["decay_plot"] = image("AUC by α and β", DECAY_PLOT) if DECAY_PLOT in files else ""
    worlds = [[name, page.shown(changes) or "none"] for name, changes in grid.drift.worlds.items()]
    values["worlds"] = table(("world", "changes in the default world"), worlds if values["drift"] else [])
    return {PAGE: page.render("cs3", values), **files}


def _metric_name(findings: Findings) -> str:
    return "AUC" if findings.metric == AUC else "expected AUC"


def _main(findings: Findings) -> str:
    metrics = {TRUTH: "expected AUC", AUC: "AUC"} if findings.knows_truth else {AUC: "AUC"}
    rows = []
    for data, base, full in _PAPER_AUCS:
        for method, value in ((BASE, base), (FULL, full)):
            if value is not None:
                gain = "" if method == BASE or base is None else percent(rela_imp(value, base))
                blank = [""] * (len(metrics) + len(MODES) + 3)
                rows.append([f"paper, {data}", "DSSM", title(method), "5", f"{value:.4f}", *blank, gain])
    for backbone in findings.backbones():
        gains = {
            one.question.better: findings.rela_imp(one)
            for one in findings.gains(mode=FROZEN)
            if one.question.backbone == backbone
        }
        methods = findings.methods("main", backbone)
        for method in methods:
            levels = _levels(findings, backbone, method, tuple(metrics), "")
            tau = mean_of(findings.values(backbone, method, TAU), 5)
            rows.append(
                ["ours", backbone_title(backbone), title(method), *levels, tau, *_cost(findings, backbone, method),
                 percent(gains.get(method))]
            )  # fmt: skip
        # The ranker as it stands behind the base, or behind the first method there is.
        method = BASE if BASE in methods else methods[0]
        levels = _levels(findings, backbone, method, tuple(metrics), "ranker_")
        rows.append(["ours", backbone_title(backbone), f"the ranker, with {title(method)}", *levels, *[""] * 5])
    later = [f"{metrics[findings.metric]}, {mode}" for mode in MODES if mode != FROZEN]
    header = (
        "source", "backbone", "method", "seeds", *(f"{name}, frozen" for name in metrics.values()), *later,
        "log loss, frozen", "tau with the ranker", "learning rate", "parameters", "CPU s", "RelaImp",
    )  # fmt: skip
    return table(header, rows if findings.backbones() else [])


def _levels(findings: Findings, backbone: str, method: str, metrics: Sequence[str], prefix: str) -> list[str]:
    """Seeds, and metrics of the towers, or of the ranker if `prefix` says so."""
    frozen = [spread(findings.values(backbone, method, prefix + metric)) for metric in metrics]
    modes = [mode for mode in MODES if mode != FROZEN]
    later = [mean_of(findings.values(backbone, method, prefix + findings.metric, mode), 5) for mode in modes]
    loss = mean_of(findings.values(backbone, method, f"{prefix}logloss"), 5)
    return [str(len(findings.cells(backbone, method))), *frozen, *later, loss]


def _cost(findings: Findings, backbone: str, method: str) -> list[str]:
    cells = list(findings.cells(backbone, method).values())
    rates = sorted({f"{cell['learning_rate']:g}" for cell in cells})
    return [", ".join(rates), f"{cells[0]['parameters']:,}", mean_of([cell["cpu_seconds"] for cell in cells], 0)]


def _equal(findings: Findings) -> str:
    """The methods of the main part at one learning rate."""
    rows = []
    for backbone, method in findings.pairs(EQUAL):
        by_mode = [findings.values(backbone, method, findings.metric, mode, rates=EQUAL) for mode in MODES]
        rows.append([backbone_title(backbone), title(method), str(len(by_mode[0])), *map(spread, by_mode)])
    return table(("backbone", "method", "seeds", *(f"{_metric_name(findings)}, {mode}" for mode in MODES)), rows)


def _main_plot(findings: Findings, files: _Files) -> str:
    rows: list[DotRow] = []
    for rates, mode in ((rates, mode) for rates in RATES for mode in MODES):
        for backbone in findings.backbones():
            gains = [one for one in findings.gains(rates, mode) if one.question.backbone == backbone]
            if gains:
                rows.append(DotRow(f"{backbone_title(backbone)}, {mode}, {rates} rates", heading=True))
            rows += [dots(title(one.question.better), one.test, UNIT) for one in gains]
    if not rows:
        return ""
    name = f"gain in {_metric_name(findings)} over the base, in {1 / UNIT:.0e}"
    files[MAIN_PLOT] = dot_plot(f"CS3: {name}, a dot a seed", name, rows)
    return image(name, MAIN_PLOT)


def _tests(findings: Findings, comparisons: Sequence[Comparison]) -> str:
    rows = []
    for one in comparisons:
        question = one.question
        rates = " / ".join(f"{rate:g}" for rate in one.learning_rates if rate is not None)
        on = question.mode if question.metric == findings.metric else f"{question.mode}, {_test_rows(question.metric)}"
        gain = "" if question.metric == TAU else percent(findings.rela_imp(one))
        rows.append(
            [backbone_title(question.backbone), f"{title(question.better)} > {title(question.worse)}", on, rates, gain,
             *test_cells(one.test)]
        )  # fmt: skip
    return table(("backbone", "claim", "test rows", "learning rates", "RelaImp", *TEST_HEADER), rows)


def _test_rows(metric: str) -> str:
    cold = (f"cold {what}" for key, what in COLD.items() if key in metric)
    return "tau with the ranker" if metric == TAU else next(cold)


def _drift(findings: Findings) -> str:
    rows = []
    questions = sorted(findings.drift_questions(), key=lambda question: MODES.index(question.mode))
    for one in findings.answers(questions):
        backbone, better, worse, mode, metric, variant, _ = one.question
        base = spread(findings.values(backbone, worse, metric, mode, variant))
        claim = f"{title(better)} > {title(worse)}"
        rows.append([findings.grid.world_name("drift", variant), claim, mode, base, *test_cells(one.test)])
    return table(("world", "claim", "test rows", "base", *TEST_HEADER), rows)


def _recall(findings: Findings) -> str:
    rows = []
    for question in findings.recall_questions():
        backbone, method, rates = question.backbone, question.better, question.rates

        def values(metric: str, split: str = "test", mode: str = FROZEN, of: Question = question) -> list[float]:
            return findings.values(of.backbone, of.better, metric, mode, rates=of.rates, split=split)

        if values(RECALL):
            one = None if method == question.worse else findings.compare(question)
            n = str(len(findings.cells(backbone, method, rates=rates)))
            rows.append(
                [backbone_title(backbone), title(method), f"{findings.rate(backbone, method, rates):g}", n,
                 mean_of(values(RECALL, "eval")), mean_of(values(RECALL)), mean_of(values(emptied("user"))),
                 mean_of(values(emptied("item"))), mean_of(values("auc", mode=TRAIN)),
                 *(test_cells(one.test)[1:] if one else [""] * 4)]
            )  # fmt: skip
    header = (
        "backbone", "method", "learning rate", "seeds", "eval", "test", "test, user caches emptied",
        "test, item caches emptied", "AUC as it trained", *TEST_HEADER[1:],
    )  # fmt: skip
    return table(header, rows)


def _stream(findings: Findings) -> str:
    """The users of a batch, and rows whose ids the train split lacks."""
    cells = [cell for cell in findings.results["cells"] if "stream" in cell and "shuffled" not in cell["method"]]
    cell = cells[0] if cells else None
    if cell is None:
        return ""
    shares = [
        [split, f"{share['user']:.0%}", f"{share['item']:.0%}", f"{cell['stream']['users_in_batch']:.1f}"]
        for split, share in cell["stream"]["unknown"].items()
    ]
    return table(("rows", "of new users", "of new items", "users in a train batch, mean"), shares)


def _over_time(findings: Findings, files: _Files) -> str:
    """The course of online training, from the first row to the last: a plot a backbone."""
    key, images = ("towers_truth" if findings.knows_truth else "towers"), []
    for backbone in findings.backbones():
        methods = [method for method in findings.methods("main", backbone) if method in _DRAWN]
        drawn = [(title(method), findings.course(backbone, method, key)) for method in methods]
        if any(values for _, values in drawn):
            drawn.append(("the ranker", findings.course(backbone, methods[0], key.replace("towers", "ranker"))))
            lines = [Line(name, [Point(at, value) for at, value in enumerate(values) if value is not None])
                     for name, values in drawn]  # fmt: skip
            name, plot = _metric_name(findings), f"cs3_time_{backbone}.svg"
            slices = [f"{round(100 * (at + 1) / len(drawn[0][1]))}" for at in range(len(drawn[0][1]))]
            files[plot] = line_plot(
                f"{backbone_title(backbone)}: {name} over time", "share of the stream that is over, %", name, slices,
                lines,
            )  # fmt: skip
            images.append(image(f"{backbone_title(backbone)} over time", plot))
    return "\n\n".join(images)


def _cold(findings: Findings) -> str:
    rows = []
    for backbone, method in findings.pairs():
        cells = [f"ours, {backbone_title(backbone)}", title(method)]
        for name in COLD:
            aucs, base = (findings.values(backbone, one, f"{findings.metric}_{name}") for one in (method, BASE))
            gain = f" ({UNIT * (statistics.fmean(aucs) - statistics.fmean(base or aucs)):+.0f})" if aucs else ""
            share = mean_of(findings.values(backbone, method, f"share_{name}"), 2)
            cells += [mean_of(aucs, 5) + gain, share]
        rows.append(cells)
    of_paper = {name: f"{base:.4f} → {full:.4f}" for name, base, full in _PAPER_COLD}
    first = ["paper, DSSM", "base → CS3", of_paper["cold_users"], "", of_paper["cold_items"], ""]
    header = ("source", "method", "cold users", "share of rows", "cold items", "share of rows")
    return table(header, [first, *rows] if rows else [])


def _noise(findings: Findings, files: _Files) -> str:
    """Change by noise on the features of the towers."""
    levels = [f"{level:g}" for level in findings.grid.noise]
    rows, lines = [], []
    for backbone, method in findings.pairs():
        clean = findings.values(backbone, method, findings.metric)
        noisy = [findings.values(backbone, method, findings.metric, level) for level in levels]
        lost = [paired(values, clean) for values in noisy if values and len(values) == len(clean)]
        if lost:
            rows.append([backbone_title(backbone), title(method), *map(interval, lost)])
        if lost and backbone == findings.grid.studied and method in _DRAWN:
            lines.append(Line(title(method), points(lost)))
    if lines:
        name = f"{backbone_title(findings.grid.studied)}: change of the {_metric_name(findings)}"
        files[NOISE_PLOT] = line_plot(name, "deviation of the noise", "change", levels, lines)
    return table(("backbone", "method", *(f"noise {level}" for level in levels)), rows)


def _decays(findings: Findings, files: _Files) -> str:
    """CS3 with other alpha and beta."""
    decays, backbone = findings.decays(), findings.grid.studied
    if len(decays) < 2:
        return ""

    def values(method: str, mode: str) -> list[float]:
        return findings.values(backbone, method, findings.metric, mode)

    rows = [
        [f"{decay:g}", str(len(values(method, FROZEN))), *(spread(values(method, mode)) for mode in MODES)]
        for decay, method in decays.items()
    ]
    lines = [Line(mode, points([level(values(method, mode)) for method in decays.values()])) for mode in MODES]
    name = f"{backbone_title(backbone)} with CS3: {_metric_name(findings)} by α = β"
    files[DECAY_PLOT] = line_plot(name, "α = β", _metric_name(findings), [f"{decay:g}" for decay in decays], lines)
    return table(("α = β", "seeds", *(f"{_metric_name(findings)}, {mode}" for mode in MODES)), rows)


def _order(findings: Findings) -> str:
    """Caches that are written before they are read, as a negative control."""
    backbone, rows = findings.grid.studied, []
    for order in findings.orders():
        frozen = findings.values(backbone, order.method, AUC)
        losses = [findings.values(backbone, order.method, "logloss", mode) for mode in (TRAIN, FROZEN)]
        columns = [order.train, order.oracle, order.online, order.prequential, frozen]
        rows.append(
            [
                title(order.method),
                str(len(frozen)),
                *map(spread, columns),
                *map(mean_of, losses),
                order.flag or "no flag",
            ]
        )
    header = (
        "method", "seeds", "AUC as it trained", "AUC of the truth there", "test AUC, online", "test AUC, prequential",
        "test AUC, frozen", "log loss as it trained", "test log loss, frozen", "verdict",
    )  # fmt: skip
    return table(header, rows)


def _by_seed(findings: Findings) -> str:
    rows = []
    for backbone, method in findings.pairs():
        for seed, cell in findings.cells(backbone, method).items():
            sha256 = f"`{cell['data_sha256'][:16]}…`"
            values = [findings.values(backbone, method, findings.metric, mode, seeds=[seed]) for mode in MODES]
            by_mode = [f"{value:.5f}" for (value,) in values]
            rows.append([backbone_title(backbone), title(method), str(seed), sha256, *by_mode])
    return table(("backbone", "method", "seed", "sha256 of the data", *MODES), rows)


def _tuning(findings: Findings) -> str:
    """The eval log loss of each rate on the tuning seeds, and the chosen rate."""
    rates = sorted({rate for losses in findings.losses.values() for rate in losses})
    rows = []
    for (backbone, method), losses in findings.losses.items():
        chosen = findings.rate(backbone, method)
        means = [mean_of(losses.get(rate, []), 5) for rate in rates]
        is_end = "yes" if chosen in (min(losses), max(losses)) else "no"
        rows.append([backbone_title(backbone), title(method), *means, f"{chosen:g}", is_end])
    return table(("backbone", "method", *(f"{rate:g}" for rate in rates), "chosen", "an end of those tried"), rows)
