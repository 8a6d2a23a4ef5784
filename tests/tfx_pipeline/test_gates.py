"""Gates and reports without a pipeline: what they read, what they say."""

import pytest
import tensorflow_model_analysis as tfma
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types import standard_artifacts

from tests.helpers.pipeline_runs import small_config
from tfx_pipeline.components.anomaly_gate import read_anomalies, reasons_in
from tfx_pipeline.components.model_gate import failures_in
from tfx_pipeline.nodes import eval_config
from transforms.errors import GateRefused

ANOMALIES = """
anomaly_info {
  key: "price"
  value { short_description: "Out-of-range values" description: "Unexpectedly low values: -5." }
}
"""


def validation(threshold: str, value: float) -> tfma.proto.validation_result_pb2.ValidationResult:
    text = f"""
    metric_validations_per_slice {{
      failures {{
        metric_key {{ name: "auc" }}
        metric_value {{ double_value {{ value: {value} }} }}
        metric_threshold {{ {threshold} }}
      }}
    }}
    """
    return text_format.Parse(text, tfma.proto.validation_result_pb2.ValidationResult())


def test_each_anomaly_is_one_line_with_split_and_column():
    anomalies = text_format.Parse(ANOMALIES, anomalies_pb2.Anomalies())
    assert reasons_in(anomalies, "eval") == [
        "split eval, column 'price': Out-of-range values: Unexpectedly low values: -5."
    ]


def test_anomalies_of_every_split_are_read(tmp_path):
    artifact = standard_artifacts.ExampleAnomalies()
    artifact.uri, artifact.split_names = str(tmp_path), '["train", "eval"]'
    for split, text in (("train", ""), ("eval", ANOMALIES)):
        folder = tmp_path / f"Split-{split}"
        folder.mkdir()
        content = text_format.Parse(text, anomalies_pb2.Anomalies()).SerializeToString()
        (folder / "SchemaDiff.pb").write_bytes(content)
    assert [line.split(",")[0] for line in read_anomalies(artifact)] == ["split eval"]


def test_a_split_without_data_is_an_anomaly():
    assert reasons_in(anomalies_pb2.Anomalies(data_missing=True), "train") == ["split train: no data"]


def test_a_missed_bound_says_value_and_bounds():
    missed = validation("value_threshold { lower_bound { value: 0.7 } }", 0.61)
    assert list(failures_in(missed)) == ["auc is 0.610000; it must lie between 0.7 and inf"]


def test_a_missed_change_says_by_how_much():
    missed = validation("change_threshold { absolute { value: -0.001 } }", -0.2)
    assert list(failures_in(missed)) == ["auc is -0.200000 against the blessed model's; at least -0.001000 is needed"]


def test_only_the_overall_slice_decides():
    config = eval_config(small_config(pipeline={"slices": ["user_id"]}))
    assert len(config.slicing_specs) == 2
    gated = [metric for metric in config.metrics_specs[0].metrics if metric.per_slice_thresholds]
    assert {metric.class_name for metric in gated} == {"AUC", "Calibration"}
    for metric in config.metrics_specs[0].metrics:
        assert not metric.HasField("threshold")
        for scoped in metric.per_slice_thresholds:
            assert [list(spec.feature_keys) for spec in scoped.slicing_specs] == [[]]


def test_a_refusal_lists_its_reasons_and_exits_with_4():
    error = GateRefused("the gate", ["one", "two"])
    assert error.exit_code == 4 and str(error) == "rejected by the gate:\n  - one\n  - two"
    assert str(GateRefused("the gate", ["one"], "r/x.txt")) == "rejected by the gate:\n  - one\nreport: r/x.txt"
    with pytest.raises(GateRefused):
        raise error
