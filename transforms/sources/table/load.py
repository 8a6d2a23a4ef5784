"""Read a declaration and check what its parts say together."""

import difflib
import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from transforms.errors import InputError
from transforms.features import RESERVED, ROW_KEYS, TIME_ENCODINGS
from transforms.import_path import nearest
from transforms.plain_text import parse_yaml
from transforms.sources.table.declaration import Declaration, FeatureDeclaration
from transforms.sources.table.schema import feature_set_of
from transforms.validation import expected_by


def load_declaration(path: str | os.PathLike[str]) -> Declaration:
    """Reads a declaration; its files are relative to the folder of `path`.

    Raises:
      InputError: no such file, not YAML, an unknown key (the nearest one is named), or values that cannot be.
    """
    try:
        values = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        fix = "correct the path, or write one: `consort data inspect`"
        raise InputError(str(path), "no such file", "a declaration of a log, a YAML file", fix) from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        first_line = " ".join(str(error).split())
        raise InputError(str(path), f"text that is not YAML ({first_line})", "a YAML mapping", "correct it") from error
    if not isinstance(values, dict):
        received = "an empty file" if values is None else "a list" if isinstance(values, list) else "a single value"
        raise InputError(str(path), received, "a YAML mapping of keys to values", "see docs/table.md")
    return parse_declaration(values, str(path))


def parse_declaration(values: Mapping[str, Any], where: str = "declaration") -> Declaration:
    """Checks values and fills in defaults.

    Raises:
      InputError: as `load_declaration`.
    """
    try:
        declaration = Declaration.model_validate(dict(values))
        _check_roles(declaration)
        _check_features(declaration)
        feature_set_of(declaration)
    except ValidationError as error:
        raise _as_input_error(error, where) from error
    except InputError as error:
        raise InputError(f"{where}, key {error.where!r}", error.received, error.expected, error.fix) from error
    return declaration


def _as_input_error(error: ValidationError, where: str) -> InputError:
    """Returns the first error of pydantic in our words; of several an unknown key, which may be what is missing."""
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    location = tuple(part for part in first["loc"] if part != "[key]")
    key, cause = ".".join(str(part) for part in location), first.get("ctx", {}).get("error")
    place = f"{where}, key {key!r}"
    if isinstance(cause, InputError):
        inner = ".".join(part for part in (key, cause.where) if part)
        return InputError(f"{where}, key {inner!r}", cause.received, cause.expected, cause.fix)
    if first["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        return InputError(place, "an unknown key", f"one of {', '.join(known)}", nearest(str(location[-1]), known))
    if first["type"] == "missing":
        return InputError(place, "nothing", "a value", "give one")
    if isinstance(cause, ValueError):
        _, _, expected = str(cause).rpartition(": expected ")
        renamed = expected.removesuffix(": rename it")
        return InputError(
            place, repr(first["input"]), renamed, "rename it" if renamed != expected else "correct the value"
        )
    if first["type"] in ("literal_error", "enum"):
        expected = str(first["ctx"]["expected"])
        options = [option.strip("' ") for option in expected.replace(" or ", ", ").split(", ")]
        close = difflib.get_close_matches(str(first["input"]), options, n=1)
        fix = f"did you mean {close[0]!r}?" if close else "choose one of them"
        return InputError(place, repr(first["input"]), expected, fix)
    if first["type"] == "string_pattern_mismatch":
        return InputError(place, repr(first["input"]), "small letters, digits and underscores", "rename it")
    received = "nothing" if first["input"] is None else repr(first["input"])
    return InputError(place, received, expected_by(first), "correct the value")


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """Returns the keys that a section may have."""
    section: Any = Declaration
    parts = iter(location)
    for part in parts:
        annotation: Any = section.model_fields[str(part)].annotation
        section = _section_in(annotation)
        if get_origin(annotation) is dict:
            next(parts, None)  # The name under which the section stands.
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """Returns the model in a type: alone, in a dict's values, or besides None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, dict):
        return next((model for argument in get_args(annotation) if (model := _section_in(argument))), None)
    return None


def _check_roles(declaration: Declaration) -> None:
    """Refuses roles that contradict each other.

    Raises:
      InputError: `where` is the dotted key.
    """
    if declaration.candidates is None:
        for name in ("item_id", "label"):
            if getattr(declaration, name) is None:
                raise InputError(name, "nothing", "a column of the log", "name it, or declare candidates")
    else:
        for name in ("item_id", "label", "exposed", "stage", "position", "weight"):
            if getattr(declaration, name) is not None:
                fix = "leave it out; candidates name the columns of the candidates"
                raise InputError(name, repr(getattr(declaration, name)), "nothing, as there are candidates", fix)
    if declaration.exposed and declaration.request_id is None:
        fix = "say which rows are one request, e.g. request_id: {columns: [user], window: 1m}"
        raise InputError("request_id", "nothing", "columns of a request, as there is an exposed column", fix)
    if declaration.request_id is not None:
        if not declaration.request_id.columns and not declaration.user_id:
            raise InputError("request_id.columns", "nothing", "columns of the log", "name them, or user_id")
        if declaration.request_id.window is not None and declaration.timestamp is None:
            raise InputError("request_id.window", "a window", "a log with a timestamp", "declare timestamp")
    if "request" in declaration.record_kinds:
        if not declaration.has_requests:
            fix = "declare candidates or request_id, or leave request out"
            raise InputError("records", "request", "row, as each record is one item", fix)
        if declaration.list_size is None:
            fix = "give the size of the largest request; shorter ones are padded to it"
            raise InputError("list_size", "nothing", "the most candidates of a request", fix)
    if declaration.timestamp is None and declaration.splits.by == "time":
        fix = "declare timestamp, or split by random, user, column or files"
        raise InputError("splits.by", "time", "a log with a timestamp", fix)
    if declaration.splits.by == "user" and not declaration.user_id:
        raise InputError("splits.by", "user", "a log with a user_id", "declare user_id, or split otherwise")


def _check_features(declaration: Declaration) -> None:
    keys = {key.name for key in ROW_KEYS} | RESERVED | {"position", "weight"}
    features = declaration.all_features
    count = len(declaration.features) + sum(len(table.features) for table in declaration.tables.values())
    for key, feature in features.items():
        name = key.rpartition(".")[2]
        if name in keys:
            fix = "rename the feature, and give its column" if name not in ("user_id", "item_id") else "leave it out"
            raise InputError(key, f"the name {name!r}", "a name that no key or mask of a record has", fix)
        _check_feature(declaration, key, feature)
    names = [key.rpartition(".")[2].lower() for key in features]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or count != len(features):
        places = ", ".join(key for key in features if key.rpartition(".")[2].lower() == twice)
        raise InputError("features", f"{twice!r} twice ({places})", "each name once", "rename one of them")
    for name, table in declaration.tables.items():
        if declaration.entity_of(name) is None:
            raise InputError(f"tables.{name}.entity", "nothing", "user or item", "say whose table it is")
        if declaration.entity_of(name) == "user" and not declaration.user_id:
            raise InputError(f"tables.{name}", "a table of users", "a log with a user_id", "declare user_id")
        if table.timestamp is not None and declaration.timestamp is None:
            raise InputError(f"tables.{name}.timestamp", "a timestamp", "a log with one, too", "declare timestamp")
        derived = next((feature for feature in table.features if table.features[feature].is_derived), None)
        if derived is not None:
            raise InputError(f"tables.{name}.features.{derived}", "history or count", "a column", "move it to features")


def _check_feature(declaration: Declaration, key: str, feature: FeatureDeclaration) -> None:
    in_log = key.startswith("features.")
    if feature.is_derived:
        if declaration.timestamp is None:
            raise InputError(key, "history or count", "a log with a timestamp", "declare timestamp")
        per = feature.count.per if feature.count else (feature.history.per,) if feature.history else ()
        if "user_id" in per and not declaration.user_id:
            raise InputError(key, "user_id", "a log with a user_id", "declare user_id")
        if feature.history is not None:
            _check_single_valued(declaration, f"{key}.history.of", feature.history.of)
        for name in per:
            _check_single_valued(declaration, f"{key}.{'count' if feature.count else 'history'}.per", name)
        return
    if not in_log and feature.entity is not None:
        raise InputError(f"{key}.entity", repr(feature.entity), "nothing, as the table says it", "leave it out")
    of_event = declaration.timestamp is not None and feature.column == declaration.timestamp.column
    if in_log and feature.entity is None and not of_event:
        fix = "say whose value it is; context is all else of an event"
        raise InputError(f"{key}.entity", "nothing", "user, item or context", fix)
    if of_event and feature.encoding not in TIME_ENCODINGS:
        expected = f"one of {', '.join(sorted(TIME_ENCODINGS))} for the time of the event"
        raise InputError(f"{key}.encoding", feature.encoding or "nothing", expected, "choose one")


def _check_single_valued(declaration: Declaration, key: str, name: str) -> None:
    """Refuses a feature of several values where a history or count asks for one.

    Raises:
      InputError: `where` is `key`.
    """
    if name not in declaration.feature_names:
        return
    feature = declaration.feature(name)
    kind = next((kind for kind in ("list", "sequence", "vector", "history") if getattr(feature, kind)), None)
    if kind is not None:
        fix = "name a feature or column of one value, e.g. item_id"
        raise InputError(key, f"{name!r}, a feature with {kind}", "a column of one value", fix)
