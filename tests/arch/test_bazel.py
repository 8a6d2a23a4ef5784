"""BUILD covers every room and every test file, agrees with pyproject.toml, and names the packages that rooms import."""

import sys
import tomllib
from functools import lru_cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.helpers.build_file import Target, read_build
from tests.helpers.source_tree import LEAVES, ROOMS, ROOT, Module, imports, modules, test_modules

# Extras that the lock does not hold; the code asks for them when they are needed and can do without.
OPTIONAL = {"faiss", "scann", "deepctr", "fuxictr", "torch"}


@lru_cache(maxsize=1)
def targets() -> dict[str, Target]:
    return read_build((ROOT / "BUILD").read_text(), ROOT)


def test_every_room_is_a_library_with_all_its_modules() -> None:
    for room in ROOMS:
        target = targets()[room]
        assert target.rule == "py_library"
        present = {module.path.as_posix() for module in modules() if module.room == room}
        assert present == set(target.strings("srcs")) | (present & set(targets()["leaves"].strings("srcs")))


def test_leaves_are_the_leaves_and_their_packages() -> None:
    expected = {f"{leaf.replace('.', '/')}.py" for leaf in LEAVES}
    assert set(targets()["leaves"].strings("srcs")) == expected | {"transforms/__init__.py"}


def test_every_test_file_is_a_py_test() -> None:
    tested = {source for target in targets().values() if target.rule == "py_test" for source in target.strings("srcs")}
    present = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    assert present <= tested


def test_every_file_that_build_names_exists() -> None:
    for target in targets().values():
        for source in target.strings("srcs") + target.strings("data"):
            assert source.startswith(":") or (ROOT / source).is_file(), f"{target.name} names {source}"


def test_every_label_and_requirement_exists() -> None:
    lock = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    for target in targets().values():
        for dependency in target.strings("deps"):
            if dependency.startswith(":"):
                assert dependency[1:] in targets(), f"{target.name} depends on {dependency}"
            else:
                assert dependency.removeprefix("@pypi//") in lock, f"{target.name} depends on {dependency}"


@pytest.mark.parametrize("room", [*ROOMS, "tests"])
def test_packages_that_a_room_imports_are_among_its_requirements(room: str) -> None:
    declared = _requirements("tests_support") | {name for other in ROOMS for name in _requirements(other)}
    declared = declared if room == "tests" else _requirements(room)
    checked = test_modules() if room == "tests" else [module for module in modules() if module.room == room]
    missing = {f"{path}: {name}" for module in checked for path, name in _undeclared(module, declared)}
    assert not missing, f"add requirement(...) to {room} in BUILD:\n" + "\n".join(sorted(missing))


def test_the_wheel_agrees_with_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name = project["name"].replace("-", "_")
    assert targets()["wheel"].strings("outs") == [f"{name}-{project['version']}-py3-none-any.whl"]


def test_module_bazel_reads_the_lock_for_python_3_11() -> None:
    text = (ROOT / "MODULE.bazel").read_text()
    assert 'requirements_lock = "//:requirements.lock"' in text
    assert text.count('python_version = "3.11"') == 2


def test_reader_replaces_globs_and_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "room" / "inner").mkdir(parents=True)
    for name in ("room/a.py", "room/inner/b.py", "room/c.txt"):
        (tmp_path / name).touch()
    text = 'py_library(name = "room", srcs = glob(["room/**/*.py"], exclude = ["room/a.py"]))'
    assert read_build(text, tmp_path)["room"].strings("srcs") == ["room/inner/b.py"]
    tree = 'filegroup(name = "tree", srcs = glob(["room/**"]))'
    assert read_build(tree, tmp_path)["tree"].strings("srcs") == ["room/a.py", "room/c.txt", "room/inner/b.py"]
    with pytest.raises(ValueError, match="two targets"):
        read_build(f"{text}\n{text}", tmp_path)
    with pytest.raises(ValueError, match="matches nothing"):
        read_build('py_library(name = "x", srcs = glob(["nowhere/*.py"]))', tmp_path)


def _requirements(name: str) -> set[str]:
    """Packages that a target gets, its own and those of the targets that it depends on."""
    found: set[str] = set()
    for dependency in targets()[name].strings("deps"):
        local = dependency.startswith(":")
        found |= _requirements(dependency[1:]) if local else {dependency.removeprefix("@pypi//")}
    return found


def _undeclared(module: Module, declared: set[str]) -> list[tuple[Path, str]]:
    found = []
    for imported in imports(module):
        top = imported.name.partition(".")[0]
        ours = top in ROOMS or top == "tests" or top in OPTIONAL or top in sys.stdlib_module_names
        providers = {canonicalize_name(name) for name in _distributions().get(top, [])}
        if not ours and not providers & declared:
            found.append((module.path, top))
    return found


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
