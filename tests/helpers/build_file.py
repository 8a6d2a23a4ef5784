"""Reads Bazel's BUILD: Starlark's syntax is Python's, so the file is run with rules that note what they are given."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RULES = ("py_library", "py_test", "py_binary", "genrule", "filegroup")


@dataclass(frozen=True)
class Target:
    """One target of a BUILD file.

    Args:
      attributes: as written, with globs replaced by the files that they match.
    """

    rule: str
    name: str
    attributes: dict[str, Any] = field(default_factory=dict)

    def strings(self, attribute: str) -> list[str]:
        """A list attribute; empty where it is not given."""
        return list(self.attributes.get(attribute, []))


def read_build(text: str, root: Path) -> dict[str, Target]:
    """The targets of a BUILD file that stands in `root`, by name.

    Raises:
      ValueError: two targets of one name, or a glob that matches nothing and does not say that it may.
    """
    targets: dict[str, Target] = {}

    def rule_named(rule: str) -> Any:
        def note(name: str, **attributes: Any) -> None:
            if name in targets:
                raise ValueError(f"two targets are called {name!r}")
            targets[name] = Target(rule, name, attributes)

        return note

    def glob(include: list[str], exclude: list[str] = [], allow_empty: bool = False) -> list[str]:  # noqa: B006
        matched = {path for pattern in include for path in _matching(root, pattern)}
        matched -= {path for pattern in exclude for path in _matching(root, pattern)}
        if not matched and not allow_empty:
            raise ValueError(f"glob({include}) matches nothing")
        return sorted(matched)

    names: dict[str, Any] = {rule: rule_named(rule) for rule in RULES}
    names |= {"glob": glob, "requirement": lambda name: f"@pypi//{name}"}
    names |= {"load": lambda *_: None, "package": lambda **_: None, "__builtins__": {}}
    exec(compile(text, "BUILD", "exec"), names)  # our own file, and without builtins
    return targets


def _matching(root: Path, pattern: str) -> list[str]:
    # Bazel's `**` at the end means files at any depth, which pathlib spells `**/*`.
    spelled = f"{pattern}/*" if pattern.endswith("**") else pattern
    found = (path for path in root.glob(spelled) if path.is_file() and "__pycache__" not in path.parts)
    return [path.relative_to(root).as_posix() for path in found]
