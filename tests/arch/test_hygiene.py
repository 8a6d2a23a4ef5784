"""What must not lie in the tree: paths of one machine, notes to self, hosts of package registries, empty tests."""

import ast
import re

import pytest

from tests.helpers.source_tree import ROOT, files, test_modules

# Written in two halves, so that this file does not hold what it looks for.
MACHINE_PATHS = re.compile(r"/(?:ho" r"me|ro" r"ot|Use" r"rs|wo" r"rk)/[\w.]")
NOTES = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
REGISTRIES = re.compile(r"(?:py" r"pi\.org|python" r"hosted\.org|npm" r"js\.(?:org|com)|anaconda\.(?:org|com))")
TEXT = {
    "",
    ".py",
    ".md",
    ".toml",
    ".yaml",
    ".yml",
    ".json",
    ".lock",
    ".bazel",
    ".txt",
    ".sh",
    ".cfg",
    ".html",
    ".config",
}


def offences(text: str) -> list[str]:
    """Lines with something that must not be there."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in (("machine path", MACHINE_PATHS), ("note", NOTES), ("registry host", REGISTRIES)):
            if pattern.search(line):
                found.append(f"{number}: {what}: {line.strip()[:100]}")
    return found


def test_the_tree_holds_no_machine_paths_notes_or_registry_hosts() -> None:
    found = []
    for path in files():
        if path.suffix in TEXT:
            found += [f"{path}:{offence}" for offence in offences((ROOT / path).read_text(errors="replace"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    ["see /ho" + "me/ann/data", "# TO" + "DO: later", "pip install -i https://py" + "pi.org/simple x", "# FIX" + "ME"],
)
def test_what_must_not_be_there_is_found(line: str) -> None:
    assert offences(line)


@pytest.mark.parametrize("line", ["workers", "the tree's root/leaf", "framework/x", "VALUES XX", "todos: list"])
def test_innocent_lines_pass(line: str) -> None:
    assert offences(line) == []


def test_names_of_test_files_are_unique() -> None:
    names = [module.path.name for module in test_modules() if module.path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_test_folders_are_no_packages() -> None:
    assert [module.path for module in test_modules() if module.path.name == "__init__.py"] == []


def test_no_test_is_marked_to_fail_or_to_be_skipped_always() -> None:
    marks = {"xfail", "skip"}
    found = []
    for module in test_modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and node.attr in marks and ast.unparse(node.value) == "pytest.mark":
                found.append(f"{module.path}:{node.lineno}: {node.attr}")
    # The one in conftest.py takes real_data tests out where there is no real data.
    assert [line for line in found if not line.startswith("tests/conftest.py")] == []
