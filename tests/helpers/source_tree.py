"""The checkout as data: its files and modules, what each imports, as far as the tree can be read without running it."""

import ast
import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "evaluation",
    "transforms",
    "simulation",
    "models",
    "serving",
    "runs",
    "tfx_pipeline",
    "consort",
    "benchmarks",
    "experiments",
)
"""From the bottom: what follows may import what precedes."""
LEAVES = frozenset(
    {
        "transforms.columns",
        "transforms.features",
        "transforms.import_path",
        "transforms.errors",
        "transforms.files",
        "transforms.locks",
        "transforms.plain_text",
        "transforms.one_keras",
        "transforms.names",
        "transforms.packages",
        "transforms.progress",
    }
)
"""What every room may import."""


@dataclass(frozen=True)
class Module:
    """One Python file.

    Args:
      name: dotted, e.g. `models.layers.fm`; a package's `__init__` has the package's name.
      path: from the root.
    """

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Import:
    """One imported name: `from a.b import c` gives both `a.b` and `a.b.c`, because c may be a module."""

    name: str
    line: int


def module_of(path: Path, text: str) -> Module:
    """The module that stands at `path` (from the root)."""
    parts = path.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, path, text, ast.parse(text, filename=str(path)))


@lru_cache(maxsize=1)
def modules() -> tuple[Module, ...]:
    """The modules of all rooms, without the tests."""
    return tuple(_modules_below(ROOMS))


@lru_cache(maxsize=1)
def test_modules() -> tuple[Module, ...]:
    """The modules below tests/."""
    return tuple(_modules_below(("tests",)))


def imports(module: Module) -> Iterator[Import]:
    """Everything that a module imports, at its top or inside a function."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield Import(node.module or "", node.lineno)
            yield from (Import(f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def files() -> Iterator[Path]:
    """All files of the checkout that .gitignore does not name, from the root."""
    lines = (ROOT / ".gitignore").read_text().split()
    ignored = [line.strip("/") for line in lines] + [".git", "bazel-*"]
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if not _matches(name, ignored))
        yield from (Path(folder, name).relative_to(ROOT) for name in sorted(names) if not _matches(name, ignored))


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _modules_below(folders: tuple[str, ...]) -> Iterator[Module]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield module_of(path.relative_to(ROOT), path.read_text())
