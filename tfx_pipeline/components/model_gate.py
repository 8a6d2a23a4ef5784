"""Stop the run when Evaluator did not bless the model, and write what it measured, what was needed and the verdict."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tfx.components.evaluator import constants
from tfx.components.util import model_utils
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from runs.baselines.beside import on_split
from runs.baselines.verdict import baseline_lines, failed_gains
from serving.versions import versions_in
from transforms.errors import GateRefused
from transforms.files import sha256_of, write_text
from transforms.mounts import mounted

REPORT, SUMMARY = "evaluation.txt", "evaluation.json"
_BASELINE = "baseline"
"""Name that Evaluator gives to the model that it compares with; without one, the other has no name."""


@component
def ModelGate(  # noqa: N802, a component is a class to its users
    blessing: InputArtifact[standard_artifacts.ModelBlessing],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    report_dir: Parameter[str],
    serving_base: Parameter[str],
    comparison: Parameter[str],
) -> None:
    """Writes metrics, bounds and verdict to `report_dir/evaluation.txt` and refuses a model that was not blessed.

    What was measured on the overall slice stands in `report_dir/evaluation.json`, too, and how the model compares with
    simple ones; `comparison` is JSON that says on what: `data`, `split`, `baselines` and `min_gain`.

    Raises:
      GateRefused: with one reason for each threshold that was missed.
    """
    report_dir, serving_base = mounted([report_dir, serving_base])
    blessed = model_utils.is_model_blessed(blessing)
    lines = [] if blessed else list(failures_in(tfma.load_validation_result(evaluation.uri)))
    if not blessed and not lines:
        lines = ["Evaluator gave no verdict; see its log"]
    baseline = blessing.get_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY)
    facts = {
        "model": blessing.get_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY),
        "baseline": _served_as(baseline, serving_base) if baseline else "none: no other model was served before",
    }
    bounds = list(bounds_in(tfma.load_eval_result(evaluation.uri).config))
    slices = metrics_in(evaluation.uri)
    overall = slices[0] if slices else SliceMetrics("all")
    lines = lines if blessed else [*one_class(overall), *lines]
    asked = mounted(json.loads(comparison))
    compared: dict[str, Any] = {}
    if blessed and asked["baselines"]:
        compared = on_split(path_utils.serving_model_path(mounted(facts["model"])), asked["data"], asked["split"])
    lines += failed_gains(compared, asked["min_gain"]) if blessed else []
    text = report(slices, bounds, lines, facts) + "\n".join(["", *baseline_lines(compared), ""])
    write_text(Path(report_dir) / REPORT, text)
    summary = {"passed": not lines, "metrics": overall.model, "baseline": overall.baseline, "evaluation": compared}
    write_text(Path(report_dir) / SUMMARY, json.dumps(summary, indent=2) + "\n")
    if lines:
        raise GateRefused("the model gate", lines, str(Path(report_dir, REPORT)))


def one_class(overall: "SliceMetrics") -> list[str]:
    """A reason if all labels of the evaluated split are alike, which no model can be measured by."""
    rate = overall.model.get("mean_label")
    if rate not in (0.0, 1.0):
        return []
    examples, kind = overall.model.get("example_count", math.nan), "negative" if rate else "positive"
    return [f"the evaluated split has no {kind} label among {_number(examples)} examples: AUC means nothing there"]


def failures_in(result: tfma.proto.validation_result_pb2.ValidationResult) -> Iterator[str]:
    """One line for each threshold that was missed."""
    for validation in result.metric_validations_per_slice:
        for failure in validation.failures:
            yield f"{failure.metric_key.name} {_missed(failure)} {failure.message}".rstrip()
    if result.missing_slices:
        yield "the overall slice has no examples"


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
      of_change: True if it bounds the difference to the baseline.
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
    slices: dict[str, SliceMetrics] = {}
    for metrics in tfma.load_metrics(evaluation):
        keys = metrics.slice_key.single_slice_keys
        name = ", ".join(f"{key.column} = {_slice_value(key)}" for key in keys) or "all"
        one = slices.setdefault(name, SliceMetrics(name))
        for item in metrics.metric_keys_and_values:
            if not item.key.is_diff and item.value.WhichOneof("type") == "double_value":
                target = one.baseline if item.key.model_name == _BASELINE else one.model
                target[item.key.name] = item.value.double_value.value
    return sorted(slices.values(), key=lambda one: (one.name != "all", one.name))


def bounds_in(config: config_pb2.EvalConfig) -> Iterator[Bound]:
    """The bounds of the overall slice."""
    for spec in config.metrics_specs:
        for metric in spec.metrics:
            for scoped in metric.per_slice_thresholds:
                name, threshold = _snake_case(metric.class_name), scoped.threshold
                if threshold.HasField("value_threshold"):
                    yield Bound(name, *_limits(threshold.value_threshold))
                if threshold.HasField("change_threshold"):
                    yield Bound(name, threshold.change_threshold.absolute.value, of_change=True)


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
        for name, value in one.model.items():
            other = one.baseline.get(name, math.nan)
            compared = (_number(other), f"{value - other:+.6g}") if one.baseline else ()
            rows.append((name, _number(value), *compared))
        lines += ["", *_aligned(rows)]
        if one.name == "all":
            rows = [("needed", "", "received", "verdict")]
            rows += [_verdict(bound, one) for bound in bounds if one.baseline or not bound.of_change]
            lines += ["", *_aligned(rows)]
    return "\n".join(lines) + "\n"


def _served_as(uri: str, serving_base: str) -> str:
    """A model's folder, and the version that it is served as, if it still is."""
    contract = Path(path_utils.serving_model_path(mounted(uri)), "assets.extra", "contract.json")
    for number, directory in versions_in(serving_base):
        other = directory / "assets.extra" / "contract.json"
        # A contract tells when and from what a model was made: no two models have the same.
        if contract.is_file() and other.is_file() and sha256_of(contract) == sha256_of(other):
            return f"{uri}, version {number}"
    return uri


def _missed(failure: tfma.proto.validation_result_pb2.ValidationFailure) -> str:
    value, threshold = failure.metric_value.double_value.value, failure.metric_threshold
    if threshold.HasField("change_threshold"):
        least = threshold.change_threshold.absolute.value
        return f"is {value:+.6f} against the blessed model's; at least {least:+.6f} is needed"
    low, high = _limits(threshold.value_threshold)
    return f"is {value:.6f}; it must lie between {low:.6g} and {high:.6g}"


def _limits(threshold: config_pb2.GenericValueThreshold) -> tuple[float, float]:
    low = threshold.lower_bound.value if threshold.HasField("lower_bound") else -math.inf
    return low, threshold.upper_bound.value if threshold.HasField("upper_bound") else math.inf


def _verdict(bound: Bound, one: SliceMetrics) -> tuple[str, ...]:
    value = one.model.get(bound.metric, math.nan)
    if bound.of_change:
        value -= one.baseline.get(bound.metric, math.nan)
    # Evaluator's own rule: a bound itself is reached, and what is no number is not.
    verdict = "reached" if bound.low <= value <= bound.high else "missed"
    return bound.metric, str(bound), f"{value:+.6g}" if bound.of_change else _number(value), verdict


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
