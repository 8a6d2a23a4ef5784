"""The page of a grid: the paper's rows beside ours, tests, sections on each part, and plots."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import page
from experiments.cs3 import paper
from experiments.cs3.findings import AUC, COLD, LEAK_GAP, TAU, TRAIN, TRUTH, Comparison, Findings
from experiments.cs3.methods import BASE, FROZEN, FULL, MODES, RECALL, backbone_title, emptied, title
from experiments.cs3.rates import EQUAL, RATES, TUNED
from experiments.page import TEST_HEADER, UNIT, image, interval, mean_of, percent, spread, table, test_cells
from experiments.plots import DotRow, Line, Point, dot_plot, line_plot
from experiments.statistics import Paired, paired, rela_imp

PAGE, MAIN_PLOT, NOISE_PLOT, DECAY_PLOT = "cs3.md", "cs3_main.svg", "cs3_noise.svg", "cs3_alpha_beta.svg"
_SETTINGS = (
    "source", "requests", "seeds", "batch_size", "embedding_dim", "hidden_units", "softmax_weight", "learning_rates",
    "tuning_seeds", "equal_rate", "cold_clicks",
)  # fmt: skip
_DRAWN = (BASE, "cas", "cts", "cms", FULL)
_Files = dict[str, str]


def render(results: Mapping[str, Any]) -> dict[str, str]:
    """Text by file name: the page and its plots."""
    findings = Findings(results)
    grid, files = findings.grid, _Files()
    first = findings.methods("main", findings.backbones()[0])[0] if findings.backbones() else ""
    known = findings.backbones() and findings.knows_truth
    values = {
        **page.runs(results),
        "rows": ", ".join(f"{count:,} {split}" for split, count in results["cells"][0].get("rows", {}).items()),
        "settings": page.settings(grid, _SETTINGS),
        "metric": _metric_name(findings),
        "oracle": mean_of(findings.values(findings.backbones()[0], first, f"oracle_{TRUTH}"), 5) if known else "",
        "number_of_tests": str(findings.tests),
        "equal_rate": "" if grid.equal_rate is None else f"{grid.equal_rate:g}",
        "cold_clicks": str(grid.cold_clicks),
        "cut_off": str(grid.cut_off),
        "studied": backbone_title(grid.studied),
        "noise_loss": f"{UNIT * paper.NOISE_LOSS:.0f}",
        "leak_gap": f"{LEAK_GAP:g}",
        "main": _main(findings),
        "equal": _equal(findings),
        "main_plot": _main_plot(findings, files),
        "tuned_tests": _tests(findings, findings.gains(TUNED)),
        "equal_tests": _tests(findings, findings.gains(EQUAL)),
        "more_tests": _tests(findings, _more(findings)),
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


def _ways(findings: Findings, rates: str = TUNED) -> list[tuple[str, str]]:
    """Backbones and methods of the main part that have results."""
    return [(own, method) for own in findings.backbones() for method in findings.methods("main", own, rates=rates)]


def _main(findings: Findings) -> str:
    metrics = {TRUTH: "expected AUC", AUC: "AUC"} if findings.knows_truth else {AUC: "AUC"}
    rows = []
    for data, base, full in paper.AUCS:
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
            own = _levels(findings, backbone, method, tuple(metrics), "")
            tau = mean_of(findings.values(backbone, method, TAU), 5)
            rows.append(
                ["ours", backbone_title(backbone), title(method), *own, tau, *_cost(findings, backbone, method),
                 percent(gains.get(method))]
            )  # fmt: skip
        # The ranker as it stands behind the base, or behind the first method there is.
        method = BASE if BASE in methods else methods[0]
        own = _levels(findings, backbone, method, tuple(metrics), "ranker_")
        rows.append(["ours", backbone_title(backbone), f"the ranker, with {title(method)}", *own, *[""] * 5])
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
    return [str(len(findings.seeds(backbone, method))), *frozen, *later, loss]


def _cost(findings: Findings, backbone: str, method: str) -> list[str]:
    by_seed = [findings.cell(backbone, method, seed) for seed in findings.seeds(backbone, method)]
    cells = [cell for cell in by_seed if cell is not None]
    rates = sorted({f"{cell['learning_rate']:g}" for cell in cells})
    return [", ".join(rates), f"{cells[0]['parameters']:,}", mean_of([cell["cpu_seconds"] for cell in cells], 0)]


def _equal(findings: Findings) -> str:
    """The methods of the main part at one learning rate."""
    rows = []
    for backbone, method in _ways(findings, EQUAL):
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
            for one in gains:
                dots = [UNIT * value for value in one.test.differences]
                low, high = (None if end is None else UNIT * end for end in (one.test.low, one.test.high))
                rows.append(DotRow(title(one.question.better), dots, UNIT * one.test.mean, low, high))
    if not rows:
        return ""
    name = f"gain in {_metric_name(findings)} over the base, in {1 / UNIT:.0e}"
    files[MAIN_PLOT] = dot_plot(f"CS3: {name}, a dot a seed", name, rows)
    return image(name, MAIN_PLOT)


def _tests(findings: Findings, comparisons: Sequence[Comparison]) -> str:
    rows = []
    for one in comparisons:
        asked = one.question
        rates = " / ".join(f"{rate:g}" for rate in one.learning_rates if rate is not None)
        on = asked.mode if asked.metric == findings.metric else f"{asked.mode}, {_test_rows(asked.metric)}"
        gain = "" if asked.metric == TAU else percent(findings.rela_imp(one))
        rows.append(
            [backbone_title(asked.backbone), f"{title(asked.better)} > {title(asked.worse)}", on, rates, gain,
             *test_cells(one.test)]
        )  # fmt: skip
    return table(("backbone", "claim", "test rows", "learning rates", "RelaImp", *TEST_HEADER), rows)


def _test_rows(metric: str) -> str:
    cold = (f"cold {what}" for key, what in COLD.items() if key in metric)
    return "tau with the ranker" if metric == TAU else next(cold)


def _more(findings: Findings) -> list[Comparison]:
    """CS3 against its base on cold ids, and by how both agree with the ranker."""
    metrics = [*(f"{findings.metric}_{name}" for name in COLD), TAU]
    compared = [findings.compare(own, FULL, BASE, metric=metric) for own in findings.backbones() for metric in metrics]
    return [one for one in compared if one is not None]


def _drift(findings: Findings) -> str:
    rows = []
    for one in (one for mode in MODES for one in findings.drift_gains(mode)):
        backbone, better, worse, mode, metric, variant, _ = one.question
        base = spread(findings.values(backbone, worse, metric, mode, variant))
        claim = f"{title(better)} > {title(worse)}"
        rows.append([findings.world_name(variant), claim, mode, base, *test_cells(one.test)])
    return table(("world", "claim", "test rows", "base", *TEST_HEADER), rows)


def _recall(findings: Findings) -> str:
    rows = []
    for _, asked in findings.recall_rows():
        backbone, method, rates = asked.backbone, asked.better, asked.rates

        def values(metric: str, split: str = "test", mode: str = FROZEN, own: Any = asked) -> list[float]:
            return findings.values(own.backbone, own.better, metric, mode, rates=own.rates, split=split)

        if values(RECALL):
            one = None if method == asked.worse else findings.compare(*asked)
            n = str(len(findings.seeds(backbone, method, rates=rates)))
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
    cell = next((own for own in findings.results["cells"] if "stream" in own and "shuffled" not in own["method"]), None)
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
            lines = [Line(name, [Point(at, own) for at, own in enumerate(values) if own is not None])
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
    for backbone, method in _ways(findings):
        cells = [f"ours, {backbone_title(backbone)}", title(method)]
        for name in COLD:
            own, base = (findings.values(backbone, one, f"{findings.metric}_{name}") for one in (method, BASE))
            gain = f" ({UNIT * (statistics.fmean(own) - statistics.fmean(base or own)):+.0f})" if own else ""
            share = mean_of(findings.values(backbone, method, f"share_{name}"), 2)
            cells += [mean_of(own, 5) + gain, share]
        rows.append(cells)
    of_paper = {name: f"{base:.4f} → {full:.4f}" for name, base, full in paper.COLD}
    first = ["paper, DSSM", "base → CS3", of_paper["cold_users"], "", of_paper["cold_items"], ""]
    header = ("source", "method", "cold users", "share of rows", "cold items", "share of rows")
    return table(header, [first, *rows] if rows else [])


def _noise(findings: Findings, files: _Files) -> str:
    """Change by noise on the features of the towers."""
    levels = [f"{level:g}" for level in findings.grid.noise]
    rows, lines = [], []
    for backbone, method in _ways(findings):
        clean = findings.values(backbone, method, findings.metric)
        noisy = [findings.values(backbone, method, findings.metric, level) for level in levels]
        lost = [paired(own, clean) for own in noisy if own and len(own) == len(clean)]
        if lost:
            rows.append([backbone_title(backbone), title(method), *map(interval, lost)])
        if lost and backbone == findings.grid.studied and method in _DRAWN:
            lines.append(Line(title(method), _points(lost)))
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
    lines = [Line(mode, _points([_level(values(method, mode)) for method in decays.values()])) for mode in MODES]
    name = f"{backbone_title(backbone)} with CS3: {_metric_name(findings)} by α = β"
    files[DECAY_PLOT] = line_plot(name, "α = β", _metric_name(findings), [f"{decay:g}" for decay in decays], lines)
    return table(("α = β", "seeds", *(f"{_metric_name(findings)}, {mode}" for mode in MODES)), rows)


def _level(values: Sequence[float]) -> Paired:
    return paired(values, [0.0] * len(values))


def _points(tests: Sequence[Paired]) -> list[Point]:
    return [Point(at, one.mean, one.low, one.high) for at, one in enumerate(tests)]


def _order(findings: Findings) -> str:
    """Caches that are written before they are read, as a negative control."""
    backbone, rows = findings.grid.studied, []
    for own in findings.orders():
        frozen = findings.values(backbone, own.method, AUC)
        losses = [findings.values(backbone, own.method, "logloss", mode) for mode in (TRAIN, FROZEN)]
        columns = [own.train, own.oracle, own.online, own.prequential, frozen]
        rows.append(
            [title(own.method), str(len(frozen)), *map(spread, columns), *map(mean_of, losses), own.flag or "no flag"]
        )
    header = (
        "method", "seeds", "AUC as it trained", "AUC of the truth there", "test AUC, online", "test AUC, prequential",
        "test AUC, frozen", "log loss as it trained", "test log loss, frozen", "verdict",
    )  # fmt: skip
    return table(header, rows)


def _by_seed(findings: Findings) -> str:
    rows = []
    for backbone, method in _ways(findings):
        for seed in findings.seeds(backbone, method):
            cell = findings.cell(backbone, method, seed)
            sha256 = "" if cell is None else f"`{cell['data_sha256'][:16]}…`"
            values = [findings.values(backbone, method, findings.metric, mode, seeds=[seed]) for mode in MODES]
            by_mode = [f"{own[0]:.5f}" for own in values]
            rows.append([backbone_title(backbone), title(method), str(seed), sha256, *by_mode])
    return table(("backbone", "method", "seed", "sha256 of the data", *MODES), rows)


def _tuning(findings: Findings) -> str:
    """What each rate gave on the tuning seeds, and which was chosen."""
    rates = sorted({rate for losses in findings.losses.values() for rate in losses})
    rows = []
    for (backbone, method), losses in findings.losses.items():
        chosen = findings.rate(backbone, method)
        means = [mean_of([*losses.get(rate, {}).values()], 5) for rate in rates]
        is_end = "yes" if chosen in (min(losses), max(losses)) else "no"
        rows.append([backbone_title(backbone), title(method), *means, f"{chosen:g}", is_end])
    return table(("backbone", "method", *(f"{rate:g}" for rate in rates), "chosen", "an end of those tried"), rows)
