"""Sentences of the page; which of them stands there is decided by the figures."""

import statistics
from collections.abc import Mapping, Sequence

from experiments.duet import paper
from experiments.duet.findings import ENTIRE, EXPOSED, METRICS, STEPS, UNEXPOSED, Comparison, Findings
from experiments.duet.methods import DUET, DUET_STAGES, SINGLE, title
from experiments.duet.studies import BIAS_PAIRS, SET_PAIRS
from experiments.grid_runner import SIMULATED
from experiments.statistics import Verdict
from experiments.text import listed, percent, table, told
from experiments.world_grid import DEFAULT

_VERDICTS: tuple[Verdict, ...] = ("confirmed", "refuted", "not decided")
_CORRELATED = 0.5
_CONTROLS = ("weight_matched", "two_singles", "two_singles_ensemble")


PRIVILEGED = (
    "**Stages are privileged information.** How far a candidate got in the log's cascade is here its true relevance "
    "(on ratings, the user's own rating) plus independent noise: it tells of every candidate something that no click "
    "tells. What methods with stages gain is what such information is worth. A cascade that was itself learned from "
    "clicks holds less of it; that control is missing."
)
"""Of the simulator and of ratings matrices, the only sources with stages and a truth."""


def about(findings: Findings) -> list[str]:
    """What was run, on what."""
    grid, cells = findings.grid, findings.results["cells"]
    seeds = sorted({cell["seed"] for cell in cells if not cell["tried"]})
    if grid.source == SIMULATED:
        data = f"simulated logs of {grid.requests:,} requests, split by time, one a seed; no two seeds share a world"
    else:
        data = f"a dataset of {grid.source}; all seeds see the same requests, and intervals tell of weights alone"
    rates = ", ".join(f"{rate:g}" for rate in grid.learning_rates)
    lines = [
        f"Data: {data}. Seeds: {listed([str(seed) for seed in seeds])}.",
        "",
        f"Settings: {grid.batch_size} requests a step, embeddings of width {grid.embedding_dim}, MLP "
        f"{'-'.join(map(str, grid.hidden_units))}, lazy Adam, learning rates tried {rates}; at most {grid.epochs} "
        f"epochs, ended {grid.patience} after the best one by the eval value that each method monitors. The better of "
        "a pair by eval log loss on exposed candidates is served.",
        "",
        f"{len(cells)} trainings, {sum(cell['cpu_seconds'] for cell in cells) / 60:.0f} minutes of processor time.",
        "",
    ]
    runs = [
        [f"`{run['command']}`", str(run["date"]), run["machine"]["processor"], str(run["machine"]["cores"]),
         run["machine"]["versions"]["tensorflow"]]
        for run in findings.results["contexts"]
    ]  # fmt: skip
    return [*lines, *table(("command", "date", "processor", "cores", "TensorFlow"), runs), *_data(findings)]


def _data(findings: Findings) -> list[str]:
    """How the dataset was made, and the scores that need no model."""
    rates = findings.results.get("rates")
    if rates is None:
        return []
    machine = rates["machine"]
    return [
        f"The dataset, sha256 `{rates['dataset_sha256'][:16]}…`, is what `{rates['import']}` makes. Click rates "
        f"without a model, (clicks + mean rate) / (shown + 1) in the train split: `{rates['command']}`, "
        f"{machine['date']}, {machine['processor']}.",
        "",
    ]


def deviations(findings: Findings) -> list[str]:
    """What differs from the paper, as far as the grid knows."""
    points = []
    if findings.grid.source == SIMULATED:
        points.append(
            "The data is simulated, where the paper has RecFlow and an industrial log: levels of AUC do not compare. "
            "In return the truth about unexposed candidates is known."
        )
    points += [
        "The paper tells neither its widths nor its optimizer, learning rates, λ or batches, nor over what it "
        "averages; these are ours.",
        "The paper has one pass over a stream; here the epoch is chosen on eval requests, for every method alike.",
        "Baselines other than its families IPS, DR and UKD are ours, and so are the weight-matched control, the two "
        "singles, all tests, and everything with stages.",
        "Each method has its learning rate by its own tuning, on a seed of its own.",
    ]
    if findings.has_stages():
        points.append(PRIVILEGED)
    return ["## What differs from the paper", "", *(f"- {point}" for point in points), ""]


def reproduced(findings: Findings) -> list[str]:
    """What was and was not reproduced."""
    points = [
        *_shape(findings),
        *_against_all(findings),
        *_gain(findings),
        *_why(findings),
        *_strongest(findings),
        *_bias(findings),
        *_set_effect(findings),
    ]
    if not points:
        return []
    return ["## What was and was not reproduced", "", *(f"- {point}" for point in points), ""]


_CLAIMS = (
    "That co-training helps, DUET above the single set ranker",
    "That the set helps, the single set ranker above the two-tower",
    "That the KL term helps, DUET above DUET without it",
    "That co-training matters more than KL, DUET without KL above the single one",
)


def _shape(findings: Findings) -> list[str]:
    points, tests = [], findings.steps()
    for text, pair in zip(_CLAIMS, STEPS, strict=True):
        found = [one for one in tests if (one.better, one.worse) == pair]
        if parts := [f"{METRICS[one.metric]} {told(one.test, one.adjusted_p)}" for one in found]:
            points.append(f"{text}: {'; '.join(parts)}.")
    for metric in findings.metrics():
        verdict = findings.interior_maximum(metric)
        if verdict is not None:
            curve = findings.curve(metric)
            best = max(curve, key=lambda weight: statistics.fmean(curve[weight]))
            points.append(
                f"That λ has a best value between the ends of the curve, by {METRICS[metric]} AUC: {verdict}; the "
                f"greatest mean is at λ {best:g}."
            )
    return points


def _against_all(findings: Findings) -> list[str]:
    points = []
    tests = findings.paper_tests()
    for metric in findings.metrics():
        verdicts = {one.worse: one.verdict for one in tests if one.metric == metric}
        if verdicts:
            points.append(f"By {METRICS[metric]} AUC, that DUET is above: {_by_verdict(verdicts)}.")
    controls = [one for one in tests if one.worse in _CONTROLS and one.metric == UNEXPOSED]
    if controls:
        parts = [f"{title(one.worse)} {told(one.test, one.adjusted_p)}" for one in controls]
        points.append(
            "The controls that the paper lacks, unexposed: the same exposed loss without a peer, and two rankers "
            f"trained alone, the better of them served or both averaged. DUET above: {'; '.join(parts)}."
        )
    rates = findings.rates_tests()
    if rates:
        verdicts = {one.better: one.verdict for one in rates}
        metric = METRICS[rates[0].metric]
        points.append(f"By {metric} AUC, above item + user click rate, which needs no model: {_by_verdict(verdicts)}.")
    return points


def _by_verdict(verdicts: Mapping[str, Verdict]) -> str:
    parts = []
    for verdict in _VERDICTS:
        if rows := [title(row) for row, found in verdicts.items() if found == verdict]:
            parts.append(f"{verdict} for {listed(rows)}")
    return "; ".join(parts)


def _gain(findings: Findings) -> list[str]:
    gains = {row: findings.gain(DUET, row, EXPOSED) for row in findings.rows("main") if row != DUET}
    known = {row: gain for row, gain in gains.items() if gain is not None}
    if not known:
        return []
    row = max(known, key=lambda key: known[key])
    return [
        f"RelaImp of DUET's exposed AUC is at most {percent(known[row])} here, over {title(row)}; the paper claims up "
        f"to {percent(paper.GREATEST_GAIN)}."
    ]


def _why(findings: Findings) -> list[str]:
    correlation = findings.values(DEFAULT, DUET, "error_correlation")
    alone = findings.values(DEFAULT, "two_singles", "error_correlation")
    agreement = findings.values(DEFAULT, DUET, "agreement")
    if not correlation or not agreement:
        return []
    mean = statistics.fmean(correlation)
    judged = "err alike, so most of what one gets wrong the other gets wrong too" if mean > _CORRELATED else "err apart"
    points = [
        f"The two rankers of DUET {judged}; their errors on unexposed candidates correlate at {mean:.3f}"
        + (f", those of two rankers trained alone at {statistics.fmean(alone):.3f}" if alone else "")
        + f"; their probabilities differ by less than 0.01 on {100 * statistics.fmean(agreement):.1f} % of them."
    ]
    predicted, true = (findings.values(DEFAULT, DUET, f"{key}_unexposed") for key in ("prediction", "truth"))
    if predicted and true:
        points.append(
            f"DUET gives unexposed candidates {statistics.fmean(predicted):.4f} on average, the truth is "
            f"{statistics.fmean(true):.4f}."
        )
    return points


def _strongest(findings: Findings) -> list[str]:
    tests = findings.strongest_tests()
    if not tests:
        return []
    points = []
    for metric in findings.metrics():
        best = findings.best_baseline(metric)
        parts = []
        for one in tests:
            if one.metric == metric:
                what = "the best single-model baseline, " if one.worse == best else ""
                parts.append(f"{what}{title(one.worse)}: {told(one.test, one.adjusted_p)}")
        if parts:
            points.append(f"{title(DUET_STAGES)}, by {METRICS[metric]} AUC, above {'; above '.join(parts)}.")
    return points


def _bias(findings: Findings) -> list[str]:
    points = []
    for metric in (UNEXPOSED, ENTIRE) if findings.grid.rows("bias") else ():
        tests = findings.study_tests("bias", BIAS_PAIRS, metric)
        for better, worse in BIAS_PAIRS:
            if by_world := _by_world(findings, "bias", tests, better, worse):
                points.append(f"{title(better)} above {title(worse)} by bias, {METRICS[metric]} AUC: {by_world}.")
    return points


def _set_effect(findings: Findings) -> list[str]:
    if not findings.grid.rows("set_effect"):
        return []
    tests = findings.study_tests("set_effect", SET_PAIRS)
    by_world = _by_world(findings, "set_effect", tests, SINGLE, "set_pointwise")
    text = "The set ranker above the same one without streams, by set effect, unexposed AUC:"
    return [f"{text} {by_world}."] if by_world else []


def _by_world(findings: Findings, part: str, tests: Sequence[Comparison], better: str, worse: str) -> str:
    found = [one for one in tests if (one.better, one.worse) == (better, worse)]
    return "; ".join(f"{findings.world_name(part, one.variant)} {told(one.test, one.adjusted_p)}" for one in found)
