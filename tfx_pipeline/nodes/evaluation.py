"""The blessed baseline, Evaluator and the gate that acts on its verdict."""

from dataclasses import dataclass

import tensorflow_model_analysis as tfma
from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode
from tfx.types.channel import BaseChannel

from runs.config import RunConfig
from runs.plan import Plan
from serving.export.signatures import EXAMPLES, PROBABILITY
from tfx_pipeline.components.model_gate import ModelGate
from tfx_pipeline.components.served_model import CANDIDATE, MODEL, PUSHED_MODEL, ServedModelStrategy
from transforms.features import EXPOSED, LABEL

_OVERALL = [tfma.SlicingSpec()]
_ALLOW_BELOW = 1e-12


@dataclass(frozen=True)
class Evaluation:
    """The nodes of model validation, in order."""

    baseline: tfx.dsl.Resolver
    evaluator: tfx.components.Evaluator
    gate: BaseNode

    def nodes(self) -> list[BaseNode]:
        return [self.baseline, self.evaluator, self.gate]


def evaluation(plan: Plan, examples: BaseChannel, model: BaseChannel) -> Evaluation:
    """AUC and calibration on the evaluated split, against bounds and against the blessed model that is served."""
    channels = {
        MODEL: tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        PUSHED_MODEL: tfx.dsl.Channel(type=tfx.types.standard_artifacts.PushedModel),
        CANDIDATE: model,
    }
    baseline = tfx.dsl.Resolver(strategy_class=ServedModelStrategy, **channels).with_id("blessed_model")
    evaluator = tfx.components.Evaluator(
        examples=examples,
        model=model,
        baseline_model=baseline.outputs[MODEL],
        example_splits=[plan.config.pipeline.evaluate_split],
        eval_config=eval_config(plan.config),
    )
    gate = ModelGate(
        blessing=evaluator.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        report_dir=str(plan.reports_dir),
        serving_base=str(plan.serving_base),
    )
    return Evaluation(baseline, evaluator, gate)


def eval_config(config: RunConfig) -> tfma.EvalConfig:
    """What Evaluator computes. Only the overall slice decides: small slices must not veto a better model."""
    gate = config.gate
    auc = tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(lower_bound={"value": gate.min_auc}),
        change_threshold=tfma.GenericChangeThreshold(
            direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": gate.min_auc_gain - _ALLOW_BELOW}
        ),
    )
    calibration = tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(
            lower_bound={"value": 1.0 - gate.max_calibration_error},
            upper_bound={"value": 1.0 + gate.max_calibration_error},
        )
    )
    metrics = [_gated("AUC", auc), _gated("Calibration", calibration)]
    # TFMA's cross entropy takes one label an example, not a list; `consort evaluate` has it for both kinds.
    told = ("ExampleCount", "MeanLabel") if config.record == "request" else ("ExampleCount", "BinaryCrossEntropy")
    metrics += [tfma.MetricConfig(class_name=name) for name in told]
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name=EXAMPLES,
                label_key=LABEL,
                prediction_key=PROBABILITY,
                example_weight_key=EXPOSED if config.record == "request" else "",
            )
        ],
        slicing_specs=[*_OVERALL, *(tfma.SlicingSpec(feature_keys=[name]) for name in config.pipeline.slices)],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    )


def _gated(name: str, threshold: tfma.MetricThreshold) -> tfma.MetricConfig:
    return tfma.MetricConfig(
        class_name=name,
        per_slice_thresholds=[tfma.PerSliceMetricThreshold(slicing_specs=_OVERALL, threshold=threshold)],
    )
