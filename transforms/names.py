"""Names of columns, features and vocabularies: only such as every part that gets them can take."""

import keyword
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

MAX_NAME_LENGTH, MAX_LIST_NAME_LENGTH = 100, 90
"""In characters; what belongs to a list has its name and an ending."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TAKEN = frozenset({*keyword.kwlist, "self"})
"""No function can have an argument of that name, and TensorFlow calls signatures with their inputs as arguments."""


def _checked(name: str) -> str:
    if name in _TAKEN:
        raise ValueError(f"name {name!r}; expected a name that is no word of a program, such as class; rename it")
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
        raise ValueError(
            f"name {name!r}; expected a letter from A to Z or a to z, then such letters, digits and underscores, at "
            f"most {MAX_NAME_LENGTH} characters, as model inputs and files have that name; rename it"
        )
    return name


Name = Annotated[str, AfterValidator(_checked)]
"""A name that TensorFlow, TensorFlow Transform, TensorFlow Serving, and every file system take as it is."""


def refuse_alike(kind: str, names: Iterable[str]) -> None:
    """Refuses equal names, and names that differ by case alone: files and TensorFlow's scopes mix them up.

    Raises:
      ValueError: two are alike.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.get(name.lower())
        if other == name:
            raise ValueError(f"{kind} {name!r} is declared twice; give each {kind} a name of its own")
        if other is not None:
            raise ValueError(f"{kind} names {other!r} and {name!r} differ only by case; rename one of them")
        seen[name.lower()] = name


_FORMER_NAMES = {"space": "vocabulary", "spaces": "vocabularies"}


def with_current_names(values: Any) -> Any:
    """Returns a declaration in which the keys of the first datasets, exports and run files have their present names."""
    if not isinstance(values, Mapping):
        return values
    return {_FORMER_NAMES.get(name, name): value for name, value in values.items()}
