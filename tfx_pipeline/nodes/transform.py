"""Transform, by the import path of the one preprocessing_fn."""

from tfx import v1 as tfx
from tfx.proto import transform_pb2
from tfx.types.channel import BaseChannel

from runs.plan import Plan

PREPROCESSING_FN = "transforms.preprocessing.preprocessing_fn"


def transform(plan: Plan, examples: BaseChannel, schema: BaseChannel) -> tfx.components.Transform:
    """Learns from the train split alone; writes train and eval. The test split stays raw."""
    return tfx.components.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn=PREPROCESSING_FN,
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=["train", "eval"]),
        custom_config=plan.preprocessing_config(),
        disable_statistics=True,
    )
