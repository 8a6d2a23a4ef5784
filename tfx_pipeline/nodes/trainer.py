"""Trainer, by the import path of run_fn."""

from tfx import v1 as tfx
from tfx.types.channel import BaseChannel

from runs.plan import Plan

RUN_FN = "tfx_pipeline.trainer.run_fn"


def trainer(
    plan: Plan, transform: tfx.components.Transform, hyperparameters: BaseChannel | None = None
) -> tfx.components.Trainer:
    """Trains the config's model on the transformed train split, with the Tuner's best values if there are any."""
    return tfx.components.Trainer(
        run_fn=RUN_FN,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        hyperparameters=hyperparameters,
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        custom_config=plan.training_config(),
    )
