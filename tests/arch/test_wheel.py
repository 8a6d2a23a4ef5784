"""The wheel holds every module and every file that they read, all below `consort`, and works from there."""

import ast
import os
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy
import pytest

from tests.helpers.source_tree import ROOMS, ROOT
from transforms.packages import PACKAGES

WITH_PREFIX = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")["with_prefix"]


def test_packages_are_all_but_the_front_door() -> None:
    assert set(PACKAGES) == set(ROOMS) - {"consort"}


def test_it_holds_every_module_and_every_file_that_they_read(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    present = {
        path
        for room in ROOMS
        for kind in ("*.py", "*.yaml", "*.txt", "templates/*.md")
        for path in (ROOT / room).rglob(kind)
    }
    paths = {path.relative_to(ROOT).as_posix() for path in present}
    assert held == {path if path.startswith("consort/") else f"consort/{path}" for path in paths}


def test_it_brings_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    held = {Path(name).name: name for name in wheel.namelist() if ".dist-info/" in name}
    assert wheel.read(held["entry_points.txt"]).decode().split("\n")[:2] == [
        "[console_scripts]",
        "consort = consort.__main__:main",
    ]
    assert b"Apache License" in wheel.read(held["LICENSE"])


def test_no_module_of_it_imports_a_top_level_package_of_the_checkout(wheel: zipfile.ZipFile) -> None:
    for name in wheel.namelist():
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(wheel.read(name))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {imported.partition(".")[0] for imported in names} & set(PACKAGES), name


def test_it_works_beside_a_project_with_packages_of_the_same_names(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "installed")
    for package in PACKAGES:
        (tmp_path / "project" / package).mkdir(parents=True)
        (tmp_path / "project" / package / "__init__.py").write_text("MINE = True\n")
    code = f"""
import importlib
assert all(importlib.import_module(name).MINE for name in {PACKAGES})
import consort
from consort.models.registry import build_model, MODELS
from consort.transforms.sources.registry import SOURCES
assert all(path.startswith("consort.models.") for path in MODELS.values())
import consort.tfx_pipeline.nodes as nodes
module, _, name = nodes.RUN_FN.rpartition(".")
assert callable(getattr(importlib.import_module(module), name))
import consort.__main__ as front_door
import sys
sys.argv = ["consort", "data", "simulate", "--out", "data", "--requests", "50"]
front_door.main()
"""
    # -S leaves out the editable install of the checkout, which would lend its packages.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(("../installed", str(Path(numpy.__file__).parents[1])))}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path / "project", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "project" / "data" / "dataset.json").is_file()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from models.layers.mlp import MLP\n", "from consort.models.layers.mlp import MLP\n"),
        ("def f():\n    from serving import export\n", "def f():\n    from consort.serving import export\n"),
        ("import serving.export as export\n", "import consort.serving.export as export\n"),
        ("import serving\n", "from consort import serving\n"),
        ('NAME = "models.layers.mlp.MLP"\n', 'NAME = "consort.models.layers.mlp.MLP"\n'),
        ('NAME = "models.weights"\n', 'NAME = "models.weights"\n'),
        ('"""See models.layers.mlp."""\n', '"""See models.layers.mlp."""\n'),
        ("from modelsmith import x\nmodels = 1\n", "from modelsmith import x\nmodels = 1\n"),
    ],
)
def test_names_of_packages_get_the_prefix(text: str, expected: str) -> None:
    assert WITH_PREFIX(text, "a.py") == expected


def test_an_import_that_cannot_be_renamed_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"a\.py:1: import models\.layers; expected"):
        WITH_PREFIX("import models.layers\n", "a.py")


def test_a_checkout_offers_the_names_of_the_wheel() -> None:
    code = """
import consort, pickle
from consort.transforms.features import FeatureSet
from transforms.features import FeatureSet as same
import consort.transforms.features as module
assert FeatureSet is same and module.__spec__.name == "transforms.features" and module.__name__ == "transforms.features"
assert pickle.loads(pickle.dumps(FeatureSet)) is same
try:
    import consort.models.no_such_module
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "No module named 'models.no_such_module'\n"
