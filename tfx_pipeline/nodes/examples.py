"""ImportExampleGen over the dataset's own splits."""

from tfx.proto import example_gen_pb2

from runs.plan import Plan
from tfx_pipeline.components.record_example_gen import RecordExampleGen


def examples(plan: Plan) -> RecordExampleGen:
    """Imports the dataset's TFRecords, one input split for each of its splits: nothing is shuffled across."""
    splits = [example_gen_pb2.Input.Split(name=split, pattern=f"{split}/*.tfrecord") for split in plan.splits]
    node = RecordExampleGen(input_base=str(plan.records_dir), input_config=example_gen_pb2.Input(splits=splits))
    return node.with_id("ImportExampleGen")
