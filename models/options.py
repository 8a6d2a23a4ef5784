"""Options of models and recipes: declared once, with their types, defaults and meanings."""

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from models.layers.arguments import checked_choice, checked_count
from transforms.import_path import nearest

Count = Annotated[int, "at least 1"]
"""The type of an option that is a whole number of at least 1."""


@dataclass(frozen=True)
class Options:
    """The options of a model or a recipe.

    A subclass is a frozen dataclass. Each of its fields is an option with a type and a default, and the `Args` of its
    docstring give the meanings. The constructor, the run file, `get_config`, the tables of the documentation and the
    advice for a misspelled name all come from there. The value of an option of the type `Literal` must be one of its
    choices, that of a `Count` at least 1; further checks go into `__post_init__`, after that of `super()`.

    Raises:
      ValueError: a value out of its domain.
    """

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, list | range):
                object.__setattr__(self, name, tuple(value))
            if value is None:
                continue
            if hint == Count:
                object.__setattr__(self, name, checked_count(name, value))
            choices, is_list = _choices(hint)
            for choice in (value if is_list else (value,)) if choices else ():
                checked_choice(name, choice, choices)

    @classmethod
    def checked(cls, owner: str, values: Mapping[str, Any]) -> Self:
        """Returns the options with these values, and the others at their defaults.

        Args:
          owner: whose options they are, for the message.
          values: by name.

        Raises:
          ValueError: an unknown name, with the nearest known one, or a value out of its domain.
        """
        check_names(owner, values, [item.name for item in fields(cls)])
        return cls(**values)

    def values(self, declaration: "type[Options] | None" = None) -> dict[str, Any]:
        """Returns values by name: of all options, or of those that an inherited declaration has."""
        return {item.name: getattr(self, item.name) for item in fields(declaration or type(self))}

    def to_config(self) -> dict[str, Any]:
        """Returns values by name in the types of JSON, for `get_config`."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.values().items()}


def check_names(owner: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuses unknown options.

    Raises:
      ValueError: a name that is not known; the nearest known one is given.
    """
    known = list(known)
    for name in names:
        if name not in known:
            expected = f"one of {', '.join(known)}" if known else "no option"
            raise ValueError(f"{owner} has no option {name!r}; expected {expected}; {nearest(name, known)}")


def parameters_of(cls: type, root: type) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a class's constructor, and those that it passes on to its base classes.

    Args:
      cls: a class with a plain constructor, or with declared options (`options_class`).
      root: the base class whose own parameters do not count.
    """
    result: dict[str, inspect.Parameter] = {}
    for one in cls.__mro__[: cls.__mro__.index(root)]:
        if "__init__" not in vars(one):
            continue
        parameters = list(inspect.signature(vars(one)["__init__"]).parameters.values())[1:]
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        for item in parameters:
            if item.kind not in variadic:
                result.setdefault(item.name, item)
        if all(item.kind is not inspect.Parameter.VAR_KEYWORD for item in parameters):
            return result
    for field in fields(getattr(cls, "options_class", Options)):
        default = inspect.Parameter.empty if _default(field) is MISSING else _default(field)
        parameter = inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default)
        result.setdefault(field.name, parameter)
    return result


def meanings(declaration: type[Options]) -> dict[str, str]:
    """Returns what each option means, by name: the `Args` of the declaration and of those that it inherits."""
    result: dict[str, str] = {}
    for one in reversed(declaration.__mro__):
        section = re.search(r"^Args:\n((?:  .*\n|\n)*)", inspect.cleandoc(vars(one).get("__doc__") or "") + "\n", re.M)
        for entry in re.findall(r"^  (\w.*(?:\n    .*)*)", section[1] if section else "", re.M):
            names, _, meaning = re.sub(r"\s+", " ", entry).partition(": ")
            result.update(dict.fromkeys(names.split(", "), meaning.strip()))
    return result


def options_table(declaration: type[Options], beyond: type[Options] | None = None) -> str:
    """Renders options as a Markdown table: name, type, default, meaning.

    Args:
      declaration: declaration of the options, `options_class` of a model; a recipe's class is its own declaration.
      beyond: leaves out the options of this inherited declaration; None: none.
    """
    left_out = {item.name for item in fields(beyond)} if beyond else set()
    hints, texts = _hints(declaration), meanings(declaration)
    rows = [
        (f"`{item.name}`", _type_text(hints[item.name]), _default_text(_default(item)), texts.get(item.name, ""))
        for item in fields(declaration)
        if item.name not in left_out
    ]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(["| option | type | default | meaning |", "|---|---|---|---|", *lines]) + "\n"


def _hints(declaration: type[Options]) -> dict[str, Any]:
    hints = get_type_hints(declaration, include_extras=True)
    return {item.name: hints[item.name] for item in fields(declaration)}


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _choices(hint: Any) -> tuple[tuple[str, ...], bool]:
    """Returns the choices of a `Literal` or of a sequence of one, and True for a sequence."""
    hint = _without_none(hint)
    if get_origin(hint) is Literal:
        return get_args(hint), False
    inner = get_args(hint)[0] if get_args(hint) else None
    return (get_args(inner), True) if get_origin(inner) is Literal else ((), False)


def _without_none(hint: Any) -> Any:
    if get_origin(hint) not in (Union, UnionType):
        return hint
    rest = [one for one in get_args(hint) if one is not type(None)]
    return rest[0] if len(rest) == 1 else hint


def _type_text(hint: Any) -> str:
    if _without_none(hint) is not hint:
        return f"{_type_text(_without_none(hint))} or null"
    if hint == Count:
        return "int, at least 1"
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    origin = get_origin(hint) or hint
    if issubclass(origin, Mapping):
        return "mapping"
    if get_args(hint):
        return f"list of {_type_text(get_args(hint)[0])}"
    return str(origin.__name__)


def _default_text(default: Any) -> str:
    return "required" if default is MISSING else f"`{default if isinstance(default, str) else json.dumps(default)}`"
