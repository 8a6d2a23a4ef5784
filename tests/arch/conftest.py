"""The wheel, built once."""

import subprocess
import sys
import zipfile
from shutil import copytree, ignore_patterns

import pytest

from tests.helpers.source_tree import ROOMS, ROOT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    # In a copy: setuptools leaves build/ and egg-info behind. By its own hook: an environment made by uv has no pip.
    copy = tmp_path_factory.mktemp("source")
    for room in ROOMS:
        copytree(ROOT / room, copy / room, ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    built = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", built], cwd=copy, capture_output=True, text=True, check=True
    )
    return zipfile.ZipFile(copy / "dist" / done.stdout.splitlines()[-1])
