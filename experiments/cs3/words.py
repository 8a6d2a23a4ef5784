"""Sentences of the page; which of them stands there is decided by the figures."""

import statistics
from collections.abc import Sequence

from experiments.cs3.findings import AUC, COLD, LEAK_GAP, TAU, Comparison, Findings
from experiments.cs3.methods import BASE, DECAY, FULL, backbone_title, title
from experiments.cs3.modes import FROZEN, MODES, ONLINE, TEXTS
from experiments.cs3.rates import RATES, TUNED
from experiments.grid_runner import SIMULATED
from experiments.statistics import Verdict
from experiments.text import UNIT, auc, interval, listed, p_value, table

_VERDICTS: dict[Verdict, str] = {
    "confirmed": "significantly better",
    "refuted": "significantly worse",
    "not decided": "not significantly better",
}
_AGREES: dict[Verdict, str] = {
    "confirmed": "significantly more",
    "refuted": "significantly less",
    "not decided": "not significantly more",
}


def about(findings: Findings) -> list[str]:
    """What was run, on what."""
    grid, cells = findings.grid, findings.results["cells"]
    seeds = sorted({cell["seed"] for cell in cells if not cell["tried"]})
    if grid.source == SIMULATED:
        data = f"impressions of simulated logs of {grid.requests:,} requests, one a seed; no two seeds share a world"
    else:
        data = f"a dataset of {grid.source}; all seeds see the same rows, and intervals tell of weights alone"
    rows = cells[0]["rows"] if cells else {}
    softmax = f"a softmax over each batch's items of weight {grid.softmax_weight:g}, " if grid.softmax_weight else ""
    lines = [
        f"Data: {data}. Seeds: {listed([str(seed) for seed in seeds])}. Rows of one stream, in the order of time: "
        f"{', '.join(f'{count:,} {split}' for split, count in rows.items())}.",
        "",
        f"Settings: one pass, {grid.batch_size} rows a step, embeddings of width {grid.embedding_dim}, layers "
        f"{'-'.join(map(str, grid.hidden_units))}, lazy Adam, {softmax}α = β = {DECAY:g} but where another "
        f"value is named. {_rates(findings)} The ranker behind the towers is trained on the same batches, in every "
        "method, and its last hidden layer is what CMS shares.",
        "",
        "Rows after the train split are scored in three ways:",
        "",
        *(f"- *{mode}*: {TEXTS[mode]}." for mode in MODES),
        "",
        f"{len(cells)} trainings, {sum(cell['cpu_seconds'] for cell in cells) / 60:.0f} minutes of processor time.",
        "",
    ]
    runs = [
        [f"`{run['command']}`", str(run["date"]), run["machine"]["processor"], str(run["machine"]["cores"]),
         run["machine"]["versions"]["tensorflow"], f"`{run['code_sha256'][:16]}…`"]
        for run in findings.results["contexts"]
    ]  # fmt: skip
    return [*lines, *table(("command", "date", "processor", "cores", "TensorFlow", "sha256 of the code"), runs)]


def deviations(findings: Findings) -> list[str]:
    """What differs from the paper, as far as the grid knows."""
    points = []
    if findings.grid.source == SIMULATED:
        points.append(
            "The data is simulated, where the paper has TaobaoAd, KuaiRand and RecSys2017: levels of AUC do not "
            "compare. In return the truth is known, so that a leak can be told from learning."
        )
    points += [
        "Caches are read before they are written, batch by batch; the paper does not tell its order.",
        "The paper tells neither its widths nor its losses, optimizer, learning rates or batches; these are ours. So "
        "are CAS in both towers, in all layers but the first, and the ranker.",
        "The backbones IHM-DAT and RCG of the paper are not published; DAT and transformer towers stand in for them.",
    ]
    return ["## What differs from the paper", "", *(f"- {point}" for point in points), ""]


def _rates(findings: Findings) -> str:
    grid, tried = findings.grid, sorted({rate for losses in findings.losses.values() for rate in losses})
    equal = "" if grid.equal_rate is None else f", and besides all are trained at {grid.equal_rate:g}"
    if not tried:
        return f"The learning rate is {grid.learning_rates[0]:g}, not tuned{equal}."
    listed_rates = listed([f"{rate:g}" for rate in tried])
    count = "a seed" if len(grid.tuning_seeds) == 1 else f"{len(grid.tuning_seeds)} seeds"
    return (
        f"Each method of each backbone has a rate of its own among {listed_rates}, chosen on {count} of no other use"
        f"{equal}."
    )


def reproduced(findings: Findings) -> list[str]:
    """What was and was not reproduced."""
    points = [
        *_gains(findings),
        *_modules(findings),
        *_cold(findings),
        *_tau(findings),
        *_drift(findings),
        *_order(findings),
    ]
    if not points:
        return []
    return ["## What was and was not reproduced", "", *(f"- {point}" for point in points), ""]


def metric_name(findings: Findings) -> str:
    """What the metric of the comparisons is called."""
    return "AUC" if findings.metric == AUC else "expected AUC"


def verdict(one: Comparison) -> str:
    """In words, after Holm's correction."""
    return _VERDICTS[one.verdict]


def _told(one: Comparison) -> str:
    p = f"; p {p_value(one.test.p)}, after Holm {p_value(one.adjusted_p)}" if one.test.p is not None else ""
    return f"{verdict(one)} ({interval(one.test)} in {1 / UNIT:.0e}{p})"


def _at(findings: Findings, rates: str) -> str:
    return "tuned rates" if rates == TUNED else f"all at rate {findings.grid.equal_rate:g}"


def _gains(findings: Findings) -> list[str]:
    points = []
    for rates in RATES:
        for mode in MODES:
            parts = [
                f"{backbone_title(one.question.backbone)} {_told(one)}"
                for one in findings.gains(rates, mode)
                if one.question.better == FULL
            ]
            if parts:
                name = metric_name(findings)
                points.append(f"CS3 against its base, {_at(findings, rates)}, {mode}, by {name}: {'; '.join(parts)}.")
    return points


def _modules(findings: Findings) -> list[str]:
    points = []
    for rates in RATES:
        for module in ("cas", "cts", "cms"):
            parts = [
                f"{backbone_title(one.question.backbone)}, {one.question.mode}, {_told(one)}"
                for one in findings.gains(rates)
                if one.question.better == module
            ]
            if parts:
                points.append(f"{module.upper()} alone against the base, {_at(findings, rates)}: {'; '.join(parts)}.")
    return points


def _cold(findings: Findings) -> list[str]:
    points = []
    for name, what in COLD.items():
        parts = []
        for backbone in findings.backbones():
            one = findings.compare(backbone, FULL, BASE, metric=f"{findings.metric}_{name}")
            if one is not None:
                parts.append(f"{backbone_title(backbone)} {_told(one)}")
        if parts:
            points.append(f"CS3 against its base on cold {what}, tuned rates, frozen: {'; '.join(parts)}.")
    return points


def _tau(findings: Findings) -> list[str]:
    parts = []
    for backbone in findings.backbones():
        one = findings.compare(backbone, FULL, BASE, metric=TAU)
        if one is not None:
            own, base = (_mean(findings.values(backbone, method, TAU)) for method in (FULL, BASE))
            parts.append(f"{backbone_title(backbone)} {own:.3f} against {base:.3f}, {_AGREES[one.verdict]}")
    if not parts:
        return []
    return [f"How far the towers of CS3 and of the base agree with the ranker, by Kendall's tau: {'; '.join(parts)}."]


def _drift(findings: Findings) -> list[str]:
    points = []
    for mode in (FROZEN, ONLINE):
        parts = [
            f"{findings.world_name(one.question.variant)} {_told(one)}"
            for one in findings.drift_gains(mode)
            if one.question.better == FULL
        ]
        if parts:
            points.append(
                f"CS3 against its base where tastes move or stand still, {backbone_title(findings.grid.studied)}, "
                f"{mode}, by drift: {'; '.join(parts)}."
            )
    return points


def _order(findings: Findings) -> list[str]:
    fine = "nothing speaks against its figures"
    return [f"{title(own.method)}, scored in its own order: {own.flag or fine}." for own in findings.orders()]


def order_text(findings: Findings) -> str:
    """What the order of reading and writing is tried for, and when it is flagged."""
    return (
        f"{backbone_title(findings.grid.studied)} with caches that are written before they are read: each row sees "
        "what its own label left. A control, never to be used. A method is flagged as too good to be true if its AUC "
        "as it trained is above that of the true probabilities on the same rows, or if from there to "
        f"the prequential test rows, whose labels come after their scores, it loses {LEAK_GAP:g} more than the base."
    )


def gain_of(values: Sequence[float], base: Sequence[float]) -> str:
    """A mean and how far it is from another."""
    return f"{auc(_mean(values))} ({UNIT * (_mean(values) - _mean(base)):+.0f})" if values and base else ""


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)
