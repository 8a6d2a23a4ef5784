"""Builds the wheel: each package of the checkout becomes a subpackage of `consort`.

In a checkout `models/`, `serving/` and the others are top-level packages, and the code imports them so. Such names are
too common to install: in a project with a `models/` of its own, one of the two would hide the other. So the wheel holds
`consort/models/`, `consort/serving/` and so on, with the imports and the dotted paths in the code rewritten to match.
Everything else about the build is in pyproject.toml.
"""

import ast
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PACKAGES: tuple[str, ...] = runpy.run_path(str(ROOT / "transforms" / "packages.py"))["PACKAGES"]
_PACKAGE = rf"(?:{'|'.join(PACKAGES)})"
_DOTTED_STRING = re.compile(rf"""(f?["'])({_PACKAGE})\.(\w*)""")


def with_prefix(text: str, path: str) -> str:
    """The source of a module with every package named as a subpackage of `consort`.

    Args:
      text: the source.
      path: where it stands, for the error.

    Raises:
      ValueError: `import models.layers.mlp` without `as`: what it binds cannot be renamed safely.
    """
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text, path)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and _is_ours(node.module or ""):
            _replace(lines, node.lineno, rf"\bfrom (?={_PACKAGE}\b)", "from consort.")
        elif isinstance(node, ast.Import) and any(_is_ours(alias.name) for alias in node.names):
            (alias,) = node.names[:1]
            if len(node.names) > 1 or (alias.asname is None and "." in alias.name):
                raise ValueError(f"{path}:{node.lineno}: import {alias.name}; expected `from ... import ...`")
            _replace(lines, node.lineno, r"\bimport ", "import consort." if alias.asname else "from consort import ")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.lineno == node.end_lineno:
            _replace(lines, node.lineno, _DOTTED_STRING, _prefixed_string)
    return "".join(lines)


class BuildUnderOnePackage(build_py):
    """`build_py` that rewrites each module that it copies."""

    def build_module(self, module: str, module_file: str, package: str) -> tuple[str, bool]:
        outfile, copied = super().build_module(module, module_file, package)
        Path(outfile).write_text(with_prefix(Path(module_file).read_text(), module_file))
        return outfile, copied


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in PACKAGES


def _replace(
    lines: list[str],
    number: int,
    pattern: str | re.Pattern[str],
    replacement: str | Callable[[re.Match[str]], str],
) -> None:
    lines[number - 1] = re.sub(pattern, replacement, lines[number - 1])


def _prefixed_string(match: re.Match[str]) -> str:
    quote, package, name = match.groups()
    if any(path.suffix in ("", ".py") for path in (ROOT / package).glob(f"{name}*")):
        return f"{quote}consort.{package}.{name}"
    return match.group()


if __name__ == "__main__":
    packages = find_packages(
        str(ROOT), include=[name for package in (*PACKAGES, "consort") for name in (package, f"{package}.*")]
    )
    if "editable_wheel" in sys.argv:
        setup(packages=packages)
    else:
        setup(
            packages=[f"consort.{name}" if _is_ours(name) else name for name in packages],
            package_dir={f"consort.{package}": package for package in PACKAGES},
            cmdclass={"build_py": BuildUnderOnePackage},
        )
