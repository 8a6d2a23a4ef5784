"""Trainer, by the import path of run_fn."""

from tfx import v1 as tfx

from tfx_pipeline.plan import Plan

RUN_FN = "tfx_pipeline.trainer.run_fn"


def trainer(plan: Plan, transform: tfx.components.Transform) -> tfx.components.Trainer:
    """Trains the config's model on the transformed train split."""
    return tfx.components.Trainer(
        run_fn=RUN_FN,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        custom_config=plan.training_config(),
    )
