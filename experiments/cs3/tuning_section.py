"""The section of the page on learning rates."""

import statistics

from experiments.cs3.findings import Findings
from experiments.cs3.methods import backbone_title, title
from experiments.text import listed, table


def tuning(findings: Findings) -> list[str]:
    """What each rate gave on the tuning seeds, and which was chosen."""
    if not findings.losses:
        return []
    rates = sorted({rate for losses in findings.losses.values() for rate in losses})
    rows, ends = [], []
    for (backbone, method), losses in findings.losses.items():
        chosen = findings.rate(backbone, method)
        means = [statistics.fmean(losses[rate].values()) if rate in losses else None for rate in rates]
        name = [backbone_title(backbone), title(method)]
        rows.append([*name, *("" if mean is None else f"{mean:.5f}" for mean in means), f"{chosen:g}"])
        if chosen in (min(losses), max(losses)):
            ends.append(" ".join(name))
    seeds = [str(seed) for seed in findings.grid.tuning_seeds]
    on = f"on seed {seeds[0]}" if len(seeds) == 1 else f"mean over seeds {listed(seeds)}"
    end_text = (
        f"The rate of {listed(ends)} is an end of those tried: a better one may lie beyond."
        if ends
        else "Where an end of the rates was best, the next one was tried, too, so that no chosen rate is an end."
    )
    return [
        "## Learning rates",
        "",
        f"Log loss of the frozen towers on the eval rows, {on}, which no other table uses; the least chose. {end_text} "
        "The leaky control and other α, β take the rate of CS3; a rate chosen in the default world serves in all.",
        "",
        *table(("backbone", "method", *(f"{rate:g}" for rate in rates), "chosen"), rows),
    ]
