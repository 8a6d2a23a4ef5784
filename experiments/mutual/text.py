"""How figures and names are written on the page."""

import statistics
from collections.abc import Sequence

from experiments.statistics import Paired

UNIT = 1e5
"""Differences of AUC are told in hundred-thousandths."""
NAMES = {
    "deepfm": "DeepFM",
    "dcn": "DCN",
    "pnn": "PNN",
    "fibinet": "FiBiNET",
    "independent": "independent",
    "scratch": "mutual from scratch",
    "mutual": "pretrained, mutual",
    "finetune_only": "finetuned alone",
    "ensemble": "mean of K predictions",
    "mixed": "different models",
    "logit_mse": "mutual, squared differences of logits",
    "symmetric_kl": "mutual, symmetric KL",
    "no_stop_gradient": "mutual, gradient through the peers",
    "two_epochs": "mutual, two epochs",
    "finetune_only_two_epochs": "finetuned alone, two epochs",
    "mutual_slow": "mutual, slow",
    "finetune_only_slow": "finetuned alone, slow",
    "independent_other_length": "independent, other length",
    "mutual_other_length": "mutual, other length",
    "finetune_only_other_length": "finetuned alone, other length",
}


def name(key: str) -> str:
    """Of a model or a way."""
    return NAMES.get(key, key.replace("_", " "))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, and an empty one."""
    first, *others = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return [first, "|" + "---|" * len(header), *others, ""]


def auc(value: float) -> str:
    """As the paper prints it."""
    return f"{value:.5f}"


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation of AUCs."""
    mean = auc(statistics.fmean(values))
    return f"{mean} ± {statistics.stdev(values):.5f}" if len(values) > 1 else mean


def interval(test: Paired) -> str:
    """A mean difference of AUC and its interval."""
    if test.low is None or test.high is None:
        return f"{UNIT * test.mean:+.1f}"
    return f"{UNIT * test.mean:+.1f} [{UNIT * test.low:+.1f}, {UNIT * test.high:+.1f}]"


def percent(value: float) -> str:
    """A relative improvement."""
    return f"{100 * value:+.3f} %"


def p_value(value: float | None) -> str:
    """Of a test; nothing where there was none."""
    if value is None:
        return ""
    return f"{value:.4f}" if value >= 1e-4 else "< 0.0001"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
