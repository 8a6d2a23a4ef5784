"""ImportExampleGen over the dataset's own splits."""

from tfx import v1 as tfx
from tfx.proto import example_gen_pb2

from tfx_pipeline.plan import Plan


def examples(plan: Plan) -> tfx.components.ImportExampleGen:
    """Imports the dataset's TFRecords, one input split for each of its splits: nothing is shuffled across."""
    splits = [
        example_gen_pb2.Input.Split(name=split, pattern=f"{split}/*.tfrecord")
        for split in plan.splits
    ]
    return tfx.components.ImportExampleGen(
        input_base=str(plan.records_dir), input_config=example_gen_pb2.Input(splits=splits)
    )
