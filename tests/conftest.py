"""What holds for every test: one Keras, a quiet TensorFlow, repeatable examples, real data only where it is, an end."""

import faulthandler
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before anything imports TensorFlow.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("CONSORT_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))

import hypothesis
import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadFileScheduling
    from xdist.workermanage import WorkerController

    from tests.helpers.learned_transforms import LearnedTransforms

# Derandomized: a failure on one machine is a failure on all; no deadline: the first call traces a graph.
hypothesis.settings.register_profile("consort", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("consort")

# The longest test takes two minutes on two quiet cores.
_PATIENCE_S = float(os.environ.get("CONSORT_TEST_PATIENCE_S", "900"))
_LONG = ("tests/e2e/", "tests/docs/", "tests/experiments/")
_STDERR = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "tests/conformance against another server than the local one")
    group.addoption("--target", metavar="HOST:PORT", help="gRPC address of a server of tests.conformance.served_models")
    group.addoption("--target-http", metavar="HOST:PORT", help="its HTTP address, for the metrics")
    group.addoption("--target-models", metavar="FOLDER", help="the folder of its models, for tests that change them")


def pytest_configure(config: pytest.Config) -> None:
    # A copy: while tests run, pytest has a file of its own in the place of standard error.
    config.stash[_STDERR] = os.dup(2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Ends the process of a test that hangs, with the stacks of its threads; pytest-xdist then names the test."""
    faulthandler.dump_traceback_later(_PATIENCE_S, exit=True, file=item.config.stash[_STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(os.environ["CONSORT_DATA"])
    if not folder.is_dir():
        absent = pytest.mark.skip(reason=f"no public data sets in {folder}; CONSORT_DATA names their folder")
        for item in items:
            if item.get_closest_marker("real_data"):
                item.add_marker(absent)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "LoadFileScheduling | None":
    """Begins with the folders whose files take longest, so that no worker sits on one of them at the end.

    pytest-xdist itself begins with the files of the most tests; those of an end-to-end file are few and long.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class LongFoldersFirst(LoadFileScheduling):
        def _assign_work_unit(self, node: "WorkerController") -> None:
            files = sorted(self.workqueue, key=lambda file: not file.startswith(_LONG))
            for file in files:
                self.workqueue.move_to_end(file)
            super()._assign_work_unit(node)

    return LongFoldersFirst(config, log)


@pytest.fixture(scope="module", autouse=True)
def _forgotten_graphs() -> Iterator[None]:
    """Lets go of the graphs of a file's trainings: each would slow down all tests behind it.

    TensorFlow keeps the gradient of every traced `tf.custom_gradient`, and with it the graph, for good.
    """
    yield
    framework = sys.modules.get("tensorflow.python.framework.ops")
    if framework is not None:
        gradients = framework.gradient_registry._registry
        for name in [name for name in gradients if name.startswith("CustomGradient-")]:
            del gradients[name]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the public data sets, for tests marked `real_data`."""
    return Path(os.environ["CONSORT_DATA"])


@pytest.fixture(scope="session")
def learned_transforms(tmp_path_factory: pytest.TempPathFactory) -> "LearnedTransforms":
    """`transform_dataset` for tests of what comes after it: each transform is learned once, for all workers."""
    from tests.helpers.learned_transforms import LearnedTransforms

    base = tmp_path_factory.getbasetemp()
    return LearnedTransforms((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "learned_transforms")


@pytest.fixture(scope="module")
def each_transform_once(learned_transforms: "LearnedTransforms") -> Iterator[None]:
    """Runs, streams and searches of this process learn each transform once."""
    from runs import train
    from runs.online import setup
    from runs.tuning import search

    with pytest.MonkeyPatch.context() as patch:
        for module in (train, setup, search):
            patch.setattr(module, "transform_dataset", learned_transforms)
        yield


@pytest.fixture(scope="module")
def eagerly() -> Iterator[None]:
    """Many trainings of a few steps each: tracing them would take longer than the steps."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
