"""Stop the run on anomalous data: ExampleValidator alone reports, and lets it pass."""

import json
from collections.abc import Sequence
from pathlib import Path

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts

from runs.audit.audit import AuditInput, audit_of
from runs.audit.drift import profile_of
from runs.audit.report import page
from runs.audit.served import ServedData
from transforms.errors import GateRefused, InputError
from transforms.features import FeatureSet, RecordKind, Split
from transforms.files import write_text
from transforms.integrity import faults_in
from transforms.mounts import mounted
from transforms.plain_text import parse_json
from transforms.records import record_kind, split_named

REPORT, AUDIT = "anomalies.txt", "audit.md"


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
        file = Path(mounted(artifact.uri), f"Split-{split}", "SchemaDiff.pb")
        anomalies.ParseFromString(file.read_bytes())
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
        for path in sorted(str(path) for path in Path(mounted(artifact.uri), f"Split-{split}").iterdir()):
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
    dataset: Parameter[str],
    checks: Parameter[str],
    evaluate_split: Parameter[str],
    serving_base: Parameter[str],
    profiles_dir: Parameter[str],
) -> None:
    """Refuses data that its schema does not allow, or in which the audit finds a leak or an error.

    Writes the reasons to `report_dir/anomalies.txt`, and all that the audit found to `audit.md` and `audit.json`. Data
    that passes is what later data is compared with, once a model of it is served.

    Args:
      anomalies: of ExampleValidator.
      examples: raw records.
      feature_set: the columns, and the features that the model sees, as JSON.
      record: kind of the records.
      report_dir: gets the reports.
      dataset: `source`, `dataset_sha256`, `examples` and `accepted` of an `AuditInput`, as JSON.
      checks: `gate.checks` of the run file, as JSON.
      evaluate_split: the split whose labels the served model must predict.
      serving_base: folder of the served versions.
      profiles_dir: folder of the profiles of their data.

    Raises:
      GateRefused: with one reason for each anomaly and finding.
    """
    report_dir, serving_base, profiles_dir = mounted([report_dir, serving_base, profiles_dir])
    features, kind = FeatureSet.model_validate_json(feature_set), record_kind(record)
    reasons = read_anomalies(anomalies)
    reasons += wrong_values(examples, features, kind, reasons)
    what = AuditInput(files=_shards(examples), feature_set=features, record=kind, **parse_json(dataset))
    table, served = what.read(), ServedData(Path(serving_base), Path(profiles_dir), kind)
    # A model that is asked for what is not there cannot answer.
    scores = () if reasons else tuple(served.scores(what, split_named(evaluate_split)))
    result = audit_of(what, table, served.profile(), scores).without(parse_json(checks))
    said = [finding.line() for finding in result.stopping(parse_json(checks)) if not _is_said(finding.column, reasons)]
    reasons += said
    write_text(Path(report_dir) / REPORT, "\n".join(reasons) + "\n" if reasons else "no anomalies\n")
    write_text(Path(report_dir) / AUDIT, page(result, f"the data of {Path(serving_base).name}"))
    write_text(Path(report_dir) / "audit.json", json.dumps(result.to_json(parse_json(checks)), indent=2) + "\n")
    if reasons:
        raise GateRefused("the anomaly gate", reasons, str(Path(report_dir, AUDIT)))
    served.keep(profile_of(table, what.dataset_sha256))


def _shards(examples: tfx.types.standard_artifacts.Examples) -> dict[Split, list[str]]:
    names = [split_named(name) for name in artifact_utils.decode_split_names(examples.split_names)]
    return {
        name: sorted(str(path) for path in Path(mounted(examples.uri), f"Split-{name}").iterdir()) for name in names
    }


def _is_said(column: str, reasons: Sequence[str]) -> bool:
    """True if the schema's own reasons name the column already."""
    return any(f"column {column!r}" in reason for reason in reasons)
