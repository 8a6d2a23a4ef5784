"""The parts of the page beside the main table: what is changed one thing at a time."""

import statistics
from collections.abc import Sequence

from experiments.duet import paper
from experiments.duet.findings import EXPOSED, METRICS, UNEXPOSED, Comparison, Findings
from experiments.duet.methods import DUET, DUET_STAGES, SINGLE, title
from experiments.line_plot import Line, Point, line_plot
from experiments.statistics import paired
from experiments.text import UNIT, interval, p_value, percent, spread, table

LAMBDA_PLOT, BIAS_PLOT, SET_PLOT = "duet_lambda.svg", "duet_bias.svg", "duet_set_effect.svg"
BIAS_PAIRS = (
    (DUET, SINGLE),
    (DUET_STAGES, SINGLE),
    (DUET_STAGES, DUET),
    (DUET_STAGES, "stage_heads_10"),
    (DUET_STAGES, "logging policy"),
)
SET_PAIRS = ((SINGLE, "set_pointwise"), (SINGLE, "two_tower"), (DUET, SINGLE))
_PLANNED = (
    "A schedule is laid out over the greatest number of epochs. Where the best epoch comes before a step, what is kept "
    "is DUET without KL, to the last digit."
)
Files = dict[str, str]


def ablations(findings: Findings, files: Files) -> list[str]:
    """DUET without one thing, or with another."""
    low, high = paper.WITHOUT_KL
    of_paper = {
        SINGLE: f"{percent(min(paper.WITHOUT_COTRAINING))} to {percent(max(paper.WITHOUT_COTRAINING))}",
        "duet_no_kl": f"{percent(high)} to {percent(low)}",
        "duet_pointwise": "lower",
    }
    rows = []
    for row in findings.rows("ablations"):
        base = DUET_STAGES if row.startswith(DUET_STAGES) else DUET
        rows += [_changed(findings, row, base, of_paper.get(row, ""))]
    rows = [row for row in rows if row]
    if rows and (single := _changed(findings, SINGLE, DUET, of_paper[SINGLE])):
        rows.insert(0, single)
    return _section("Ablations", findings, rows)


def schedules(findings: Findings, files: Files) -> list[str]:
    """Consistency weights that change while training goes on."""
    rows = [_changed(findings, row, DUET, "") for row in findings.rows("schedules") if row != DUET]
    section = _section("Schedules of the consistency weight", findings, [row for row in rows if row])
    return [*section, "", _PLANNED] if section else []


def _section(heading: str, findings: Findings, rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    metrics = findings.metrics()
    header = ("way", "compared with", "n", *(f"{METRICS[key]}, difference" for key in metrics), "RelaImp", "paper's")
    return [
        f"## {heading}",
        "",
        f"Differences of AUC in {1 / UNIT:.0e}, paired by seed, with 95 % intervals, each for itself: of twenty "
        "where nothing has changed one leaves out zero. RelaImp is of the exposed AUC.",
        "",
        *table(header, rows),
    ]


def _changed(findings: Findings, row: str, base: str, of_paper: str) -> list[str]:
    found = [findings.compare(row, base, metric) for metric in findings.metrics()]
    known = [one for one in found if one is not None]
    gain = findings.gain(row, base, EXPOSED)
    if not known:
        return []
    cells = ["" if one is None else interval(one.test) for one in found]
    return [
        title(row),
        title(base),
        str(len(known[0].test.differences)),
        *cells,
        "" if gain is None else percent(gain),
        of_paper,
    ]


def curve(findings: Findings, files: Files) -> list[str]:
    """AUC over the consistency weight."""
    metrics = [metric for metric in findings.metrics() if len(findings.curve(metric)) > 1]
    if not metrics:
        return []
    weights = list(findings.curve(metrics[0]))
    rows = [[f"{weight:g}", *(spread(findings.curve(metric)[weight]) for metric in metrics)] for weight in weights]
    first = metrics[0]
    points = [_point(at, values) for at, values in enumerate(findings.curve(first).values())]
    name = f"AUC, {METRICS[first]}"
    files[LAMBDA_PLOT] = line_plot(
        f"{name} over the weight of the consistency", "λ", name, [f"{weight:g}" for weight in weights],
        [Line(title(DUET), points)],
    )  # fmt: skip
    return [
        "## λ, the weight of the consistency",
        "",
        "The paper's Figure 4 is a curve with one maximum between its ends; its figures are not known to us.",
        "",
        *table(("λ", *(f"AUC, {METRICS[metric]}" for metric in metrics)), rows),
        f"![{name} by λ]({LAMBDA_PLOT})",
        "",
    ]


def bias(findings: Findings, files: Files) -> list[str]:
    """Worlds whose exposure is more and more biased."""
    text = "From exposure at random to exposure that follows popularity and relevance closely; parameters below."
    return _study(findings, files, "bias", "Strength of the exposure bias", text, BIAS_PLOT, BIAS_PAIRS)


def set_effect(findings: Findings, files: Files) -> list[str]:
    """Worlds in which the other items shown matter more and more."""
    text = "How many logits an item gains or loses by the other items shown."
    return _study(findings, files, "set_effect", "Strength of the set effect", text, SET_PLOT, SET_PAIRS)


def _study(
    findings: Findings,
    files: Files,
    part: str,
    heading: str,
    text: str,
    plot: str,
    pairs: Sequence[tuple[str, str]],
) -> list[str]:
    names = findings.grid.variants(part)
    present = {name: world for name, world in names.items() if findings.rows(part, world)}
    methods = findings.grid.rows(part)
    if not methods or not present:
        return []
    shown = (*methods, "logging policy", "oracle")
    rows = []
    for row in shown:
        values = [findings.values(world, row, UNEXPOSED) for world in present.values()]
        if any(values):
            rows.append([title(row), *(spread(own) if own else "" for own in values)])
    lines = []
    for row in shown[:-1]:
        drawn = {at: findings.values(world, row, UNEXPOSED) for at, world in enumerate(present.values())}
        if points := [_point(at, own) for at, own in drawn.items() if own]:
            lines.append(Line(title(row), points))
    if not lines:
        return []
    files[plot] = line_plot(f"AUC, unexposed, by {heading.lower()}", heading, "AUC, unexposed", list(present), lines)
    return [
        f"## {heading}",
        "",
        text,
        "",
        *table(("world", "changes in the default world"), _worlds(findings, part, list(present))),
        *table(("AUC, unexposed", *present), rows),
        f"![AUC by {heading.lower()}]({plot})",
        "",
        *_study_tests(findings, part, findings.study_tests(part, pairs)),
    ]


def _worlds(findings: Findings, part: str, names: Sequence[str]) -> list[list[str]]:
    worlds = findings.grid.studies()[part].worlds
    return [[name, ", ".join(f"{key} {value:g}" for key, value in worlds[name].items()) or "none"] for name in names]


def _study_tests(findings: Findings, part: str, found: Sequence[Comparison]) -> list[str]:
    rows = []
    for one in found:
        claim = f"{title(one.better)} > {title(one.worse)}"
        p_values = [p_value(one.test.p), p_value(one.adjusted_p)]
        world = findings.world_name(part, one.variant)
        rows.append([claim, world, str(len(one.test.differences)), interval(one.test), *p_values, one.verdict])
    if not rows:
        return []
    return table(("claim", "world", "n", "difference [95 % interval]", "p", "p (Holm)", "verdict"), rows)


def _point(at: int, values: Sequence[float]) -> Point:
    test = paired(values, [0.0] * len(values))
    return Point(at, statistics.fmean(values), test.low, test.high)
