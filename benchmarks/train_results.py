"""What `benchmarks.train` measured, and the ratios that it is summed up in."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.task import Task

OWN = "consort"
"""Our library; names of its contenders begin so where peers are beside them."""

SAME_MODEL = "deepfm_"
"""Groups of the same model in all libraries begin so, and end with the size."""

Timings = Mapping[str, Mapping[str, "Timing"]]
"""By group and contender."""


@dataclass(frozen=True)
class Timing:
    """What was measured of one contender."""

    task: Task
    steps: int
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    loss: float
    peak_gb: float
    about: Mapping[str, Any]

    @property
    def step_seconds(self) -> list[float]:
        """Of each round."""
        return [seconds / self.steps for seconds in self.seconds]

    @property
    def step_ms(self) -> float:
        """Median."""
        return 1000 * statistics.median(self.step_seconds)

    @property
    def examples_per_s(self) -> float:
        """Median."""
        return self.task.batch_size / statistics.median(self.step_seconds)


@dataclass(frozen=True)
class Ratio:
    """How many times a step of `over` takes as long as one of `under`, in the same rounds of one group."""

    key: str
    group: str
    over: str
    under: str


RATIOS = (
    Ratio("step_ratio_4m_to_100k", "growth", "4m", "100k"),
    Ratio("step_ratio_4_peers", "models", "deepfm_4_peers", "deepfm"),
    Ratio("step_ratio_duet", "duet", "duet", "set_ranker"),
    # As examples per second of the whole over those of its plain parts.
    Ratio("ratio_cs3_to_plain", "cs3", "cs3_plain", "cs3"),
    Ratio("store_ratio_4m_to_100k", "store", "4m", "100k"),
)


def ratios(timings: Timings) -> dict[str, Any]:
    """The headline figures, ratios of medians, and `ratio_rounds`, each round's; None where one was not measured."""
    found: dict[str, Any] = {"ratio_to_fastest_peer": None, "ratio_to_fastest_peer_bfloat16": None}
    found |= {"fastest_peer": None, "ratio_to_fastest_peer_by_size": {}, "ratio_rounds": {}}
    for group in (name for name in timings if name.startswith(SAME_MODEL)):
        if against := _against_peers(timings[group]):
            found["ratio_to_fastest_peer_by_size"][group] = against
            rounds = _by_round(timings[group][against["fastest_peer"]], timings[group][OWN])
            found["ratio_rounds"][f"{group}_to_fastest_peer"] = rounds
    found.update(found["ratio_to_fastest_peer_by_size"].get(f"{SAME_MODEL}1m", {}))
    for ratio in RATIOS:
        group_timings = timings.get(ratio.group, {})
        found[ratio.key] = None
        if ratio.over in group_timings and ratio.under in group_timings:
            over, under = group_timings[ratio.over], group_timings[ratio.under]
            found[ratio.key] = over.step_ms / under.step_ms
            found["ratio_rounds"][ratio.key] = _by_round(over, under)
    return found


def _by_round(over: Timing, under: Timing) -> list[float]:
    return [a / b for a, b in zip(over.step_seconds, under.step_seconds, strict=True)]


def _against_peers(group: Mapping[str, Timing]) -> dict[str, Any]:
    """Examples per second over those of the fastest peer in the same rounds; empty without peers."""
    rivals = {name: timing.examples_per_s for name, timing in group.items() if not name.startswith(OWN)}
    if not rivals:
        return {}
    fastest = max(rivals, key=lambda name: rivals[name])
    return {
        "ratio_to_fastest_peer": group[OWN].examples_per_s / rivals[fastest],
        "ratio_to_fastest_peer_bfloat16": group[f"{OWN}_bfloat16"].examples_per_s / rivals[fastest],
        "fastest_peer": fastest,
    }


def raw_results(timings: Timings) -> dict[str, Any]:
    """All that was measured, by group and contender."""

    def each(value: Callable[[Timing], Any]) -> dict[str, dict[str, Any]]:
        return {group: {name: value(timing) for name, timing in found.items()} for group, found in timings.items()}

    return {
        "examples_per_s": each(lambda timing: timing.examples_per_s),
        "step_ms": each(lambda timing: timing.step_ms),
        "rounds_step_ms": each(lambda timing: [1000 * seconds for seconds in timing.step_seconds]),
        "cores_used": each(lambda timing: sum(timing.cpu_seconds) / sum(timing.seconds)),
        "steps_a_round": each(lambda timing: timing.steps),
        "peak_gb": each(lambda timing: timing.peak_gb),
        "loss": each(lambda timing: timing.loss),
        "dtype": each(lambda timing: timing.task.dtype),
        "about": each(lambda timing: dict(timing.about)),
    }
