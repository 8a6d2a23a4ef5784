"""The wheel that pyproject.toml describes holds every module and every preset, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from tests.helpers.source_tree import ROOMS, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    # In a copy: setuptools leaves build/ and egg-info behind. By its own hook: an environment made by uv has no pip.
    copy = tmp_path_factory.mktemp("source")
    for room in ROOMS:
        copytree(ROOT / room, copy / room, ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    built = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", built], cwd=copy, capture_output=True, text=True, check=True
    )
    return zipfile.ZipFile(copy / "dist" / done.stdout.splitlines()[-1])


def test_it_holds_every_module_and_every_file_that_they_read(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    present = {path for room in ROOMS for kind in ("*.py", "*.yaml", "*.txt") for path in (ROOT / room).rglob(kind)}
    assert held == {path.relative_to(ROOT).as_posix() for path in present}


def test_it_brings_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    held = {Path(name).name: name for name in wheel.namelist() if ".dist-info/" in name}
    assert wheel.read(held["entry_points.txt"]).decode().split("\n")[:2] == [
        "[console_scripts]",
        "consort = consort.__main__:main",
    ]
    assert b"Apache License" in wheel.read(held["LICENSE"])
