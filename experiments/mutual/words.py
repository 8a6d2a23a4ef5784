"""Sentences of the page; which of them stands there is decided by the figures."""

import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any

from experiments.mutual import paper
from experiments.mutual.cells import INDEPENDENT, INDEPENDENT_OTHER
from experiments.mutual.findings import ENSEMBLE, FINETUNE_ONLY, HEADLINES, MUTUAL, Findings
from experiments.mutual.grid import SIMULATED
from experiments.mutual.text import name
from experiments.statistics import Verdict, paired, rela_imp, together
from experiments.text import auc, interval, listed, p_value, percent, table

_UNDERTRAINED = 0.5
"""Share of the gain of mutual learning that longer training alone may give before the page says what that means."""
QUALITY = 0.97
"""Share of the oracle's AUC above one half that a model should reach on a simulated log."""
_PAPER_SETTINGS = {"batch_size": 4000, "embedding_dim": 16, "hidden_units": (400, 200, 100), "peers": 4}
_VERDICTS: tuple[Verdict, ...] = ("confirmed", "refuted", "not decided")


def about(findings: Findings) -> list[str]:
    """What was run, on what."""
    grid, data, contexts = findings.grid, findings.results["data"], findings.results["contexts"]
    splits, cells = data["splits"], findings.results["cells"]
    lengths = Counter(cell["best_epoch"] for cell in cells if cell["arm"] == INDEPENDENT)
    chosen = ", ".join(f"epoch {epoch} in {count}" for epoch, count in sorted(lengths.items()))
    rows = " / ".join(f"{split['rows']:,}" for split in splits.values())
    lines = [
        f"Data: {_data(data)}; {data['fields']} fields, {data['ids']:,} ids; {rows} rows to train, choose and test; "
        f"{100 * splits['test']['click_rate']:.1f} % clicks; sha256 `{data['sha256'][:16]}…`.",
        "",
        *_oracle(splits["test"]["oracle"]),
        f"Settings: batches of {grid.batch_size}, embeddings of width {grid.embedding_dim}, MLP "
        f"{'-'.join(map(str, grid.hidden_units))}, lazy Adam, {grid.precision}, L2 {grid.embedding_l2:g}. Pretraining "
        f"and from scratch: {_phase(grid.pretraining)}, of which the epoch with the least eval log loss counts (of "
        f"independent runs {chosen}). Finetuning: "
        f"{_phase(grid.finetuning)}, with fresh optimizer state; the last weights count.",
        "",
        f"{len(cells)} trainings, {sum(cell['cpu_seconds'] for cell in cells) / 60:.0f} minutes of processor time. "
        "A *group* is K peers with initial weights and orders of the data from seeds of its own; groups are what is "
        "averaged and tested. All groups see the same rows: intervals tell of seeds, not of other data.",
        "",
    ]
    runs = [
        [f"`{run['command']}`", str(run["date"]), run["machine"]["processor"], str(run["machine"]["cores"]),
         run["machine"]["versions"]["tensorflow"]]
        for run in contexts
    ]  # fmt: skip
    return [*lines, *table(("command", "date", "processor", "cores", "TensorFlow"), runs)]


def _data(data: Mapping[str, Any]) -> str:
    if data["source"] == SIMULATED:
        return f"a simulated click log, seed {data['seed']}"
    return f"a dataset of {data['source']}, sha256 `{data['dataset_sha256'][:16]}…`"


def _oracle(oracle: Mapping[str, float]) -> list[str]:
    if not oracle:
        return []
    return [
        f"True probabilities have AUC {auc(oracle['auc'])} on the test split: nothing can have more on average.",
        "",
    ]


def _phase(phase: Any) -> str:
    decay = "" if phase.decay_epochs is None else f", falling to a tenth in {phase.decay_epochs:g} epochs"
    return f"{phase.epochs} epoch{'s' if phase.epochs > 1 else ''} at {phase.learning_rate:g}{decay}"


def deviations(findings: Findings) -> list[str]:
    """What differs from the paper, as far as the grid knows."""
    grid = findings.grid
    points = []
    if grid.source == SIMULATED:
        points.append("The data is simulated, where the paper has Criteo and Avazu: levels of AUC do not compare.")
        points.append(f"{findings.results['data']['fields']} fields, where Criteo has 39 and Avazu 24.")
    for key, value in _PAPER_SETTINGS.items():
        if getattr(grid, key) != value:
            points.append(f"`{key}` is {getattr(grid, key)}, the paper's {value}.")
    if grid.precision != "float32":
        points.append(f"The dense part computes in {grid.precision}; weights and logits are float32.")
    points += [
        "The paper tells neither its learning rates nor its L2 nor its optimizer; these are ours (Adam).",
        "Its peers update together, as far as it says; so do ours, from one forward pass. Sequential updates were not "
        "tried.",
        "Peers are not selected by their AUC anywhere; the paper takes the best run for Table 2 and drops the worst in "
        "Tables 3 and 4.",
        "The controls, the ensemble and all tests are ours.",
    ]
    return ["## What differs from the paper", "", *(f"- {point}" for point in points), ""]


def reproduced(findings: Findings) -> list[str]:
    """What was and was not reproduced."""
    points = [
        *_ordering(findings),
        *_gain(findings),
        *_mutual_term(findings),
        *_spread(findings),
        *_mixed(findings),
        *_sizes(findings),
        *_two_epochs(findings),
        *_other_length(findings),
        *_expected(findings),
        *_quality(findings),
    ]
    return [
        "## What was and was not reproduced",
        "",
        *(point if point.startswith("  ") else f"- {point}" for point in points),
        "",
    ]


def _ordering(findings: Findings) -> list[str]:
    models = findings.table_1_models()
    if not models:
        return []
    verdicts = {model: findings.ordering(model) for model in models}
    points = [
        "The paper's ordering, pretrained mutual > independent > mutual from scratch, is "
        + _by_verdict(verdicts)
        + "; step by step:"
    ]
    for model in models:
        steps = [findings.headline(model, pair) for pair in HEADLINES[:2]]
        told = [
            f"{name(step.better)} > {name(step.worse)} {step.verdict} ({interval(step.test)}"
            + (f", p {p_value(step.adjusted_p)} after Holm)" if step.adjusted_p is not None else ")")
            for step in steps
            if step is not None
        ]
        points.append(f"  - {name(model)}: {'; '.join(told)}.")
    return points


def _by_verdict(verdicts: Mapping[str, Verdict]) -> str:
    parts = []
    for verdict in _VERDICTS:
        if models := [name(model) for model, found in verdicts.items() if found == verdict]:
            parts.append(f"{verdict} for {listed(models)}")
    return ", ".join(parts)


def _gain(findings: Findings) -> list[str]:
    models = findings.table_1_models()
    if not models:
        return []
    gains = [findings.gain(model, MUTUAL) for model in models]
    printed = []
    for of_data in paper.TABLE_1.values():
        means = [[statistics.fmean(runs[arm]) for arm in (MUTUAL, INDEPENDENT)] for runs in of_data.values()]
        printed += [rela_imp(*pair) for pair in means]
    return [
        f"RelaImp of pretrained mutual over independent runs is {percent(min(gains))} to {percent(max(gains))} here; "
        f"{percent(min(printed))} to {percent(max(printed))} by the means of the paper's Table 1."
    ]


def _mutual_term(findings: Findings) -> list[str]:
    pairs = {model: findings.headline(model, (MUTUAL, FINETUNE_ONLY)) for model in findings.table_1_models()}
    found = {model: pair for model, pair in pairs.items() if pair is not None}
    if not found:
        return []
    told = "; ".join(f"{name(model)} {interval(pair.test)}" for model, pair in found.items())
    points = [
        "What the mutual term itself adds, beside the same epoch without it: that it adds something is "
        f"{_by_verdict({model: pair.verdict for model, pair in found.items()})} ({told})."
    ]
    shares = []
    for model in found:
        whole, alone = (findings.compare(model, arm, INDEPENDENT) for arm in (MUTUAL, FINETUNE_ONLY))
        if whole and alone and whole.test.mean > 0:
            shares.append(f"{name(model)} {100 * alone.test.mean / whole.test.mean:.0f} %")
    if shares:
        points.append(
            f"Of the gain over independent runs the same epoch without the mutual term gives: {listed(shares)}."
        )
    parts = []
    for model in found:
        if (bound := findings.compare(model, ENSEMBLE, INDEPENDENT)) and (
            own := findings.compare(model, MUTUAL, INDEPENDENT)
        ):
            parts.append(f"{name(model)} {interval(own.test)} of {interval(bound.test)}")
    if parts:
        points.append(
            "Gain of mutual peers over independent runs, and of the mean of K predictions: " + "; ".join(parts) + "."
        )
    return points


def _spread(findings: Findings) -> list[str]:
    pairs = {model: findings.narrower(model) for model in findings.table_1_models()}
    tests = {model: pair.test for model, pair in pairs.items() if pair is not None}
    if not tests:
        return []
    verdicts = dict(zip(tests, together([*tests.values()]), strict=True))
    told = []
    for model in verdicts:
        groups = findings.groups(model, INDEPENDENT, MUTUAL, FINETUNE_ONLY)
        means = [statistics.fmean(findings.spread(model, group, arm) for group in groups)
                 for arm in (INDEPENDENT, FINETUNE_ONLY, MUTUAL) if groups]  # fmt: skip
        told.append(f"{name(model)} {', '.join(f'{1e5 * mean:.1f}' for mean in means)}")
    return [
        "That mutual peers lie nearer to each other than independent runs, as in the paper, is "
        f"{_by_verdict(verdicts)}. Standard deviation of AUC within a group, in 1e-05, independent, finetuned alone, "
        f"mutual: {'; '.join(told)}."
    ]


def mixed_verdicts(findings: Findings) -> dict[str, Verdict]:
    """By model, whether peers of other models teach more."""
    found = {model: findings.table_2(model) for model in findings.grid.table_2.models}
    tests = {model: paired(one.different, one.same) for model, one in found.items() if one}
    return dict(zip(tests, together([*tests.values()]), strict=True))


def _mixed(findings: Findings) -> list[str]:
    verdicts = mixed_verdicts(findings)
    if not verdicts:
        return []
    better = {
        data: listed([name(model) for model, (_, same, different) in rows.items() if different > same])
        for data, rows in paper.TABLE_2.items()
    }
    return [
        f"That peers of other models teach more than peers of one's own is {_by_verdict(verdicts)}. In the paper they "
        f"do for {better['avazu']} on Avazu and for {better['criteo']} on Criteo."
    ]


def _sizes(findings: Findings) -> list[str]:
    verdicts: dict[str, Verdict] = {}
    told = []
    for model in findings.grid.sizes.models:
        sizes = findings.sizes(model)
        if len(sizes) > 1:
            least, most = min(sizes), max(sizes)
            test = paired(sizes[most].of_first_two, sizes[least].of_first_two)
            verdicts[model] = test.verdict
            told.append(f"{name(model)}, {most} peers against {least}: {interval(test)}")
    if not verdicts:
        return []
    return [
        f"That more peers teach more, by the two peers that all sizes share, is {_by_verdict(verdicts)} "
        f"({'; '.join(told)})."
    ]


def _two_epochs(findings: Findings) -> list[str]:
    points = []
    for model in findings.grid.controls.models:
        if one := findings.compare(model, MUTUAL, "two_epochs"):
            points.append(
                f"That a second epoch of finetuning degrades is {one.verdict} for {name(model)} (one epoch minus two: "
                f"{interval(one.test)})."
            )
    return points


def _other_length(findings: Findings) -> list[str]:
    points = []
    for model in findings.grid.controls.models:
        whole = findings.compare(model, "mutual_other_length", INDEPENDENT_OTHER)
        term = findings.compare(model, "mutual_other_length", "finetune_only_other_length")
        late = findings.compare(model, "mutual_other_length", INDEPENDENT)
        if whole is None or term is None or late is None:
            continue
        of_whole, of_term, of_late = together([whole.test, term.test, late.test])
        points.append(
            f"Pretrained for {findings.grid.other_epochs} instead of {findings.grid.pretraining.epochs} epochs, "
            f"{name(model)} after mutual finetuning against the runs that it starts from: {interval(whole.test)} "
            f"({of_whole}); against the same epoch without the mutual term: {interval(term.test)} "
            f"({of_term}); against independent runs of the usual length: {interval(late.test)} ({of_late})."
        )
        longer = findings.compare(model, INDEPENDENT_OTHER, INDEPENDENT)
        gain = findings.compare(model, MUTUAL, INDEPENDENT)
        if longer is None or gain is None or gain.test.mean <= 0:
            continue
        if longer.test.mean / gain.test.mean >= _UNDERTRAINED:
            points.append(
                f"So independent runs of the usual length are undertrained: {name(model)} trained alone for "
                f"{findings.grid.other_epochs} epochs gains {interval(longer.test)} over them, which is "
                f"{100 * longer.test.mean / gain.test.mean:.0f} % of the gain of pretrained mutual "
                f"({interval(gain.test)}). What Table 1 shows over *independent* is a gain of training longer, not of "
                "learning from each other."
            )
    return points


def _expected(findings: Findings) -> list[str]:
    if not findings.results["data"]["splits"]["test"]["oracle"] or not findings.table_1_models():
        return []
    own, expected = findings.headlines(), findings.headlines("expected_auc")
    changed = [
        f"{name(one.model)}, {name(one.better)} > {name(one.worse)}: {other.verdict}"
        for one, other in zip(own, expected, strict=True)
        if one.verdict != other.verdict
    ]
    start = "Measured by the AUC to be expected on labels drawn anew from the true probabilities, "
    return [start + ("the verdict changes for " + "; ".join(changed) if changed else "no verdict changes") + "."]


def _quality(findings: Findings) -> list[str]:
    shares = {model: findings.share_of_oracle(model, INDEPENDENT) for model in findings.table_1_models()}
    known = {model: share for model, share in shares.items() if share is not None}
    if not known:
        return []
    short = [name(model) for model, share in known.items() if share < QUALITY]
    told = ", ".join(f"{name(model)} {100 * share:.1f} %" for model, share in known.items())
    verdict = f"all but {listed(short)} reach" if short else "all reach"
    return [f"Of {100 * QUALITY:.0f} % of the oracle's AUC above one half, independent runs: {verdict} it ({told})."]
