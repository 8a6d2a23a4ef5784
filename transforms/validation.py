"""Mappings of YAML files, and errors of pydantic and of constructors as input errors in plain words."""

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from transforms.errors import InputError
from transforms.import_path import nearest
from transforms.plain_text import parse_yaml

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping of keys to values",
    "mapping": "a mapping of keys to values",
    "model": "a mapping of keys to values",
    "finite_number": "a finite number",
    "too_short": "at least one value",
}
"""What pydantic's types of errors expect, by what their names begin with."""
_BOUNDS = {"ge": "{} or more", "gt": "more than {}", "le": "{} or less", "lt": "less than {}"}
_TYPES = ("bool", "int", "float", "str", "enum")
_SENTENCE = re.compile(r"(.*?)[;,] expected (.*?)[;:] (.*)", re.DOTALL)


def read_mapping(path: str | os.PathLike[str], what: str, page: str, fix: str = "correct the path") -> dict[Any, Any]:
    """Returns the mapping in a YAML file.

    Args:
      path: of the file.
      what: the file is, for the message where there is none.
      page: of the docs that shows one.
      fix: of a path without a file.

    Raises:
      InputError: no such file, not YAML, or no mapping.
    """
    try:
        values = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(str(path), "no such file", what, fix) from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        received = f"text that is not YAML ({' '.join(str(error).split())})"
        raise InputError(str(path), received, "a YAML mapping", "correct it") from error
    if not isinstance(values, dict):
        received = "an empty file" if values is None else "a list" if isinstance(values, list) else "a single value"
        raise InputError(str(path), received, "a YAML mapping of keys to values", f"see {page}")
    return values


def input_error(
    error: ValidationError, where: str, known: Iterable[str] | Callable[[Sequence[str]], Iterable[str]] = ()
) -> InputError:
    """Returns the first error of pydantic in our words; of several one of sections or keys, which may cause the others.

    Args:
      error: of a model.
      where: the file or option that held the values.
      known: keys that may stand where an unknown one stands; or a function from the keys above it to these.
    """
    errors = error.errors()
    first = min(errors, key=lambda one: one["type"] not in ("extra_forbidden", "model_type"))
    location, cause = _keys_of(first), first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        is_full_key = cause.where.startswith("key ")  # Else it is below that of the section.
        key = ".".join(filter(None, (*location, cause.where)))
        place = f"{where}, {cause.where}" if is_full_key else _place(where, key)
        return InputError(place, cause.received, cause.expected, cause.fix)
    place = _place(where, ".".join(location))
    if first["type"] == "extra_forbidden":
        keys = list(known(location[:-1]) if callable(known) else known)
        return InputError(place, "an unknown key", f"one of {', '.join(keys)}", nearest(location[-1], keys))
    if first["type"] == "missing":
        return InputError(place, "nothing", "a value", "give one")
    received = json.dumps(first["input"], default=repr) if first["input"] is None else repr(first["input"])
    if isinstance(cause, ValueError):
        return as_input_error(cause, place, "another value", "correct the value")
    # One that may have several types has an error of each.
    alike = [one for one in errors if _keys_of(one) == location]
    expected = " or ".join(dict.fromkeys(map(expected_by, alike)))
    options = [option for one in alike for option in re.findall("'([^']*)'", one.get("ctx", {}).get("expected", ""))]
    close = difflib.get_close_matches(str(first["input"]), options, n=1)
    fix = "correct the value"
    if expected == "text" and isinstance(first["input"], bool | int | float | date):
        fix = "put it in quotes"
    return InputError(place, received, expected, f"did you mean {close[0]!r}?" if close else fix)


def _place(where: str, key: str) -> str:
    return f"{where}, key {key!r}" if key else where


def _keys_of(error: Any) -> tuple[str, ...]:
    """Returns where an error stands, without pydantic's names of the types that a value may have."""
    parts = [str(part) for part in error["loc"] if part != "[key]"]
    while parts and (
        parts[-1] in _TYPES or parts[-1].startswith(("literal[", "str-enum[", "constrained-", "function-"))
    ):
        parts.pop()
    return tuple(parts)


def expected_by(first: Any) -> str:
    """Returns what one of pydantic's errors expects, e.g. `a whole number` or `1 or more`."""
    for name, bound in first.get("ctx", {}).items():
        if name in _BOUNDS:
            return _BOUNDS[name].format(bound)
    if first["type"] == "string_too_long":
        length = first["ctx"]["max_length"]
        return "one character" if length == 1 else f"text of at most {length} characters"
    if first["type"] in ("literal_error", "enum"):
        options = re.split(", | or ", first["ctx"]["expected"])
        return f"one of {', '.join(options)}" if len(options) > 1 else options[0]
    if first["type"] == "string_pattern_mismatch":
        return f"text of the form {first['ctx']['pattern']}"
    kind = next((words for start, words in _KINDS.items() if first["type"].startswith(start)), None)
    return kind or str(first["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")


def as_input_error(error: Exception, where: str, expected: str, fix: str) -> InputError:
    """Returns an error of a constructor, `RECEIVED; expected EXPECTED; FIX`, as one of the input.

    Args:
      error: what a constructor raised.
      where: the key or file that held the values.
      expected, fix: of an error that has another form.
    """
    sentence = _SENTENCE.fullmatch(str(error))
    return InputError(where, *sentence.groups()) if sentence else InputError(where, str(error), expected, fix)
