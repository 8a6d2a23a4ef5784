"""requirements.lock: everything pinned with hashes, no host named, within the ranges of pyproject.toml."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.source_tree import ROOT

LOCK = (ROOT / "requirements.lock").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins() -> dict[str, set[str]]:
    """Versions of each package; markers can give one package two."""
    found: dict[str, set[str]] = {}
    for entry in _entries():
        requirement = Requirement(entry[0])
        versions = {specifier.version for specifier in requirement.specifier if specifier.operator == "=="}
        found.setdefault(canonicalize_name(requirement.name), set()).update(versions)
    return found


def test_the_lock_names_no_host() -> None:
    assert "://" not in LOCK
    assert not re.findall(r"(?i)\b[\w-]+\.(?:com|org|net|io|dev|cloud)\b", LOCK)
    assert "--index" not in LOCK
    assert "--find-links" not in LOCK


def test_every_package_is_pinned_exactly_and_has_hashes() -> None:
    for requirement, *hashes in _entries():
        specifiers = list(Requirement(requirement).specifier)
        assert [specifier.operator for specifier in specifiers] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", text) for text in hashes), requirement


def test_every_declared_range_is_met_by_the_pin() -> None:
    pinned = pins()
    for text in _declared():
        requirement = Requirement(text)
        versions = pinned.get(canonicalize_name(requirement.name), set())
        assert versions, f"{requirement.name} is declared and not in the lock"
        assert all(requirement.specifier.contains(version) for version in versions), f"{text}: locked {versions}"


def test_uv_lock_is_not_kept() -> None:
    assert "uv.lock" in (ROOT / ".gitignore").read_text().split()


def _entries() -> list[list[str]]:
    joined = re.sub(r"\\\n\s+", "\t", LOCK)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [[part.strip() for part in line.split("\t")] for line in lines]


def _declared() -> list[str]:
    groups = PYPROJECT["dependency-groups"]
    return [*PYPROJECT["project"]["dependencies"], *groups["pipeline"], *groups["dev"]]
