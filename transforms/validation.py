"""Errors of pydantic and of constructors, as input errors in plain words."""

import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from transforms.errors import InputError
from transforms.import_path import nearest

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
_SENTENCE = re.compile(r"(.*?)[;,] expected (.*?)[;:] (.*)", re.DOTALL)


def input_error(error: ValidationError, where: str, known: Iterable[str] = ()) -> InputError:
    """Returns the first error of pydantic in our words.

    Args:
      error: of a model.
      where: the file or option that held the values.
      known: keys that may stand where an unknown one stands.
    """
    first = error.errors()[0]
    key, cause = ".".join(str(part) for part in first["loc"]), first.get("ctx", {}).get("error")
    place = f"{where}, key {key!r}" if key else where
    if isinstance(cause, InputError):
        return InputError(f"{where}, {cause.where}", cause.received, cause.expected, cause.fix)
    if first["type"] == "extra_forbidden":
        return InputError(place, "an unknown key", f"one of {', '.join(known)}", nearest(key, known))
    if first["type"] == "missing":
        return InputError(place, "nothing", "a value", "give one")
    received = json.dumps(first["input"], default=repr) if first["input"] is None else repr(first["input"])
    if isinstance(cause, ValueError):
        return as_input_error(cause, place, "another value", "correct the value")
    return InputError(place, received, expected_by(first), "correct the value")


def expected_by(first: Any) -> str:
    """Returns what one of pydantic's errors expects, e.g. `a whole number` or `1 or more`."""
    for name, bound in first.get("ctx", {}).items():
        if name in _BOUNDS:
            return _BOUNDS[name].format(bound)
    if first["type"] in ("literal_error", "enum"):
        return f"one of {first['ctx']['expected'].replace(' or ', ', ')}"
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
