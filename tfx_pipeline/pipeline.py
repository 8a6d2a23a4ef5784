"""The pipeline: wiring, and its drawing. A runner only says where."""

from collections.abc import Callable

from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.dsl.components.base.base_node import BaseNode
from tfx.types.channel import BaseChannel

from runs.plan import Plan
from tfx_pipeline import nodes


def create_pipeline(
    plan: Plan, resolve: Callable[[BaseChannel], tfx.dsl.Resolver] = nodes.served_model
) -> tfx.dsl.Pipeline:
    """Examples → statistics → validator → anomaly gate → transform → trainer → evaluator → model gate → pusher.

    With `tuning.in_pipeline` a tuner stands before the trainer.

    Args:
      plan: config, data and root; see `make_plan`.
      resolve: makes the node that finds the model which a new one is compared with.
    """
    data, raw, features = _data_half(plan)
    tuned = nodes.tuner(plan, features) if plan.config.tuning.in_pipeline else None
    trained = nodes.trainer(plan, features, None if tuned is None else tuned.outputs["best_hyperparameters"])
    evaluated, blessing = nodes.evaluation(plan, raw, trained.outputs["model"], resolve)
    pushed = nodes.pusher(plan, trained.outputs["model"], blessing)
    pushed.add_upstream_node(evaluated[-1])
    return _pipeline(plan, [*data, *([tuned] if tuned else []), trained, *evaluated, pushed])


def create_data_pipeline(plan: Plan) -> tfx.dsl.Pipeline:
    """The same up to transform."""
    return _pipeline(plan, _data_half(plan)[0])


def edges(plan: Plan) -> list[tuple[str, str]]:
    """(upstream, downstream) node ids of the pipeline."""
    components = create_pipeline(plan).components
    return [(up.id, node.id) for node in components for up in sorted(node.upstream_nodes, key=lambda n: str(n.id))]


def mermaid(plan: Plan) -> str:
    """The pipeline as a Mermaid flowchart."""
    return "\n".join(["flowchart LR", *(f"  {up} --> {down}" for up, down in edges(plan))])


def _data_half(plan: Plan) -> tuple[list[BaseNode], BaseChannel, tfx.components.Transform]:
    source = nodes.examples(plan)
    raw = source.outputs["examples"]
    validated, schema = nodes.validation(plan, raw)
    features = nodes.transform(plan, raw, schema)
    features.add_upstream_node(validated[-1])
    return [source, *validated, features], raw, features


def _pipeline(plan: Plan, components: list[BaseNode]) -> tfx.dsl.Pipeline:
    # TFX's own helper makes the metadata's folder; wiring must write nothing.
    metadata = metadata_store_pb2.ConnectionConfig()
    metadata.sqlite.filename_uri = str(plan.metadata_file)
    metadata.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return tfx.dsl.Pipeline(
        pipeline_name=plan.config.name,
        pipeline_root=str(plan.artifacts_dir),
        components=components,
        enable_cache=True,
        metadata_connection_config=metadata,
        beam_pipeline_args=list(plan.config.pipeline.beam_args),
    )
