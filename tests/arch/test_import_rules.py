"""Rooms import only downwards (docs: CONTRIBUTING.md)."""

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.helpers.source_tree import LEAVES, ROOMS, Module, imports, module_of, modules

MAY_IMPORT = {
    "evaluation": {"evaluation"},
    "transforms": {"transforms", "evaluation"},
    "models": {"models", "evaluation"},
    "serving": {"serving", "models", "evaluation", "transforms"},
    "tfx_pipeline": {"tfx_pipeline", "serving", "models", "evaluation", "transforms"},
    "benchmarks": {"benchmarks", "tfx_pipeline", "serving", "models", "evaluation", "transforms"},
    "experiments": {"experiments", "benchmarks", "tfx_pipeline", "serving", "models", "evaluation", "transforms"},
    "consort": set(ROOMS),
}
# Their modules; a Dataflow worker, a trainer or a client must come up without them.
NOT_IN_MODELS = {"apache_beam", "tensorflow_transform", "tfx", "tfx_bsl"}
NO_TENSORFLOW = (
    "serving.client",
    "serving.contract",
    "serving.protocol",
    "serving.server",
    "serving.tensors",
    "serving.versions",
)


def offences(module: Module) -> list[str]:
    """Imports of `module` that the rules forbid, one line each."""
    found = []
    for imported in imports(module):
        top = imported.name.partition(".")[0]
        if top in ROOMS and not _allowed(module, imported.name):
            found.append(f"{module.path}:{imported.line}: {module.room} imports {imported.name}")
        if module.room == "models" and top in NOT_IN_MODELS:
            found.append(f"{module.path}:{imported.line}: models imports {imported.name}")
        if module.room == "evaluation" and top not in {*sys.stdlib_module_names, *ROOMS, "numpy"}:
            found.append(f"{module.path}:{imported.line}: evaluation imports {imported.name}")
        if _below(module.name, NO_TENSORFLOW) and top in {"tensorflow", "tf_keras"}:
            found.append(f"{module.path}:{imported.line}: {module.name} imports {imported.name}")
        if module.name in LEAVES and top in ROOMS and not _is_leaf(imported.name):
            found.append(f"{module.path}:{imported.line}: a leaf imports {imported.name}")
    return found


def test_rooms_import_only_downwards() -> None:
    found = [offence for module in modules() for offence in offences(module)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("transforms/beam/reader.py", "import models.layers.fm"),
        ("transforms/input.py", "def read():\n    from serving.contract import Contract"),
        ("models/layers/fm.py", "from transforms.batches import Batch"),
        ("models/layers/fm.py", "from transforms import batches"),
        ("models/layers/fm.py", "import apache_beam as beam"),
        ("models/training/fit.py", "def fit():\n    import tensorflow_transform as tft"),
        ("evaluation/pointwise.py", "from models.layers import fm"),
        ("evaluation/pointwise.py", "from scipy import stats"),
        ("serving/export/export.py", "from tfx_pipeline import nodes"),
        ("tfx_pipeline/pipeline.py", "from consort.demo import run"),
        ("benchmarks/train.py", "from consort import __main__"),
        ("experiments/pool.py", "from consort.cli.output import say"),
        ("tfx_pipeline/pipeline.py", "from experiments.statistics import paired"),
        ("serving/client/predict_client.py", "import tensorflow as tf"),
        ("serving/server/servable.py", "import tensorflow as tf"),
        ("transforms/errors.py", "from transforms.batches import Batch"),
        ("consort/config.py", "from models.ranking.deepfm import DeepFM"),
    ],
)
def test_a_forbidden_import_is_found(path: str, text: str) -> None:
    assert offences(module_of(Path(path), text))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("models/ranking/deepfm.py", "from transforms.features import FeatureSet"),
        ("models/ranking/deepfm.py", "from transforms import features"),
        ("models/training/fit.py", "from consort.config import TrainingConfig"),
        ("models/training/fit.py", "from evaluation.pointwise import auc"),
        ("evaluation/catalogue.py", "import numpy as np\nfrom transforms.errors import InputError"),
        ("serving/export/export.py", "from models.ranking.deepfm import DeepFM\nfrom transforms.input import read"),
        ("tfx_pipeline/pipeline.py", "from serving.export import export\nimport apache_beam as beam"),
        ("consort/train.py", "from benchmarks.train import measure"),
        ("consort/cli/table.py", "from experiments.mutual.page import render"),
        ("serving/client/predict_client.py", "import grpc\nfrom serving.tensors import to_proto"),
        ("benchmarks/train.py", "from consort.config import load_config"),
    ],
)
def test_an_allowed_import_passes(path: str, text: str) -> None:
    assert offences(module_of(Path(path), text)) == []


def _allowed(module: Module, name: str) -> bool:
    # `from transforms import features` yields the package first and the leaf next; the package alone is harmless.
    return name.partition(".")[0] in MAY_IMPORT[module.room] or _is_leaf(name) or name in {"transforms", "consort"}


def _is_leaf(name: str) -> bool:
    return _below(name, LEAVES)


def _below(name: str, modules: Iterable[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)
