"""The nodes of the pipeline, in the order in which they run."""

import json
from collections.abc import Callable
from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_model_analysis.proto import config_pb2
from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode
from tfx.proto import example_gen_pb2, pusher_pb2, transform_pb2
from tfx.types.channel import BaseChannel

from runs.audit.audit import accepted_in
from runs.config import RunConfig
from runs.plan import Plan
from runs.tuning.space import check_search
from serving.export.signatures import EXAMPLES, PROBABILITY
from tfx_pipeline.components.anomaly_gate import AnomalyGate
from tfx_pipeline.components.curated_schema import CuratedSchema
from tfx_pipeline.components.executors import AtomicPusher, IsolatedTunerNode
from tfx_pipeline.components.model_gate import ModelGate
from tfx_pipeline.components.record_nodes import RecordExampleGen, RecordStatistics, RecordTransform
from tfx_pipeline.components.served_model import CANDIDATE, MODEL, PUSHED_MODEL, ServedModelStrategy
from transforms.features import EXPOSED, LABEL, WEIGHT
from transforms.schema import schema_text

# TFX imports these by name. Each is one literal: the build of the wheel rewrites it.
PREPROCESSING_FN = "transforms.preprocessing.preprocessing_fn"
RUN_FN = "tfx_pipeline.trainer.run_fn"
TUNER_FN = "tfx_pipeline.trainer.tuner_fn"
WEIGHTED_REQUESTS = "tfx_pipeline.components.sample_weights"

_OVERALL = [config_pb2.SlicingSpec()]
_ALLOW_BELOW = 1e-12


def examples(plan: Plan) -> RecordExampleGen:
    """Imports the dataset's TFRecords, one input split for each of its splits: nothing is shuffled across."""
    splits = [example_gen_pb2.Input.Split(name=split, pattern=f"{split}/*.tfrecord") for split in plan.splits]
    node = RecordExampleGen(input_base=str(plan.records_dir), input_config=example_gen_pb2.Input(splits=splits))
    return node.with_id("ImportExampleGen")


def validation(plan: Plan, examples: BaseChannel) -> tuple[list[BaseNode], BaseChannel]:
    """Statistics of every split against the curated schema; the gate stops the run on any anomaly.

    Returns:
      The nodes, the gate last; and the channel of the schema.
    """
    largest = max(info.records for info in plan.dataset.records[plan.config.record].values())
    rate = min(1.0, plan.config.pipeline.statistics_max_examples / largest)
    options = tfdv.StatsOptions(
        # 1.0 would still draw a random number an example.
        sample_rate=rate if rate < 1.0 else None,
        # Exact counts of distinct strings cost far more than all the rest, and no anomaly is decided by them.
        use_sketch_based_topk_uniques=True,
    )
    schema = CuratedSchema(text=schema_text(plan.feature_set, plan.config.record)).with_id("CuratedSchema")
    node = RecordStatistics(examples=examples, schema=schema.outputs["schema"], stats_options=options)
    statistics = node.with_id("StatisticsGen")
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    gate = AnomalyGate(
        anomalies=validator.outputs["anomalies"],
        examples=examples,
        feature_set=plan.feature_set.model_dump_json(),
        record=plan.config.record,
        report_dir=str(plan.reports_dir),
        dataset=json.dumps(_audited(plan)),
        checks=json.dumps(plan.config.gate.checks),
        evaluate_split=plan.config.pipeline.evaluate_split,
        serving_base=str(plan.serving_base),
        profiles_dir=str(plan.profiles_dir),
    )
    return [schema, statistics, validator, gate], schema.outputs["schema"]


def _audited(plan: Plan) -> dict[str, Any]:
    return {
        "source": plan.dataset.source,
        "dataset_sha256": plan.dataset.sha256,
        "examples": sum(info.examples for info in plan.dataset.records[plan.config.record].values()),
        "accepted": accepted_in(plan.dataset.origin),
    }


def transform(plan: Plan, examples: BaseChannel, schema: BaseChannel) -> RecordTransform:
    """Learns from the train split alone; writes train and eval. The test split stays raw."""
    node = RecordTransform(
        examples=examples,
        schema=schema,
        preprocessing_fn=PREPROCESSING_FN,
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=["train", "eval"]),
        custom_config=plan.preprocessing_config(),
        disable_statistics=True,
        disable_analyzer_cache=True,
    )
    return node.with_id("Transform")


def tuner(plan: Plan, transform: tfx.components.Transform) -> IsolatedTunerNode:
    """Searches the config's space on the transformed train split; the eval split decides.

    Raises:
      InputError: nothing can be built with a value of the space.
    """
    check_search(plan.facts)
    unused = ("versions", "warmup_files", "checkpoint_root", "log_root")
    shared = {name: value for name, value in plan.training_config().items() if name not in unused}
    node = IsolatedTunerNode(
        tuner_fn=TUNER_FN,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        custom_config={**shared, "tuning_root": str(plan.root / "tuning"), "report_dir": str(plan.reports_dir)},
    )
    return node.with_id("Tuner")


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


def served_model(candidate: BaseChannel) -> tfx.dsl.Resolver:
    """Finds the model that is served, which the candidate is compared with."""
    channels = {
        MODEL: tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        PUSHED_MODEL: tfx.dsl.Channel(type=tfx.types.standard_artifacts.PushedModel),
        CANDIDATE: candidate,
    }
    return tfx.dsl.Resolver(strategy_class=ServedModelStrategy, **channels).with_id("blessed_model")


def latest_blessed_model(candidate: BaseChannel) -> tfx.dsl.Resolver:
    """Finds the model that was blessed last: the nearest to `served_model` that Kubeflow Pipelines can resolve."""
    del candidate  # It is not blessed yet.
    channels = {
        MODEL: tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        "model_blessing": tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    }
    strategy = tfx.dsl.experimental.LatestBlessedModelStrategy
    return tfx.dsl.Resolver(strategy_class=strategy, **channels).with_id("blessed_model")


def evaluation(
    plan: Plan, examples: BaseChannel, model: BaseChannel, resolve: Callable[[BaseChannel], tfx.dsl.Resolver]
) -> tuple[list[BaseNode], BaseChannel]:
    """AUC and calibration on the evaluated split, against bounds and against an earlier model.

    Args:
      plan: what to run.
      examples: raw records.
      model: the candidate.
      resolve: makes the node that finds the earlier model.

    Returns:
      The nodes, the gate last; and the channel of the blessing.
    """
    baseline = resolve(model)
    weighted = WEIGHT in {column.name for column in plan.feature_set.columns}
    evaluator = tfx.components.Evaluator(
        examples=examples,
        model=model,
        baseline_model=baseline.outputs[MODEL],
        example_splits=[plan.config.pipeline.evaluate_split],
        eval_config=eval_config(plan.config, weighted),
        module_path=WEIGHTED_REQUESTS if weighted and plan.config.record == "request" else None,
    )
    gate = ModelGate(
        blessing=evaluator.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        report_dir=str(plan.reports_dir),
        serving_base=str(plan.serving_base),
        comparison=json.dumps(
            {
                "data": str(plan.data_dir),
                "split": plan.config.pipeline.evaluate_split,
                "baselines": plan.config.baselines,
                "min_gain": plan.config.gate.min_gain_over_baseline,
            }
        ),
    )
    return [baseline, evaluator, gate], evaluator.outputs["blessing"]


def eval_config(config: RunConfig, weighted: bool = False) -> config_pb2.EvalConfig:
    """What Evaluator computes. Only the overall slice decides: small slices must not veto a better model.

    Args:
      config: of the run.
      weighted: True if the records have sample weights; those of requests are multiplied by `exposed`, see
        `tfx_pipeline.components.sample_weights`.
    """
    gate = config.gate
    auc = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": gate.min_auc}),
        change_threshold=config_pb2.GenericChangeThreshold(
            direction=config_pb2.MetricDirection.HIGHER_IS_BETTER, absolute={"value": gate.min_auc_gain - _ALLOW_BELOW}
        ),
    )
    error = gate.max_calibration_error
    bounds = config_pb2.GenericValueThreshold(lower_bound={"value": 1.0 - error}, upper_bound={"value": 1.0 + error})
    calibration = config_pb2.MetricThreshold(value_threshold=bounds)
    metrics = [
        config_pb2.MetricConfig(
            class_name=name,
            per_slice_thresholds=[config_pb2.PerSliceMetricThreshold(slicing_specs=_OVERALL, threshold=threshold)],
        )
        for name, threshold in (("AUC", auc), ("Calibration", calibration))
    ]
    # TFMA's cross entropy takes one label an example, not a list; `consort evaluate` has it for both kinds.
    reported = ("ExampleCount", "MeanLabel", *(() if config.record == "request" else ("BinaryCrossEntropy",)))
    metrics += [config_pb2.MetricConfig(class_name=name) for name in reported]
    spec = config_pb2.ModelSpec(
        signature_name=EXAMPLES,
        label_key=LABEL,
        prediction_key=PROBABILITY,
        example_weight_key=EXPOSED if config.record == "request" else WEIGHT if weighted else "",
    )
    return config_pb2.EvalConfig(
        model_specs=[spec],
        slicing_specs=[*_OVERALL, *(config_pb2.SlicingSpec(feature_keys=[name]) for name in config.pipeline.slices)],
        metrics_specs=[config_pb2.MetricsSpec(metrics=metrics)],
    )


def pusher(plan: Plan, model: BaseChannel, blessing: BaseChannel) -> AtomicPusher:
    """Publishes a blessed model as a new version under `root/serving/<name>`."""
    filesystem = pusher_pb2.PushDestination.Filesystem(base_directory=str(plan.serving_base))
    node = AtomicPusher(
        model=model,
        model_blessing=blessing,
        push_destination=pusher_pb2.PushDestination(filesystem=filesystem),
        custom_config={"keep_versions": plan.config.pipeline.keep_versions},
    )
    return node.with_id("Pusher")
