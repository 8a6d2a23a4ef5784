"""Tuner, by the import path of tuner_fn."""

from tfx import v1 as tfx

from runs.plan import Plan, facts_of
from runs.tuning.space import check_search
from tfx_pipeline.components.isolated_tuner import IsolatedTunerNode

TUNER_FN = "tfx_pipeline.tuner_fn.tuner_fn"


def tuner(plan: Plan, transform: tfx.components.Transform) -> IsolatedTunerNode:
    """Searches the config's space on the transformed train split; the eval split decides.

    Raises:
      InputError: nothing can be built with a value of the space.
    """
    check_search(facts_of(plan.config, plan.dataset))
    properties = plan.training_config()
    names = (
        "config",
        "feature_set",
        "code_version",
        "dataset_sha256",
        "source",
        "raw_files",
        "external_inputs",
    )
    shared = {name: properties[name] for name in names}
    node = IsolatedTunerNode(
        tuner_fn=TUNER_FN,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        custom_config={**shared, "tuning_root": str(plan.root / "tuning"), "report_dir": str(plan.reports_dir)},
    )
    return node.with_id("Tuner")
