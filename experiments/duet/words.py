"""Sentences of the page; which of them stands there is decided by the figures."""

import statistics
from collections.abc import Mapping, Sequence

from experiments.duet import paper
from experiments.duet.findings import ENTIRE, EXPOSED, LOGGING, METRICS, UNEXPOSED, Comparison, Findings
from experiments.duet.methods import DUET, DUET_STAGES, SINGLE, title
from experiments.grid_runner import SIMULATED
from experiments.statistics import Verdict
from experiments.text import listed, percent, table, told
from experiments.world_grid import DEFAULT

_VERDICTS: tuple[Verdict, ...] = ("confirmed", "refuted", "not decided")
_CORRELATED = 0.5


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
    return [*lines, *table(("command", "date", "processor", "cores", "TensorFlow"), runs)]


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


def _claim(findings: Findings, text: str, better: str, worse: str) -> list[str]:
    found = [findings.compare(better, worse, metric) for metric in findings.metrics()]
    parts = [f"{METRICS[one.metric]} {told(one.test)}" for one in found if one is not None]
    return [f"{text}: {'; '.join(parts)}."] if parts else []


def _shape(findings: Findings) -> list[str]:
    points = [
        *_claim(findings, "That co-training helps, DUET above the single set ranker", DUET, SINGLE),
        *_claim(findings, "That the set helps, the single set ranker above the two-tower", SINGLE, "two_tower"),
        *_claim(findings, "That the KL term helps, DUET above DUET without it", DUET, "duet_no_kl"),
        *_claim(
            findings,
            "That co-training matters more than KL, DUET without KL above the single one",
            "duet_no_kl",
            SINGLE,
        ),
    ]
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
    controls = [
        one for one in tests if one.worse in ("weight_matched", "two_singles_ensemble") and one.metric == UNEXPOSED
    ]
    if controls:
        parts = [f"{title(one.worse)} {told(one.test)}" for one in controls]
        points.append(
            "The controls that the paper lacks, unexposed: the same exposed loss without a peer, and two rankers "
            f"trained alone and averaged. DUET above: {'; '.join(parts)}."
        )
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
                parts.append(f"{what}{title(one.worse)}: {told(one.test)}")
        if parts:
            points.append(f"{title(DUET_STAGES)}, by {METRICS[metric]} AUC, above {'; above '.join(parts)}.")
    return points


def _by_world(findings: Findings, part: str, better: str, worse: str, metric: str = UNEXPOSED) -> str:
    found: Sequence[Comparison] = findings.study_tests(part, [(better, worse)], metric)
    return "; ".join(f"{findings.world_name(part, one.variant)} {told(one.test)}" for one in found)


def _bias(findings: Findings) -> list[str]:
    points = []
    pairs = ((DUET, SINGLE), (DUET_STAGES, SINGLE), (DUET_STAGES, "stage_heads_10"), (DUET_STAGES, LOGGING))
    for better, worse in pairs if findings.grid.rows("bias") else ():
        for metric in (UNEXPOSED, ENTIRE):
            if told := _by_world(findings, "bias", better, worse, metric):
                points.append(f"{title(better)} above {title(worse)} by bias, {METRICS[metric]} AUC: {told}.")
    return points


def _set_effect(findings: Findings) -> list[str]:
    if not findings.grid.rows("set_effect"):
        return []
    told = _by_world(findings, "set_effect", SINGLE, "set_pointwise")
    return [f"The set ranker above the same one without streams, by set effect, unexposed AUC: {told}."] if told else []
