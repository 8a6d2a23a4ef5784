"""The pipeline: wiring, and nothing else. A runner only says where."""

from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode
from tfx.types.channel import BaseChannel

from runs.plan import Plan
from tfx_pipeline.nodes.evaluation import evaluation
from tfx_pipeline.nodes.examples import examples
from tfx_pipeline.nodes.pusher import pusher
from tfx_pipeline.nodes.trainer import trainer
from tfx_pipeline.nodes.transform import transform
from tfx_pipeline.nodes.tuner import tuner
from tfx_pipeline.nodes.validation import validation


def create_pipeline(plan: Plan) -> tfx.dsl.Pipeline:
    """Examples → statistics → validator → anomaly gate → transform → trainer → evaluator → model gate → pusher.

    With `tuning.in_pipeline` a tuner stands before the trainer.

    Args:
      plan: config, data and root; see `make_plan`.
    """
    data, raw, features = _data_half(plan)
    tuned = tuner(plan, features) if plan.config.tuning.in_pipeline else None
    trained = trainer(plan, features, None if tuned is None else tuned.outputs["best_hyperparameters"])
    model = trained.outputs["model"]
    judged = evaluation(plan, raw, model)
    pushed = pusher(plan, model, judged.evaluator.outputs["blessing"])
    pushed.add_upstream_node(judged.gate)
    return _pipeline(plan, [*data, *([tuned] if tuned else []), trained, *judged.nodes(), pushed])


def create_data_pipeline(plan: Plan) -> tfx.dsl.Pipeline:
    """The same up to transform."""
    return _pipeline(plan, _data_half(plan)[0])


def _data_half(plan: Plan) -> tuple[list[BaseNode], BaseChannel, tfx.components.Transform]:
    source = examples(plan)
    raw = source.outputs["examples"]
    checked = validation(plan, raw)
    features = transform(plan, raw, checked.schema.outputs["schema"])
    features.add_upstream_node(checked.gate)
    return [source, *checked.nodes(), features], raw, features


def _pipeline(plan: Plan, components: list[BaseNode]) -> tfx.dsl.Pipeline:
    return tfx.dsl.Pipeline(
        pipeline_name=plan.config.name,
        pipeline_root=str(plan.artifacts_dir),
        components=components,
        enable_cache=True,
        metadata_connection_config=_sqlite(plan),
        beam_pipeline_args=list(plan.config.pipeline.beam_args),
    )


def _sqlite(plan: Plan) -> metadata_store_pb2.ConnectionConfig:
    # TFX's own helper makes the folder; wiring must write nothing.
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(plan.metadata_file)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return config
