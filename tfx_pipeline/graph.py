"""Draw the pipeline as it is wired."""

from runs.plan import Plan
from tfx_pipeline.pipeline import create_pipeline


def edges(plan: Plan) -> list[tuple[str, str]]:
    """(upstream, downstream) node ids of the pipeline."""
    nodes = create_pipeline(plan).components
    return [(up.id, node.id) for node in nodes for up in sorted(node.upstream_nodes, key=lambda n: str(n.id))]


def mermaid(plan: Plan) -> str:
    """The pipeline as a Mermaid flowchart."""
    return "\n".join(["flowchart LR", *(f"  {up} --> {down}" for up, down in edges(plan))])
