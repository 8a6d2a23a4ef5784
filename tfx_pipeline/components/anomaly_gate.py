"""Stop the run on anomalous data: ExampleValidator alone reports, and lets it pass."""

from pathlib import Path

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts

from transforms.errors import GateRefused
from transforms.files import write_text

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


@component
def AnomalyGate(  # noqa: N802, a component is a class to its users
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies], report_dir: Parameter[str]
) -> None:
    """Writes the anomalies to `report_dir/anomalies.txt` and refuses the data if there are any.

    Raises:
      GateRefused: with one reason for each anomaly.
    """
    lines = read_anomalies(anomalies)
    write_text(Path(report_dir) / REPORT, "\n".join(lines) + "\n" if lines else "no anomalies\n")
    if lines:
        raise GateRefused("The anomaly gate", lines)
