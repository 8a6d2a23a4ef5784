"""Batches of records against tfx_bsl, which decodes one by one."""

import apache_beam as beam
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from apache_beam.options.pipeline_options import PipelineOptions
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils
from tfx_bsl.coders import example_coder
from tfx_bsl.public import tfxio

from transforms.beam.record_files import strict, whatever
from transforms.beam.runners import LOCAL_ARGS

SCHEMA = text_format.Parse(
    """
    represent_variable_length_as_ragged: true
    feature { name: "price" type: FLOAT presence { min_fraction: 1.0 min_count: 1 } shape {} }
    feature { name: "tags" type: BYTES presence { min_fraction: 1.0 min_count: 1 } shape { dim { size: 2 } } }
    feature { name: "history" type: INT value_count { min: 0 } }
    """,
    schema_pb2.Schema(),
)
SPEC = schema_utils.schema_as_feature_spec(SCHEMA).feature_spec


def example(price=(1.5,), tags=(b"a", b"\xff"), history=(), **other):
    columns = {"price": price, "tags": tags, "history": history, **other}
    result = tf.train.Example()
    for name, values in columns.items():
        if values is not None:
            kind = "int64_list" if name == "history" else "bytes_list" if isinstance(values[0], bytes) else "float_list"
            getattr(result.features.feature[name], kind).value[:] = values
            getattr(result.features.feature[name], kind).SetInParent()
    return result.SerializeToString()


def write(path, examples):
    with tf.io.TFRecordWriter(str(path)) as file:
        for one in examples:
            file.write(one)
    return str(path)


def rows(batches):
    return [row for batch in batches for row in batch.to_pylist()]


def decoded(examples, schema=None):
    decoder = example_coder.ExamplesToRecordBatchDecoder(schema and schema.SerializeToString())
    return decoder.DecodeBatch(examples).to_pylist()


def test_valid_records_are_those_of_the_slow_decoder(tmp_path):
    examples = [example(history=list(range(n % 4)), price=[n / 7]) for n in range(20)]
    file = write(tmp_path / "a [1].tfrecord", examples)
    adapter = tfxio.TFExampleBeamRecord("tfrecord", ["consort"], SCHEMA).TensorAdapterConfig()
    batches = list(strict(SPEC, adapter.arrow_schema)(file))
    assert rows(batches) == decoded(examples, SCHEMA)
    assert batches[0].schema == adapter.arrow_schema
    assert rows(whatever(SPEC)(file)) == decoded(examples)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"price": None}, id="a missing column"),
        pytest.param({"price": [1.0, 2.0]}, id="too many values"),
        pytest.param({"extra": [1.0]}, id="a column more"),
        pytest.param({"price": [b"1.5"]}, id="another type"),
    ],
)
def test_what_is_wrong_with_records_is_what_the_slow_decoder_shows(tmp_path, odd):
    examples = [example(**odd), example(**{**odd, "history": [3]})]
    file = write(tmp_path / "a.tfrecord", examples)
    ours = statistics(tmp_path / "ours", whatever(SPEC)(file))
    theirs = statistics(tmp_path / "theirs", [example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(examples)])
    assert tfdv.validate_statistics(ours, SCHEMA) == tfdv.validate_statistics(theirs, SCHEMA)
    assert tfdv.validate_statistics(ours, SCHEMA).anomaly_info


def statistics(path, batches):
    with beam.Pipeline(options=PipelineOptions(list(LOCAL_ARGS))) as pipeline:
        computed = pipeline | beam.Create(list(batches)) | tfdv.GenerateStatistics(tfdv.StatsOptions())
        _ = computed | tfdv.WriteStatisticsToBinaryFile(str(path))
    return tfdv.load_stats_binary(str(path))


def test_a_column_that_one_record_lacks_is_missing_there(tmp_path):
    examples = [example(history=[3]), example(price=None), example(tags=None)]
    file = write(tmp_path / "a.tfrecord", examples)
    assert rows(whatever(SPEC)(file)) == decoded(examples)


@pytest.mark.parametrize(("rate", "kept"), [(1.0, 20), (0.5, 10), (0.3, 6), (0.01, 0)])
def test_a_share_of_the_records_is_read_at_equal_distances(tmp_path, rate, kept):
    file = write(tmp_path / "a.tfrecord", [example(price=[float(n)]) for n in range(20)])
    prices = [row["price"][0] for row in rows(whatever(SPEC, rate)(file))]
    assert len(prices) == kept
    assert all(abs(price - (place + 1) / rate) <= 1 for place, price in enumerate(prices))
