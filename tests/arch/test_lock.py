"""The lock of each line: everything pinned with hashes, no host named, within the ranges of pyproject.toml."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from consort.version_line import LINES, VersionLine
from tests.helpers.source_tree import ROOT

EACH_LINE = pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(line: VersionLine) -> dict[str, set[str]]:
    """Versions of each package; markers can give one package two."""
    found: dict[str, set[str]] = {}
    for entry in _entries(line):
        requirement = Requirement(entry[0])
        versions = {specifier.version for specifier in requirement.specifier if specifier.operator == "=="}
        found.setdefault(canonicalize_name(requirement.name), set()).update(versions)
    return found


@EACH_LINE
def test_the_lock_names_no_host(line: VersionLine) -> None:
    text = (ROOT / line.lock).read_text()
    assert "://" not in text
    assert not re.findall(r"(?i)\b[\w-]+\.(?:com|org|net|io|dev|cloud)\b", text)
    assert "--index" not in text
    assert "--find-links" not in text


@EACH_LINE
def test_every_package_is_pinned_exactly_and_has_hashes(line: VersionLine) -> None:
    for requirement, *hashes in _entries(line):
        specifiers = list(Requirement(requirement).specifier)
        assert [specifier.operator for specifier in specifiers] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", text) for text in hashes), requirement


@EACH_LINE
def test_every_declared_range_is_met_by_the_pin(line: VersionLine) -> None:
    pinned = pins(line)
    for text in _declared(line):
        requirement = Requirement(text)
        versions = pinned.get(canonicalize_name(requirement.name), set())
        assert versions, f"{requirement.name} is declared and not in the lock"
        assert all(requirement.specifier.contains(version) for version in versions), f"{text}: locked {versions}"


def test_uv_lock_is_not_kept() -> None:
    assert "uv.lock" in (ROOT / ".gitignore").read_text().split()


@EACH_LINE
def test_the_pins_are_those_of_the_line(line: VersionLine) -> None:
    pinned = pins(line)
    assert all(version.startswith(f"{line.name}.") for version in pinned["tfx"])
    assert all(version.startswith(f"{line.tensorflow}.") for version in pinned["tensorflow"])


def _entries(line: VersionLine) -> list[list[str]]:
    joined = re.sub(r"\\\n\s+", "\t", (ROOT / line.lock).read_text())
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [[part.strip() for part in line.split("\t")] for line in lines]


def _declared(line: VersionLine) -> list[str]:
    groups = PYPROJECT["dependency-groups"]
    return [*PYPROJECT["project"]["dependencies"], *groups[f"line-{line.name}"], *groups["dev"]]
