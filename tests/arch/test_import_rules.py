"""Rooms import only downwards, and no file is in an import cycle (docs: CONTRIBUTING.md)."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.helpers.source_tree import LEAVES, ROOMS, Module, imports, module_of, modules

MAY_IMPORT = {room: set(ROOMS[: place + 1]) for place, room in enumerate(ROOMS)}
# Data reaches a model as tensors: of transforms it uses what every room may.
MAY_IMPORT["models"] -= {"transforms"}
# They use what a user's own code may use.
MAY_IMPORT["benchmarks"] -= {"consort"}
MAY_IMPORT["experiments"] -= {"consort"}
PUBLIC = {"benchmarks": {"consort.config"}, "experiments": {"consort.config"}}
# The verbs that measure and that tabulate.
VERBS = {
    "consort.cli.bench": "benchmarks",
    "consort.cli.table": "experiments",
}
# Their modules; a Dataflow worker, a trainer or a client must come up without them.
NOT_IN_MODELS = {"apache_beam", "tensorflow_transform", "tfx", "tfx_bsl"}
TFX = {"tfx", "tensorflow_model_analysis", "tensorflow_data_validation", "ml_metadata"}
NO_TENSORFLOW = (
    "serving.client",
    "serving.contract",
    "serving.protocol",
    "serving.server",
    "serving.tensors",
    "serving.versions",
)


def violations(module: Module) -> list[str]:
    """Imports of `module` that the rules forbid, one line each."""
    lines = []
    for imported in imports(module):
        top = imported.name.partition(".")[0]
        forbidden = top in ROOMS and not _allowed(module, imported.name)
        forbidden |= module.room == "models" and top in NOT_IN_MODELS
        forbidden |= module.room == "evaluation" and top not in {*sys.stdlib_module_names, *ROOMS, "numpy"}
        forbidden |= module.room != "tfx_pipeline" and module.name != "consort.doctor" and top in TFX
        forbidden |= _below(module.name, NO_TENSORFLOW) and top in {"tensorflow", "tf_keras"}
        forbidden |= module.name in LEAVES and top in ROOMS and not _is_leaf(imported.name)
        if forbidden:
            lines.append(f"{module.path}:{imported.line}: {module.room} imports {imported.name}")
    return lines


def cycles(product: Iterable[Module]) -> list[list[str]]:
    """Groups of modules that import each other, at the top of a file, inside a function or for types alone."""
    by_name = {module.name: module for module in product}
    graph = {name: sorted(set(_edges(module, by_name))) for name, module in by_name.items()}
    reachable = {name: _reachable(name, graph) for name in graph}
    groups = {frozenset(other for other in reachable[name] if name in reachable[other]) for name in graph}
    return sorted(sorted(group) for group in groups if group)


def test_rooms_import_only_downwards() -> None:
    lines = [violation for module in modules() for violation in violations(module)]
    assert not lines, "\n".join(lines)


def test_no_file_is_in_an_import_cycle() -> None:
    assert cycles(modules()) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("transforms/beam/reader.py", "import models.layers.fm"),
        ("transforms/input.py", "def read():\n    from serving.contract import Contract"),
        ("models/layers/fm.py", "from transforms.batches import Batch"),
        ("models/layers/fm.py", "from transforms import batches"),
        ("models/layers/fm.py", "import apache_beam as beam"),
        ("models/training/fit.py", "def fit():\n    import tensorflow_transform as tft"),
        ("models/training/fit.py", "from runs.config import TrainingConfig"),
        ("evaluation/pointwise.py", "from models.layers import fm"),
        ("evaluation/pointwise.py", "from scipy import stats"),
        ("serving/export/export.py", "from tfx_pipeline import nodes"),
        ("serving/export/export.py", "from runs.config import RunConfig"),
        ("runs/train.py", "from tfx_pipeline.pipeline import create_pipeline"),
        ("runs/train.py", "def train():\n    from tfx import v1 as tfx"),
        ("runs/evaluate.py", "import tensorflow_model_analysis as tfma"),
        ("runs/plan.py", "from consort.config import load_config"),
        ("tfx_pipeline/pipeline.py", "from consort.demo import run"),
        ("benchmarks/train.py", "from consort import __main__"),
        ("experiments/pool.py", "from consort.cli.output import say"),
        ("tfx_pipeline/pipeline.py", "from experiments.statistics import paired"),
        ("consort/cli/models.py", "def train():\n    from benchmarks.train import measure"),
        ("consort/cli/bench.py", "from experiments.mutual.page import render"),
        ("serving/client/predict_client.py", "import tensorflow as tf"),
        ("serving/server/servable.py", "import tensorflow as tf"),
        ("transforms/errors.py", "from transforms.batches import Batch"),
    ],
)
def test_a_forbidden_import_is_found(path: str, text: str) -> None:
    assert violations(module_of(Path(path), text))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("models/ranking/deepfm.py", "from transforms.features import FeatureSet"),
        ("models/ranking/deepfm.py", "from transforms import features"),
        ("models/training/fit.py", "from evaluation.pointwise import auc"),
        ("evaluation/catalogue.py", "import numpy as np\nfrom transforms.errors import InputError"),
        ("serving/export/export.py", "from models.ranking.deepfm import DeepFM\nfrom transforms.input import read"),
        ("runs/evaluate.py", "import tensorflow_transform as tft\nfrom evaluation.pointwise import auc"),
        (
            "tfx_pipeline/pipeline.py",
            "from runs.plan import Plan\nfrom tfx import v1 as tfx\nimport apache_beam as beam",
        ),
        ("consort/cli/bench.py", "from benchmarks.train import measure"),
        ("consort/cli/table.py", "from experiments.mutual.page import render"),
        ("serving/client/predict_client.py", "import grpc\nfrom serving.tensors import to_proto"),
        ("benchmarks/train.py", "from consort.config import load_config"),
    ],
)
def test_an_allowed_import_passes(path: str, text: str) -> None:
    assert violations(module_of(Path(path), text)) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"runs/a.py": "from runs.b import f", "runs/b.py": "import numpy"}, []),
        ({"runs/a.py": "from runs.b import f", "runs/b.py": "from runs.a import g"}, [["runs.a", "runs.b"]]),
        ({"runs/a.py": "from runs import b", "runs/b.py": "def f():\n    import runs.a"}, [["runs.a", "runs.b"]]),
        (
            {
                "runs/a.py": "from runs.b import f",
                "runs/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from runs.sub.c import C",
                "runs/sub/c.py": "from runs.a import g",
                "runs/d.py": "from runs.a import g",
            },
            [["runs.a", "runs.b", "runs.sub.c"]],
        ),
    ],
)
def test_cycles_are_found(files: dict[str, str], expected: list[list[str]]) -> None:
    assert cycles(module_of(Path(path), text) for path, text in files.items()) == expected


def _allowed(module: Module, name: str) -> bool:
    top = name.partition(".")[0]
    # `from transforms import features` yields the package first and the leaf next; the package alone is harmless.
    if top in MAY_IMPORT[module.room] or _is_leaf(name) or name == "transforms":
        return True
    if VERBS.get(module.name) == top:
        return True
    return _below(name, PUBLIC.get(module.room, ()))


def _is_leaf(name: str) -> bool:
    return _below(name, LEAVES)


def _below(name: str, modules: Iterable[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _edges(module: Module, by_name: dict[str, Module]) -> Iterator[str]:
    """Modules that a module imports; `from a import b` counts for `a` only where `b` is no module."""
    for imported in imports(module):
        name = imported.name
        while name and name not in by_name:
            name = name.rpartition(".")[0]
        package = name and by_name[name].path.name == "__init__.py"
        if name and name != module.name and not package:
            yield name


def _reachable(start: str, graph: dict[str, list[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen
