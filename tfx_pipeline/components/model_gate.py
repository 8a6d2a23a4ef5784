"""Stop the run when Evaluator did not bless the model, and say why."""

from collections.abc import Iterator
from pathlib import Path

import tensorflow_model_analysis as tfma
from tfx.components.evaluator import constants
from tfx.components.util import model_utils
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from serving.versions import versions_in
from tfx_pipeline.components.evaluation_report import bounds_in, metrics_in, report
from transforms.errors import GateRefused
from transforms.files import sha256_of, write_text

REPORT = "evaluation.txt"


def failures_in(result: tfma.proto.validation_result_pb2.ValidationResult) -> Iterator[str]:
    """One line for each threshold that was missed."""
    for validation in result.metric_validations_per_slice:
        for failure in validation.failures:
            yield f"{failure.metric_key.name} {_missed(failure)} {failure.message}".rstrip()
    if result.missing_slices:
        yield "the overall slice has no examples"


def _missed(failure: tfma.proto.validation_result_pb2.ValidationFailure) -> str:
    value, threshold = failure.metric_value.double_value.value, failure.metric_threshold
    if threshold.HasField("change_threshold"):
        least = threshold.change_threshold.absolute.value
        return f"is {value:+.6f} against the blessed model's; at least {least:+.6f} is needed"
    bounds = threshold.value_threshold
    low = bounds.lower_bound.value if bounds.HasField("lower_bound") else float("-inf")
    high = bounds.upper_bound.value if bounds.HasField("upper_bound") else float("inf")
    return f"is {value:.6f}; it must lie between {low:.6g} and {high:.6g}"


@component
def ModelGate(  # noqa: N802, a component is a class to its users
    blessing: InputArtifact[standard_artifacts.ModelBlessing],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    report_dir: Parameter[str],
    serving_base: Parameter[str],
) -> None:
    """Writes metrics, bounds and verdict to `report_dir/evaluation.txt` and refuses a model that was not blessed.

    Raises:
      GateRefused: with one reason for each threshold that was missed.
    """
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
    write_text(Path(report_dir) / REPORT, report(metrics_in(evaluation.uri), bounds, lines, facts))
    if not blessed:
        raise GateRefused("the model gate", lines)


def _served_as(uri: str, serving_base: str) -> str:
    """A model's folder, and the version that it is served as, if it still is."""
    contract = Path(path_utils.serving_model_path(uri), "assets.extra", "contract.json")
    for number, directory in versions_in(serving_base):
        other = directory / "assets.extra" / "contract.json"
        # A contract tells when and from what a model was made: no two models have the same.
        if contract.is_file() and other.is_file() and sha256_of(contract) == sha256_of(other):
            return f"{uri}, version {number}"
    return uri
