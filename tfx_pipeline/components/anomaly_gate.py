"""Stop the run on anomalous data: ExampleValidator alone reports, and lets it pass."""

from pathlib import Path

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts

from transforms.errors import GateRefused, InputError
from transforms.features import FeatureSet, RecordKind
from transforms.files import write_text
from transforms.integrity import faults_in
from transforms.records import record_kind

REPORT = "anomalies.txt"


def reasons_in(anomalies: anomalies_pb2.Anomalies, split: str) -> list[str]:
    """One line for each anomaly: split, column, what was found."""
    lines = []
    for column, info in sorted(anomalies.anomaly_info.items()):
        lines.append(f"split {split}, column {column!r}: {info.short_description}: {info.description}")
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"split {split}: {anomalies.dataset_anomaly_info.description}")
    if anomalies.data_missing:
        lines.append(f"split {split}: no data")
    return lines


def read_anomalies(artifact: tfx.types.standard_artifacts.ExampleAnomalies) -> list[str]:
    """The reasons of every split in ExampleValidator's output."""
    lines: list[str] = []
    for split in artifact_utils.decode_split_names(artifact.split_names):
        anomalies = anomalies_pb2.Anomalies()
        anomalies.ParseFromString((Path(artifact.uri) / f"Split-{split}" / "SchemaDiff.pb").read_bytes())
        lines += reasons_in(anomalies, split)
    return lines


def wrong_values(
    artifact: tfx.types.standard_artifacts.Examples, feature_set: FeatureSet, record: RecordKind, known: list[str]
) -> list[str]:
    """One line for each split and column with a value that it cannot have, of all records.

    A schema cannot say all of it (an empty key), and statistics may be of a sample.

    Args:
      artifact: raw records.
      feature_set, record: what they are.
      known: lines of `read_anomalies`; what they say is not said again.
    """
    lines: list[str] = []
    for split in artifact_utils.decode_split_names(artifact.split_names):
        reported = [line for line in known if line.startswith(f"split {split}")]
        for path in sorted(str(path) for path in Path(artifact.uri, f"Split-{split}").iterdir()):
            try:
                for start, fault in faults_in(path, feature_set, record):
                    place = f"split {split}, column {fault.column!r}: "
                    if not any(line.startswith(place) for line in reported):
                        reported.append(place + str(fault.error(Path(path).name, start)))
                        lines.append(reported[-1])
            except InputError as error:
                lines += [] if reported else [f"split {split}: {error}"]
    return lines


@component
def AnomalyGate(  # noqa: N802, a component is a class to its users
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    examples: InputArtifact[standard_artifacts.Examples],
    feature_set: Parameter[str],
    record: Parameter[str],
    report_dir: Parameter[str],
) -> None:
    """Writes what is wrong with the data to `report_dir/anomalies.txt` and refuses the data if anything is.

    Raises:
      GateRefused: with one reason for each anomaly.
    """
    lines = read_anomalies(anomalies)
    lines += wrong_values(examples, FeatureSet.model_validate_json(feature_set), record_kind(record), lines)
    write_text(Path(report_dir) / REPORT, "\n".join(lines) + "\n" if lines else "no anomalies\n")
    if lines:
        raise GateRefused("the anomaly gate", lines, str(Path(report_dir, REPORT)))
