"""StatisticsGen, ImportSchemaGen, ExampleValidator and the gate that acts on what they find."""

from dataclasses import dataclass

import tensorflow_data_validation as tfdv
from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode
from tfx.types.channel import BaseChannel

from runs.plan import Plan
from tfx_pipeline.components.anomaly_gate import AnomalyGate


@dataclass(frozen=True)
class Validation:
    """The nodes of data validation, in order."""

    statistics: tfx.components.StatisticsGen
    schema: tfx.components.ImportSchemaGen
    validator: tfx.components.ExampleValidator
    gate: BaseNode

    def nodes(self) -> list[BaseNode]:
        return [self.statistics, self.schema, self.validator, self.gate]


def validation(plan: Plan, examples: BaseChannel) -> Validation:
    """Statistics of every split against the curated schema; the gate stops the run on any anomaly."""
    largest = max(info.records for info in plan.dataset.records[plan.config.record].values())
    rate = min(1.0, plan.config.pipeline.statistics_max_examples / largest)
    options = tfdv.StatsOptions(
        # 1.0 would still draw a random number an example.
        sample_rate=rate if rate < 1.0 else None,
        # Exact counts of distinct strings cost far more than all the rest, and no anomaly is decided by them.
        use_sketch_based_topk_uniques=True,
    )
    statistics = tfx.components.StatisticsGen(examples=examples, stats_options=options)
    schema = tfx.components.ImportSchemaGen(schema_file=str(plan.schema_file))
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    gate = AnomalyGate(
        anomalies=validator.outputs["anomalies"],
        examples=examples,
        feature_set=plan.dataset.feature_set.model_dump_json(),
        record=plan.config.record,
        report_dir=str(plan.reports_dir),
    )
    return Validation(statistics, schema, validator, gate)
