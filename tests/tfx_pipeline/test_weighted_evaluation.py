"""Sample weights in Evaluator: of rows the column itself, of requests its product with what was shown."""

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from sklearn.metrics import roc_auc_score
from tfx_bsl.tfxio import tf_example_record

from tests.helpers.pipeline_runs import small_config
from tfx_pipeline.components.sample_weights import custom_extractors
from tfx_pipeline.nodes import eval_config


def _example(columns: dict[str, Any]) -> bytes:
    feature = {
        name: tf.train.Feature(float_list=tf.train.FloatList(value=values))
        if values.dtype.kind == "f"
        else tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        for name, values in columns.items()
    }
    example: bytes = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    return example


def test_candidates_count_by_their_weight_where_they_were_shown(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    shape = (30, 4)
    records: dict[str, Any] = {
        "label": random.integers(0, 2, shape).astype(np.float32),
        "probability": random.random(shape).astype(np.float32),
        "weight": random.choice(np.array([0, 0.5, 2], np.float32), shape),
        "exposed": random.integers(0, 2, shape),
    }
    config = eval_config(small_config(record="request"), weighted=True)
    config.model_specs[0].ClearField("signature_name")
    config.metrics_specs[0].metrics[0].ClearField("per_slice_thresholds")
    config.metrics_specs[0].metrics[1].ClearField("per_slice_thresholds")
    source = tf_example_record.TFExampleBeamRecord(
        physical_format="memory", telemetry_descriptors=["test"], raw_record_column_name=tfma.ARROW_INPUT_COLUMN
    )
    examples = [_example({name: values[place] for name, values in records.items()}) for place in range(30)]
    with beam.Pipeline() as pipeline:
        _ = (
            pipeline
            | beam.Create(examples)
            | source.BeamSource()
            | tfma.ExtractEvaluateAndWriteResults(
                eval_config=config, extractors=custom_extractors(None, config, None), output_path=str(tmp_path)
            )
        )
    metrics = tfma.load_eval_result(str(tmp_path)).get_metrics_for_all_slices()[()]
    weight = records["weight"] * records["exposed"]
    label, probability = records["label"], records["probability"]
    shown = weight > 0
    expected = roc_auc_score(label[shown], probability[shown], sample_weight=weight[shown])
    # Evaluator's AUC is of 10,000 thresholds.
    assert metrics["auc"]["doubleValue"] == pytest.approx(expected, abs=1e-3)
    assert metrics["mean_label"]["doubleValue"] == pytest.approx((weight * label).sum() / weight.sum(), abs=1e-6)
    assert metrics["calibration"]["doubleValue"] == pytest.approx(
        (weight * probability).sum() / (weight * label).sum(), abs=1e-6
    )


@pytest.mark.parametrize(
    ("record", "weighted", "key"),
    [("row", False, ""), ("row", True, "weight"), ("request", False, "exposed"), ("request", True, "exposed")],
)
def test_the_feature_of_weights_follows_the_records(record: str, weighted: bool, key: str) -> None:
    (spec,) = eval_config(small_config(record=record), weighted).model_specs
    assert spec.example_weight_key == key
