"""What workers and orchestrators import by name, and a check that an environment has all of it.

`python -m tfx_pipeline.entry_points` is a step of the image's build: an image that lacks something is not made.
"""

import importlib
import pkgutil
import sys
from collections.abc import Collection, Iterator

from tfx_pipeline import nodes
from tfx_pipeline.components import anomaly_gate, curated_schema, executors, model_gate, record_nodes
from transforms.packages import PACKAGES, PREFIX

WORKERS = (
    "apache_beam.runners.worker.sdk_worker_main.main",
    "apache_beam.runners.worker.worker_pool_main.main",
    "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor.main",
)
"""What is started in a container, as module and function."""
_NOT_SHIPPED = ("benchmarks", "experiments")


def entry_points() -> tuple[str, ...]:
    """Returns the dotted names of functions and classes that TFX, Beam and Kubeflow Pipelines import."""
    components = (
        anomaly_gate.AnomalyGate,
        curated_schema.CuratedSchema,
        model_gate.ModelGate,
        record_nodes.RecordExampleGen,
        record_nodes.RecordStatistics,
        record_nodes.RecordTransform,
        executors.AtomicPusher,
        executors.IsolatedTunerNode,
    )
    classes = [component.EXECUTOR_SPEC.executor_class for component in components]
    executors_of = [f"{executor.__module__}.{executor.__qualname__}" for executor in classes]
    return (*WORKERS, *executors_of, nodes.PREPROCESSING_FN, nodes.RUN_FN, nodes.TUNER_FN)


def modules() -> Iterator[str]:
    """Yields every module of the product that a worker may load."""
    yield nodes.WEIGHTED_REQUESTS
    for package in PACKAGES:
        if package not in _NOT_SHIPPED:
            root = importlib.import_module(PREFIX + package)
            yield from (module.name for module in pkgutil.walk_packages(root.__path__, f"{root.__name__}."))


def missing(names: Collection[str], paths: Collection[str] = ()) -> list[str]:
    """Returns a line for each name that cannot be imported, with the reason.

    Args:
      names: of modules.
      paths: dotted names of functions and classes.
    """
    lines = []
    for name in [*names, *paths]:
        module, _, attribute = name.rpartition(".") if name in paths else (name, "", "")
        try:
            loaded = importlib.import_module(module)
            if attribute:
                getattr(loaded, attribute)
        except (ImportError, AttributeError, ValueError) as error:
            lines.append(f"{name}: {type(error).__name__}: {error}")
    return lines


def main() -> int:
    """Imports all of it; prints what fails, and returns the exit code."""
    names, paths = list(modules()), entry_points()
    lines = missing(names, paths)
    sys.stdout.write("\n".join([*lines, f"{len(names)} modules, {len(paths)} entry points, {len(lines)} missing", ""]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
