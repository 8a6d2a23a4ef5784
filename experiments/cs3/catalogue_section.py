"""The section of the page on what the towers find in the whole catalogue, and why."""

import statistics

from experiments.cs3.catalogue_names import RECALL, emptied
from experiments.cs3.findings import TRAIN, Findings, Question
from experiments.cs3.methods import backbone_title, title
from experiments.cs3.words import verdict
from experiments.text import interval, p_value, table


def retrieval(findings: Findings) -> list[str]:
    """Recall of each method, what is left of it without caches, and what the stream is like."""
    rows = [_row(findings, question) for _, question in findings.recall_rows()]
    rows = [row for row in rows if row]
    if not rows:
        return []
    cut_off = findings.grid.cut_off
    header = (
        "backbone", "method", "learning rate", "seeds", "eval", "test", "test, user caches emptied",
        "test, item caches emptied", "AUC as it trained", "test: difference from the base [95 % interval], in 1e-05",
        "p", "p (Holm)", "verdict",
    )  # fmt: skip
    return [
        "## Retrieval from the catalogue",
        "",
        f"Share of clicks whose item is among the best {cut_off} of all items that came before the split, frozen; mean "
        "over seeds. An item that the vocabulary lacks is never found. *Emptied*: all vectors that are kept for users, "
        "or for items, set to zero for this time. *AUC as it trained*: of the second half of the train split, each row "
        "scored before the step that learned from it, so with caches that are up to date. Shuffled rows are compared "
        "to the base that was trained on shuffled rows.",
        "",
        *_stream(findings),
        *table(header, rows),
    ]


def _row(findings: Findings, asked: Question) -> list[str]:
    backbone, method, rates = asked.backbone, asked.better, asked.rates

    def mean(metric: str, split: str = "test") -> str:
        values = findings.values(backbone, method, metric, rates=rates, split=split)
        return f"{statistics.fmean(values):.4f}" if values else ""

    if not mean(RECALL):
        return []
    trained = findings.values(backbone, method, "auc", TRAIN, rates=rates)
    compared = None if method == asked.worse else findings.compare(*asked)
    tested = ["", "", "", ""]
    if compared is not None:
        tested = [interval(compared.test), p_value(compared.test.p), p_value(compared.adjusted_p), verdict(compared)]
    return [
        backbone_title(backbone), title(method), f"{findings.rate(backbone, method, rates):g}",
        str(len(findings.seeds(backbone, method, rates=rates))), mean(RECALL, "eval"), mean(RECALL),
        mean(emptied("user")), mean(emptied("item")), f"{statistics.fmean(trained):.4f}", *tested,
    ]  # fmt: skip


def _stream(findings: Findings) -> list[str]:
    cell = next((own for own in findings.results["cells"] if "stream" in own and "shuffled" not in own["method"]), None)
    if cell is None:
        return []
    told = cell["stream"]
    shares = "; ".join(
        f"{own['user']:.0%} of the {split} rows are of users and {own['item']:.0%} of items that the train split lacks"
        for split, own in told["unknown"].items()
    )
    return [
        f"A batch of {findings.grid.batch_size} train rows holds {told['users_in_batch']:.1f} users on average. "
        f"{shares[:1].upper()}{shares[1:]}: nothing is kept of those.",
        "",
    ]
