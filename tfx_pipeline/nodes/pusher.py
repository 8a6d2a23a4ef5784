"""Pusher, writing beside and renaming."""

from tfx.proto import pusher_pb2
from tfx.types.channel import BaseChannel

from runs.plan import Plan
from tfx_pipeline.components.atomic_pusher import AtomicPusher


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
