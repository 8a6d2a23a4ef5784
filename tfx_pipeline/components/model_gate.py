"""Stop the run when Evaluator did not bless the model, and say why."""

from collections.abc import Iterator
from pathlib import Path

import tensorflow_model_analysis as tfma
from tfx.components.util import model_utils
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from transforms.errors import GateRefused
from transforms.files import write_text

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
) -> None:
    """Writes Evaluator's verdict to `report_dir/evaluation.txt` and refuses a model that was not blessed.

    Raises:
      GateRefused: with one reason for each threshold that was missed.
    """
    blessed = model_utils.is_model_blessed(blessing)
    lines = [] if blessed else list(failures_in(tfma.load_validation_result(evaluation.uri)))
    write_text(Path(report_dir) / REPORT, "\n".join(lines) + "\n" if lines else "blessed\n")
    if not blessed:
        raise GateRefused("The model gate", lines or ["Evaluator gave no verdict; see its log"])
