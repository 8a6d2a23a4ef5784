"""Read a declaration and check what its parts say together."""

import os
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from transforms.errors import InputError
from transforms.features import RESERVED, ROW_KEYS, TIME_ENCODINGS
from transforms.sources.table.conditions import Comparison, parse_condition
from transforms.sources.table.declaration import Declaration, FeatureDeclaration
from transforms.sources.table.log_columns import LogColumns
from transforms.sources.table.schema import dtype_of, feature_set_of
from transforms.sources.table.times import split_starts
from transforms.validation import input_error, read_mapping


def load_declaration(path: str | os.PathLike[str]) -> Declaration:
    """Reads a declaration; its files are relative to the folder of `path`.

    Raises:
      InputError: no such file, not YAML, an unknown key (the nearest one is named), or values that cannot be.
    """
    fix = "correct the path, or write one: `consort data inspect`"
    values = read_mapping(path, "a declaration of a log, a YAML file", "docs/table.md", fix)
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
        raise input_error(error, where, _keys_at) from error
    except InputError as error:
        raise InputError(f"{where}, key {error.where!r}", error.received, error.expected, error.fix) from error
    return declaration


def _keys_at(location: Sequence[str]) -> list[str]:
    """Returns the keys that a section may have."""
    section: Any = Declaration
    parts = iter(location)
    for part in parts:
        annotation: Any = section.model_fields[part].annotation
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
    if declaration.splits.dates is not None:
        split_starts(declaration.splits, declaration.timestamp.timezone if declaration.timestamp else None)
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
        columns = len(declaration.user_id) if declaration.entity_of(name) == "user" else 1
        if len(table.key) != columns:
            of = "user_id" if declaration.entity_of(name) == "user" else "item_id"
            received, fix = (
                f"{len(table.key)} columns",
                f"name the columns that {of} of the log stands for, in its order",
            )
            raise InputError(f"tables.{name}.key", received, f"{columns}, as {of} is made of them", fix)
        if table.timestamp is not None and declaration.timestamp is None:
            raise InputError(f"tables.{name}.timestamp", "a timestamp", "a log with one, too", "declare timestamp")
        derived = next((feature for feature in table.features if table.features[feature].is_derived), None)
        if derived is not None:
            raise InputError(f"tables.{name}.features.{derived}", "history or count", "a column", "move it to features")


def _check_feature(declaration: Declaration, key: str, feature: FeatureDeclaration) -> None:
    in_log, name = key.startswith("features."), key.rpartition(".")[2]
    if feature.is_derived:
        _check_derived(declaration, key, feature)
        return
    if not in_log and feature.entity is not None:
        raise InputError(f"{key}.entity", repr(feature.entity), "nothing, as the table says it", "leave it out")
    of_event = in_log and declaration.is_of_event(name)
    if in_log and feature.entity is None and not of_event:
        fix = "say whose value it is; context is all else of an event"
        raise InputError(f"{key}.entity", "nothing", "user, item or context", fix)
    several = next((kind for kind in ("list", "sequence", "vector") if getattr(feature, kind)), None)
    if feature.separator and not several and declaration.candidates is None:
        fix = "leave it out, or add list, sequence or vector"
        raise InputError(f"{key}.separator", repr(feature.separator), "a feature of several values", fix)
    if of_event:
        if feature.encoding not in TIME_ENCODINGS:
            expected = f"one of {', '.join(sorted(TIME_ENCODINGS))} for the time of the event"
            raise InputError(f"{key}.encoding", feature.encoding or "nothing", expected, "choose one")
        given = next(
            (one for one in ("unit", "format", "timezone", "missing", several) if one and getattr(feature, one)), ""
        )
        if given or feature.entity in ("user", "item"):
            given = given or "entity"
            expected = "nothing, as it reads the time of the event"
            raise InputError(f"{key}.{given}", repr(getattr(feature, given)), expected, "leave it out")
    elif feature.encoding in TIME_ENCODINGS and not (feature.is_time or feature.type == "int"):
        fix = "set type: datetime"
        raise InputError(
            f"{key}.type", feature.type or "nothing", f"a time, as the encoding is {feature.encoding}", fix
        )


def _check_derived(declaration: Declaration, key: str, feature: FeatureDeclaration) -> None:
    """Refuses histories and counts of what has not one value of its own in each row, or none at all.

    Raises:
      InputError: `where` is the dotted key.
    """
    if declaration.timestamp is None:
        raise InputError(key, "history or count", "a log with a timestamp", "declare timestamp")
    per = feature.count.per if feature.count else (feature.history.per,) if feature.history else ()
    place = f"{key}.{'count' if feature.count else 'history'}"
    if "user_id" in per and not declaration.user_id:
        raise InputError(key, "user_id", "a log with a user_id", "declare user_id")
    if feature.history is not None:
        _check_single_valued(declaration, f"{place}.of", feature.history.of)
    for name in per:
        _check_single_valued(declaration, f"{place}.per", name)
        if name in declaration.feature_names:
            if dtype_of(declaration, name) == "float":
                received = f"{name!r}, a feature of type {declaration.feature(name).type}"
                raise InputError(f"{place}.per", received, "a key: a text, a whole number or a truth value", _ONE_VALUE)
        elif name == declaration.timestamp.column:
            expected = "a key that other moments have, too"
            raise InputError(f"{place}.per", f"{name!r}, the column of the timestamp", expected, "name another column")
        elif declaration.label is not None and name == declaration.label.column:
            expected = "a key that is known before the label"
            fix = "name another column; count positives by where: label == 1"
            raise InputError(f"{place}.per", f"{name!r}, the column of the label", expected, fix)
    where = (feature.history or feature.count).where  # type: ignore[union-attr]
    for comparison in parse_condition(where) if where else ():
        _check_comparison(LogColumns(declaration), f"{place}.where", comparison)


def _check_comparison(columns: LogColumns, key: str, comparison: Comparison) -> None:
    """Refuses comparisons that hold for no row: of texts by their order, and of roles with values that they never have.

    Raises:
      InputError: `where` is the dotted key.
    """
    column, received = comparison.column, f"{comparison.column} {comparison.op} {comparison.literals[-1]!r}"
    texts = [literal for literal in comparison.literals if isinstance(literal, str)]
    if texts and comparison.op in ("<", "<=", ">", ">="):
        raise InputError(key, received, "a number behind it", "compare texts by ==, != or in")
    if not columns.is_role(column) or column in ("user_id", "item_id"):
        return
    if texts:
        fix = f"compare {column} with a number, or name the column of the log"
        raise InputError(key, received, f"a number, as {column} means the role and not a column of that name", fix)
    if column in ("label", "exposed") and any(not 0 <= float(literal) <= 1 for literal in comparison.literals):
        raise InputError(
            key, received, f"a number from 0 to 1, as {column} means the role", "name the column of the log"
        )


_ONE_VALUE = "name a column of the log or a feature of one value, e.g. item_id"


def _check_single_valued(declaration: Declaration, key: str, name: str) -> None:
    """Refuses a feature of several values, or one that is itself computed, where a history or count asks for a column.

    Raises:
      InputError: `where` is `key`.
    """
    if name not in declaration.feature_names:
        return
    feature = declaration.feature(name)
    kind = next((kind for kind in ("list", "sequence", "vector", "history", "count") if getattr(feature, kind)), None)
    if kind is not None:
        raise InputError(key, f"{name!r}, a feature with {kind}", "a column of one value", _ONE_VALUE)
    if declaration.is_of_event(name):
        raise InputError(key, f"{name!r}, which reads the time of the event", "a column of one value", _ONE_VALUE)
    if key.endswith(".of") and dtype_of(declaration, name) == "float":
        received, fix = f"{name!r}, a feature of type {feature.type}", "name a feature of type string or int"
        raise InputError(key, received, "ids: texts, whole numbers or truth values", fix)
