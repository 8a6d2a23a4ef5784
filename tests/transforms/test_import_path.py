"""Classes by name: short, of an entry point, or an import path in the working directory."""

import subprocess
import sys
from pathlib import Path

import pytest

from transforms.errors import ConsortError, InputError
from transforms.import_path import Registry, nearest

REGISTRY = Registry(
    "thing", "toy.things", {"wrong": "transforms.errors.InputError", "part": "transforms.errors.MissingPart"}
)


def test_short_names_and_import_paths_lead_to_the_class() -> None:
    assert REGISTRY.find("wrong", ConsortError) is InputError
    assert REGISTRY.find("transforms.errors.InputError", ConsortError) is InputError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wrnog", r"thing: received 'wrnog'; expected one of wrong, part, or an import path.*did you mean 'wrong'\?"),
        ("zzz", "expected one of wrong, part.*choose one of these"),
        ("no_such_package.Thing", "No module named 'no_such_package'"),
        ("transforms.errors.InputEror", r"no 'InputEror' there; .*did you mean 'InputError'\?"),
        ("transforms.errors.annotations", "no 'annotations' there"),
        ("transforms.import_path.Registry", "a subclass of transforms.errors.ConsortError"),
        ("transforms.import_path.nearest", "a subclass of transforms.errors.ConsortError"),
    ],
)
def test_anything_else_is_refused_with_advice(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        REGISTRY.find(name, ConsortError)


def test_entry_points_of_installed_packages_have_short_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_errors.py").write_text(
        "from transforms.errors import ConsortError\nclass Late(ConsortError):\n    pass\n"
    )
    info = tmp_path / "toy_errors-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-errors\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[toy.things]\nlate = toy_errors:Late\nwrong = toy_errors:Late\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert REGISTRY.find("late", ConsortError).__module__ == "toy_errors"
    assert REGISTRY.find("wrong", ConsortError) is InputError  # what is built in comes first
    assert list(REGISTRY.paths()) == ["wrong", "part", "late"]


def test_the_working_directory_is_importable(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine(ValueError):\n    pass\n")
    code = (
        "import sys; sys.path = [entry for entry in sys.path if entry]\n"
        "from transforms.import_path import Registry\n"
        "print(Registry('thing', 'toy.things', {}).find('mine.Mine', ValueError).__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "mine\n"


def test_the_nearest_name_is_advised() -> None:
    assert nearest("deepfn", ["dcn", "deepfm"]) == "did you mean 'deepfm'?"
    assert nearest("q", ["dcn", "deepfm"]) == "choose one of these"
    assert nearest("q", []) == "leave it out"
