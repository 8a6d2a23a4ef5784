"""One idea a file, and a function can be seen at once."""

import ast
from pathlib import Path

from tests.helpers.source_tree import Module, module_of, modules, test_modules

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def offences(module: Module) -> list[str]:
    """What is too long in a module."""
    lines = len(module.text.splitlines())
    found = [f"{module.path}: {lines} lines, at most {MAX_FILE_LINES}"] if lines > MAX_FILE_LINES else []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found.append(
                    f"{module.path}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}"
                )
    return found


def test_files_and_functions_are_short() -> None:
    found = [offence for module in (*modules(), *test_modules()) for offence in offences(module)]
    assert not found, "\n".join(found)


def test_a_function_of_61_lines_is_found_and_one_of_60_is_not() -> None:
    body = "    x = 1\n"
    assert offences(module_of(Path("models/a.py"), "def f():\n" + body * 59)) == []
    assert "f has 61 lines" in offences(module_of(Path("models/a.py"), "def f():\n" + body * 60))[0]


def test_a_file_of_401_lines_is_found() -> None:
    assert offences(module_of(Path("models/a.py"), "x = 1\n" * 400)) == []
    assert offences(module_of(Path("models/a.py"), "x = 1\n" * 401)) == ["models/a.py: 401 lines, at most 400"]
