"""What Evaluator measured, as text: metrics of the model and of its baseline, what was needed, and the verdict."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import tensorflow_model_analysis as tfma

CANDIDATE, BASELINE = "candidate", "baseline"
"""Names that Evaluator gives to the two models; without a baseline the model has none."""


@dataclass
class SliceMetrics:
    """Metrics on one slice, by name.

    Args:
      name: `all`, or e.g. `hour = 3`.
      model: of the model that was evaluated.
      baseline: of the model that it was compared with; empty without one.
    """

    name: str
    model: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Bound:
    """What a metric must reach on the overall slice.

    Args:
      metric: its name.
      low, high: between which it must lie.
      of_change: whether its difference to the baseline is meant.
    """

    metric: str
    low: float = -math.inf
    high: float = math.inf
    of_change: bool = False

    def __str__(self) -> str:
        end = " above the baseline" if self.of_change else ""
        if self.high == math.inf:
            return f"at least {_number(self.low)}{end}"
        return f"{_number(self.low)} to {_number(self.high)}{end}"


def metrics_in(evaluation: str) -> list[SliceMetrics]:
    """Metrics of every slice in Evaluator's output, the overall slice first."""
    found: dict[str, SliceMetrics] = {}
    for metrics in tfma.load_metrics(evaluation):
        keys = metrics.slice_key.single_slice_keys
        name = ", ".join(f"{key.column} = {_slice_value(key)}" for key in keys) or "all"
        one = found.setdefault(name, SliceMetrics(name))
        for item in metrics.metric_keys_and_values:
            if not item.key.is_diff and item.value.WhichOneof("type") == "double_value":
                target = one.baseline if item.key.model_name == BASELINE else one.model
                target[item.key.name] = item.value.double_value.value
    return sorted(found.values(), key=lambda one: (one.name != "all", one.name))


def bounds_in(config: tfma.EvalConfig) -> Iterator[Bound]:
    """The bounds of the overall slice."""
    for spec in config.metrics_specs:
        for metric in spec.metrics:
            for scoped in metric.per_slice_thresholds:
                yield from _bounds_of(_snake_case(metric.class_name), scoped.threshold)


def report(
    metrics: Sequence[SliceMetrics], bounds: Sequence[Bound], refusals: Sequence[str], facts: Mapping[str, str]
) -> str:
    """The report as lines of text.

    Args:
      metrics: of `metrics_in`.
      bounds: of `bounds_in`.
      refusals: a line for each bound that was missed; none: the model was blessed.
      facts: name and value of what was compared with what.
    """
    lines = ["not blessed:", *(f"  - {refusal}" for refusal in refusals)] if refusals else ["blessed"]
    lines += ["", *_aligned([(name, value) for name, value in facts.items()])]
    for one in metrics:
        rows = [(f"slice {one.name}", "model", *(("baseline", "difference") if one.baseline else ()))]
        rows += [_row(name, one) for name in one.model]
        lines += ["", *_aligned(rows)]
        if one.name == "all":
            rows = [("needed", "", "received", "verdict")]
            rows += [_verdict(bound, one) for bound in bounds if one.baseline or not bound.of_change]
            lines += ["", *_aligned(rows)]
    return "\n".join(lines) + "\n"


def _row(name: str, one: SliceMetrics) -> tuple[str, ...]:
    value = one.model[name]
    if not one.baseline:
        return name, _number(value)
    baseline = one.baseline.get(name, math.nan)
    return name, _number(value), _number(baseline), f"{value - baseline:+.6g}"


def _verdict(bound: Bound, one: SliceMetrics) -> tuple[str, ...]:
    value = one.model.get(bound.metric, math.nan)
    if bound.of_change:
        value -= one.baseline.get(bound.metric, math.nan)
    # Evaluator's own rule: a bound itself is reached, and what is no number is not.
    verdict = "reached" if bound.low <= value <= bound.high else "missed"
    return bound.metric, str(bound), f"{value:+.6g}" if bound.of_change else _number(value), verdict


def _bounds_of(metric: str, threshold: tfma.MetricThreshold) -> Iterator[Bound]:
    if threshold.HasField("value_threshold"):
        value = threshold.value_threshold
        low = value.lower_bound.value if value.HasField("lower_bound") else -math.inf
        high = value.upper_bound.value if value.HasField("upper_bound") else math.inf
        yield Bound(metric, low, high)
    if threshold.HasField("change_threshold"):
        yield Bound(metric, threshold.change_threshold.absolute.value, of_change=True)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _slice_value(key: tfma.proto.metrics_for_slice_pb2.SingleSliceKey) -> str:
    kind = key.WhichOneof("kind")
    value = getattr(key, kind) if kind else ""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _snake_case(class_name: str) -> str:
    """Evaluator's name of a metric: `AUC` is `auc`, `MeanLabel` is `mean_label`."""
    if class_name.isupper():
        return class_name.lower()
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in class_name).lstrip("_")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1e3 and value.is_integer() else f"{value:.6g}"
