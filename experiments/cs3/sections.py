"""The sections of the page beside the main table."""

import statistics
from collections.abc import Sequence

from experiments.cs3 import paper
from experiments.cs3.findings import AUC, COLD, TRAIN, Comparison, Findings
from experiments.cs3.methods import BASE, FULL, backbone_title, title
from experiments.cs3.modes import FROZEN, MODES, ONLINE, PREQUENTIAL
from experiments.cs3.words import gain_of, metric_name, order_text, verdict
from experiments.line_plot import Line, Point, line_plot
from experiments.statistics import paired
from experiments.text import UNIT, interval, p_value, spread, table

NOISE_PLOT, DECAY_PLOT = "cs3_noise.svg", "cs3_alpha_beta.svg"
Files = dict[str, str]
_DRAWN = (BASE, "cas", "cts", "cms", FULL)


def time_plot(backbone: str) -> str:
    """File of the plot over time."""
    return f"cs3_time_{backbone}.svg"


def over_time(findings: Findings, files: Files) -> list[str]:
    """The course of online training, from the first row to the last."""
    key = "towers_truth" if findings.knows_truth else "towers"
    lines: list[str] = []
    for backbone in findings.backbones():
        methods = [method for method in findings.methods("main", backbone) if method in _DRAWN]
        drawn = [(title(method), findings.course(backbone, method, key)) for method in methods]
        if not any(values for _, values in drawn):
            continue
        drawn.append(("the ranker", findings.course(backbone, methods[0], key.replace("towers", "ranker"))))
        settings = [f"{round(100 * (at + 1) / len(drawn[0][1]))}" for at in range(len(drawn[0][1]))]
        plot = time_plot(backbone)
        files[plot] = line_plot(
            f"{backbone_title(backbone)}: {metric_name(findings)} over time", "share of the stream that is over, %",
            metric_name(findings), settings, [Line(name, _points(values)) for name, values in drawn],
        )  # fmt: skip
        lines += [f"![{backbone_title(backbone)} over time]({plot})", ""]
    if not lines:
        return []
    text = (
        "Each row is scored before the step that learns from it, from the first row of the train split to the last "
        "test row; means over seeds, in twentieths of the stream."
    )
    return ["## Over time", "", text, "", *lines]


def cold(findings: Findings, files: Files) -> list[str]:
    """Users and items with few clicks in the train split."""
    masks = {name: f"cold {what}" for name, what in COLD.items()}
    told = {name: f"{base:.4f} → {full:.4f}" for name, base, full in paper.COLD}
    rows = []
    for backbone in findings.backbones():
        for method in findings.methods("main", backbone):
            cells = [f"ours, {backbone_title(backbone)}", title(method)]
            for name in masks:
                own, base = (findings.values(backbone, one, f"{findings.metric}_{name}") for one in (method, BASE))
                share = findings.values(backbone, method, f"share_{name}")
                cells += [gain_of(own, base or own), f"{statistics.fmean(share):.2f}" if share else ""]
            rows.append(cells)
    if not rows:
        return []
    header = ("whose", "method", *(text for name in masks.values() for text in (name, "share of rows")))
    return [
        "## Cold users and items",
        "",
        f"The {metric_name(findings)} on test rows of users, of items with at most {findings.grid.cold_clicks} clicks "
        f"in the train split, frozen; in brackets the difference from the base in {1 / UNIT:.0e}.",
        "",
        *table(header, [["paper, DSSM", "base → CS3", told["cold_users"], "", told["cold_items"], ""], *rows]),
    ]


def noise(findings: Findings, files: Files) -> list[str]:
    """Noise on what the towers are given."""
    levels = [f"{level:g}" for level in findings.grid.noise]
    rows, lines = [], []
    for backbone in findings.backbones():
        for method in findings.methods("main", backbone):
            clean = findings.values(backbone, method, findings.metric)
            noisy = [findings.values(backbone, method, findings.metric, level) for level in levels]
            if not any(noisy):
                continue
            lost = [paired(own, clean) for own in noisy if len(own) == len(clean)]
            rows.append([backbone_title(backbone), title(method), *(interval(one) for one in lost)])
            if backbone == findings.grid.studied and method in _DRAWN:
                points = [Point(at, one.mean, one.low, one.high) for at, one in enumerate(lost)]
                lines.append(Line(title(method), points))
    if not rows:
        return []
    shown: list[str] = []
    if lines:
        name = backbone_title(findings.grid.studied)
        files[NOISE_PLOT] = line_plot(
            f"{name}: change of the {metric_name(findings)}", "deviation of the noise", "change", levels, lines
        )
        shown = [f"![Change by noise]({NOISE_PLOT})", ""]
    return [
        "## Noise on the input",
        "",
        f"Change of the {metric_name(findings)}, frozen, in {1 / UNIT:.0e}, with Gaussian noise on the vectors of the "
        "towers' features, its deviation in deviations of those vectors. What comes from the caches stays as it is. "
        f"In the paper noise of 0.1 moves the AUC of DSSM with CAS by {UNIT * paper.NOISE_LOSS:.0f}, and that of "
        "DSSM more.",
        "",
        *table(("backbone", "method", *(f"noise {level}" for level in levels)), rows),
        *shown,
    ]


def sensitivity(findings: Findings, files: Files) -> list[str]:
    """CS3 with other alpha and beta."""
    decays = findings.decays()
    if len(decays) < 2:
        return []
    backbone = findings.grid.studied
    rows, lines = [], []
    for decay, method in decays.items():
        by_mode = [findings.values(backbone, method, findings.metric, mode) for mode in MODES]
        rows.append([f"{decay:g}", str(len(by_mode[0])), *(spread(own) for own in by_mode)])
    for mode in MODES:
        points = []
        for at, method in enumerate(decays.values()):
            values = findings.values(backbone, method, findings.metric, mode)
            own = paired(values, [0.0] * len(values))
            points.append(Point(at, own.mean, own.low, own.high))
        lines.append(Line(mode, points))
    name = f"{backbone_title(backbone)} with CS3: {metric_name(findings)} by α = β"
    files[DECAY_PLOT] = line_plot(name, "α = β", metric_name(findings), [f"{decay:g}" for decay in decays], lines)
    return [
        "## α and β, the shares of the old vector",
        "",
        f"{backbone_title(backbone)} with CS3; 0 keeps the last event's vector alone. The paper finds a wide range in "
        "which they matter little, and takes 0.8; its figures are not known to us.",
        "",
        *table(("α = β", "seeds", *(f"{metric_name(findings)}, {mode}" for mode in MODES)), rows),
        f"![{name}]({DECAY_PLOT})",
        "",
    ]


def drift(findings: Findings, files: Files) -> list[str]:
    """What is left of the gains where tastes stand still."""
    worlds = findings.grid.drift.worlds
    lines: list[str] = []
    for mode in (FROZEN, PREQUENTIAL, ONLINE):
        if found := findings.drift_gains(mode):
            lines += [f"### {mode.capitalize()}", "", *_by_world(findings, found)]
    if not lines:
        return []
    told = [
        [name, ", ".join(f"{key} {value:g}" for key, value in own.items()) or "none"] for name, own in worlds.items()
    ]
    return [
        "## Drift",
        "",
        f"{backbone_title(findings.grid.studied)} in worlds whose users' tastes move or stand still: a gain that is "
        "left without drift does not come from keeping up with it. p (Holm) is of all tests of the page.",
        "",
        *table(("world", "changes in the default world"), told),
        *lines,
    ]


def _by_world(findings: Findings, found: Sequence[Comparison]) -> list[str]:
    rows = []
    for one in found:
        backbone, better, worse, mode, metric, variant, _ = one.question
        base = findings.values(backbone, worse, metric, mode, variant)
        rows.append(
            [findings.world_name(variant), f"{title(better)} > {title(worse)}", spread(base),
             str(len(one.test.differences)), interval(one.test), p_value(one.test.p), p_value(one.adjusted_p),
             verdict(one)]
        )  # fmt: skip
    header = ("world", "claim", "base", "n", "difference [95 % interval]", "p", "p (Holm)", "verdict")
    return table(header, rows)


def order(findings: Findings, files: Files) -> list[str]:
    """Caches that are written before they are read, as a negative control."""
    rows = []
    for own in findings.orders():
        backbone = findings.grid.studied
        frozen = findings.values(backbone, own.method, AUC)
        losses = [findings.values(backbone, own.method, "logloss", mode) for mode in (TRAIN, FROZEN)]
        cells = [own.train, own.oracle, own.online, own.prequential, frozen]
        rows.append(
            [title(own.method), str(len(frozen)), *(spread(values) if values else "" for values in cells),
             *(f"{statistics.fmean(values):.4f}" for values in losses), own.flag or "no flag"]
        )  # fmt: skip
    if not rows:
        return []
    header = (
        "method", "seeds", "AUC as it trained", "AUC of the truth there", "test AUC, online", "test AUC, prequential",
        "test AUC, frozen", "log loss as it trained", "test log loss, frozen", "verdict",
    )  # fmt: skip
    return ["## The order of reading and writing", "", order_text(findings), "", *table(header, rows)]


def _points(values: Sequence[float | None]) -> list[Point]:
    return [Point(at, value) for at, value in enumerate(values) if value is not None]
