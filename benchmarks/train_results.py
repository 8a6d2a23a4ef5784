"""The measurements of `benchmarks.train`, and the ratios that summarize them."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.task import Task

CONSORT = "consort"
"""Prefix of the names of Consort's contenders where peers are compared."""

PRODUCTS = "products"
"""Prefix of the names of the limit: the matrix products of a step of the MLP alone, at 1 M ids."""

SAME_MODEL = "deepfm_"
"""Prefix of groups of the same model in all libraries; the size follows."""

Timings = Mapping[str, Mapping[str, "Timing"]]
"""By group and contender."""


@dataclass(frozen=True)
class Timing:
    """The measurements of one contender."""

    task: Task
    steps: int
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    loss: float
    peak_gb: float
    about: Mapping[str, Any]

    @property
    def step_seconds(self) -> list[float]:
        """Seconds per step in each round."""
        return [seconds / self.steps for seconds in self.seconds]

    @property
    def step_ms(self) -> float:
        """Median milliseconds per step."""
        return 1000 * statistics.median(self.step_seconds)

    @property
    def examples_per_s(self) -> float:
        """Median examples per second."""
        return self.task.batch_size / statistics.median(self.step_seconds)


@dataclass(frozen=True)
class Ratio:
    """The time of a step of `over` divided by that of `under`, in the same rounds of one group."""

    key: str
    group: str
    over: str
    under: str


RATIOS = (
    Ratio("step_ratio_4m_to_100k", "growth", "4m", "100k"),
    Ratio("step_ratio_4_peers", "models", "deepfm_4_peers", "deepfm"),
    Ratio("step_ratio_duet", "duet", "duet", "set_ranker"),
    # Equals examples per second of CS3 over those of its plain parts.
    Ratio("ratio_cs3_to_plain", "cs3", "cs3_plain", "cs3"),
    Ratio("store_ratio_4m_to_100k", "store", "4m", "100k"),
    Ratio("share_of_products", f"{SAME_MODEL}1m", PRODUCTS, CONSORT),
    Ratio("share_of_products_bfloat16", f"{SAME_MODEL}1m", f"{PRODUCTS}_bfloat16", f"{CONSORT}_bfloat16"),
)


def ratios(timings: Timings) -> dict[str, Any]:
    """Returns the headline figures, ratios of medians; `ratio_rounds` for each round; None if not measured."""
    result: dict[str, Any] = {"ratio_to_fastest_peer": None, "ratio_to_fastest_peer_bfloat16": None}
    result |= {"fastest_peer": None, "ratio_to_fastest_peer_by_size": {}, "ratio_rounds": {}}
    for group in (name for name in timings if name.startswith(SAME_MODEL)):
        if against := _against_peers(timings[group]):
            result["ratio_to_fastest_peer_by_size"][group] = against
            rounds = _by_round(timings[group][against["fastest_peer"]], timings[group][CONSORT])
            result["ratio_rounds"][f"{group}_to_fastest_peer"] = rounds
    result.update(result["ratio_to_fastest_peer_by_size"].get(f"{SAME_MODEL}1m", {}))
    for ratio in RATIOS:
        group_timings = timings.get(ratio.group, {})
        result[ratio.key] = None
        if ratio.over in group_timings and ratio.under in group_timings:
            over, under = group_timings[ratio.over], group_timings[ratio.under]
            result[ratio.key] = over.step_ms / under.step_ms
            result["ratio_rounds"][ratio.key] = _by_round(over, under)
    return result


def _by_round(over: Timing, under: Timing) -> list[float]:
    return [a / b for a, b in zip(over.step_seconds, under.step_seconds, strict=True)]


def _against_peers(group: Mapping[str, Timing]) -> dict[str, Any]:
    """Examples per second over those of the fastest peer in the same rounds; empty without peers."""
    rivals = {name: timing.examples_per_s for name, timing in group.items() if not name.startswith((CONSORT, PRODUCTS))}
    if not rivals:
        return {}
    fastest = max(rivals, key=lambda name: rivals[name])
    return {
        "ratio_to_fastest_peer": group[CONSORT].examples_per_s / rivals[fastest],
        "ratio_to_fastest_peer_bfloat16": group[f"{CONSORT}_bfloat16"].examples_per_s / rivals[fastest],
        "fastest_peer": fastest,
    }


def raw_results(timings: Timings) -> dict[str, Any]:
    """Returns all measurements, by group and contender."""

    def each(value: Callable[[Timing], Any]) -> dict[str, dict[str, Any]]:
        return {group: {name: value(timing) for name, timing in members.items()} for group, members in timings.items()}

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
