"""Look at the files of a log and write its declaration: guesses with reasons, and questions for what does not show."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from runs.inspection.columns import (
    entity_of,
    feature_name,
    is_known_after,
    is_request_id,
    is_time_of_event,
    left_out,
    numbered,
    typed,
)
from runs.inspection.dialect import dialect_of
from runs.inspection.profile import ColumnProfile, profile
from runs.inspection.roles import Guess, Roles, guess_roles, unused
from runs.inspection.sample import sample
from transforms.arrow import pa
from transforms.sources.table.files import LogFile, find_files
from transforms.sources.table.formats import column_names
from transforms.sources.table.parts import Csv, Files

_ORDER = (
    "item_id", "user_id", "request_id", "timestamp", "label", "weight", "position", "exposed", "candidates",
    "list_size",
)  # fmt: skip
_LAST = 50


@dataclass(frozen=True)
class Inspection:
    """A declaration as text, and what a person should look at.

    Args:
      text: YAML with comments.
      guesses: values by key, with their reasons.
      questions: what could not be decided; they stand in the text, too, and an import refuses them.
    """

    text: str
    guesses: dict[str, Guess]
    questions: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """Files with the same columns: the log, or a table of users or items."""

    files: tuple[LogFile, ...]
    patterns: tuple[str, ...]
    dialect: Csv
    columns: dict[str, ColumnProfile]
    rows: int
    notes: tuple[str, ...]


def inspect_files(patterns: Sequence[str], name: str, folder: str | os.PathLike[str] = ".") -> Inspection:
    """Guesses a declaration from a sample of the files.

    Args:
      patterns: files, folders or patterns: of the log, and of tables of users and items.
      name: of the log.
      folder: of the declaration; its `files` are relative to it.

    Raises:
      InputError: no such file, a format that is not known, or a malformed file.
    """
    parts = _parts(patterns, folder)
    roles = [guess_roles(part.columns) for part in parts]
    log = max(range(len(parts)), key=lambda place: (_is_log(roles[place]), parts[place].rows, -place))
    writer = _Writer(name, parts[log], roles[log])
    writer.features()
    for place, part in enumerate(parts):
        if place != log:
            writer.table(part)
    return writer.result()


def _is_log(roles: Roles) -> int:
    keys = ("candidates", "timestamp", "label", "user_id", "item_id")
    asked = " ".join(roles.questions)
    return sum(key in roles.guesses and f"{key}: which" not in asked for key in keys)


def _parts(patterns: Sequence[str], folder: str | os.PathLike[str]) -> list[_Part]:
    by_columns: dict[tuple[str, ...], list[tuple[str, LogFile]]] = {}
    dialects: dict[tuple[str, ...], Csv] = {}
    for pattern in patterns:
        relative = _relative(pattern, folder)
        for file in find_files(Files(files=(relative,)), folder):
            dialect = dialect_of(file)
            key = _alike(tuple(column_names(file, dialect)), dialect, by_columns)
            by_columns.setdefault(key, []).append((relative, file))
            dialects.setdefault(key, dialect)
    parts = []
    for key, members in by_columns.items():
        files = tuple(file for _, file in members)
        names = dict.fromkeys(name for file in files for name in column_names(file, dialects[key]))
        table, notes = sample(files, dialects[key], list(names))
        while any(pa.types.is_struct(column.type) for column in table.schema):
            # A member of a struct is named with a dot, `user.id`.
            table = table.flatten()
        columns = {column: profile(column, table[column]) for column in table.column_names}
        shown = tuple(dict.fromkeys(pattern for pattern, _ in members))
        # A folder of several kinds of files does not say which ones.
        others = {pattern for other, rest in by_columns.items() if other != key for pattern, _ in rest}
        if others & set(shown):
            shown = tuple(_relative(file.path, folder) for file in files)
        dialect = dialects[key]
        if any(column.decimal_comma for column in columns.values()):
            dialect = dialect.model_copy(update={"decimal": ","})
        parts.append(_Part(files, shown, dialect, columns, table.num_rows, notes))
    return parts


def _alike(names: tuple[str, ...], dialect: Csv, known: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Returns the columns of earlier files that have nearly the same ones, else the names themselves."""
    for other in known if dialect.header else ():
        if len({*names} & {*other}) > 0.6 * len({*names} | {*other}):
            return other
    return names


def _relative(path: str, folder: str | os.PathLike[str]) -> str:
    """The path as the declaration has it: relative to its folder where it lies near."""
    relative = os.path.relpath(path, folder)
    return os.path.abspath(path) if relative.startswith(os.path.join("..", "..", "..")) else relative


class _Writer:
    """Collects features and tables, and writes YAML."""

    def __init__(self, name: str, part: _Part, roles: Roles):
        self._name, self._part, self._roles = name, part, roles
        self._features: dict[str, Guess] = {}
        self._tables: dict[str, dict[str, Any]] = {}
        self._notes: list[str] = list(part.notes)

    def features(self) -> None:
        """Declares each column that has no role."""
        roles, columns = self._roles, self._part.columns
        vectors = numbered(columns, roles)
        for prefix, members in vectors.items():
            entity, why = entity_of(columns[members[0]], columns, roles)
            value = {"vector": len(members), "column": f"{prefix}*", "entity": entity or "context"}
            self._features[feature_name(prefix.rstrip("_-."))] = Guess(value, f"{len(members)} numbered columns; {why}")
        taken = {name for members in vectors.values() for name in members}
        for name in unused(list(columns), roles):
            if name not in taken:
                self._feature(columns[name])
        self._derived()

    def _feature(self, column: ColumnProfile) -> None:
        in_request = "candidates" in self._roles.guesses
        entity, seen = (
            self._entity_of_request(column) if in_request else entity_of(column, self._part.columns, self._roles)
        )
        reason = left_out(column)
        if reason is None and is_request_id(column):
            reason = "an id of a session or request"
        if reason is None and is_time_of_event(column, self._part.columns, self._roles):
            reason = "another time of the event"
        if reason:
            self._notes.append(f"{column.name}: left out, {reason}")
            return
        value, why = typed(column, self._roles)
        if in_request and entity == "item" and column.lists is not None:
            value = {key: of_key for key, of_key in value.items() if key == "column"}
            value["type"] = column.lists.element if column.lists.element != "list" else "string"
        if entity is None:
            entity, seen = "context", "unknown"
            self._roles.questions.append(
                f"features.{feature_name(column.name)}.entity: is it of the user, item or context?"
            )
        value["entity"] = entity
        if column.lists is not None and entity == "user" and self._ids("item_id") & set(self._elements(column)):
            value["vocabulary"] = "item_id"
            if "list" in value:
                value["sequence"] = value.pop("list")
        after = is_known_after(column, self._roles)
        if after:
            value["input"] = False
            why = f"perhaps known only after the click: {after}"
        self._features[feature_name(column.name)] = Guess(value, "; ".join(part for part in (why, seen) if part))

    def _entity_of_request(self, column: ColumnProfile) -> tuple[str | None, str]:
        items = self._part.columns[self._roles.guesses["candidates"].value["items"]].lists
        if column.lists is not None and items is not None and np.array_equal(column.lists.lengths, items.lengths):
            return "item", "as long as the list of candidates"
        if column.lists is not None and self._ids("item_id") & set(self._elements(column)):
            return "user", "ids of items"
        entity, why = entity_of(column, self._part.columns, self._roles)
        return ("user", why) if entity == "user" else ("context", "")

    def _derived(self) -> None:
        """Proposes what the log itself tells: hours, histories and counts."""
        guesses = self._roles.guesses
        if "timestamp" not in guesses:
            return
        value = guesses["timestamp"].value
        at = value if isinstance(value, str) else value["column"]
        if self._part.columns[at].kind != "date":
            for encoding in ("hour_of_day", "day_of_week"):
                self._features[self._unique(encoding, "event")] = Guess(
                    {"column": at, "encoding": encoding}, "of the event"
                )
        if "user_id" in guesses:
            self._features[self._unique("clicked_items", "user")] = Guess(
                {"history": {"of": "item_id", "where": "label == 1", "last": _LAST}}, "what the user clicked before"
            )
        self._features[self._unique("item_clicks", "log")] = Guess(
            {"count": {"per": "item_id", "where": "label == 1"}}, "clicks of the item so far"
        )
        self._features[self._unique("item_views", "log")] = Guess(
            {"count": {"per": "item_id"}}, "rows of the item so far"
        )

    def table(self, part: _Part) -> None:
        """Declares a table of users or items, by the key whose values the log has."""
        where = ", ".join(part.patterns)
        best: tuple[tuple[bool, float], str, str] | None = None
        # Where a table says from when on its rows hold, a key may stand in several.
        since = guess_roles(part.columns).guesses.get("timestamp")
        for entity, key in (("item", "item_id"), ("user", "user_id")):
            ids = self._ids(key)
            for column in part.columns.values():
                is_unique = column.distinct >= 0.99 * column.rows
                if not ids or column.kind not in ("int", "string") or not (is_unique or since):
                    continue
                share = len(ids & set(column.texts)) / len(ids)
                named = column.name == self._roles.guesses[key].value if key in self._roles.guesses else False
                if share > (0.0 if named else 0.3 if is_unique else 0.6) and (best is None or (named, share) > best[0]):
                    best = ((named, share), entity, column.name)
        if best is None:
            self._roles.questions.append(
                f"tables: {where} is neither a table of items nor of users by its values; it is left out"
            )
            return
        (_, share), entity, key = best
        roles = Roles(columns={key})
        is_dated = since is not None and part.columns[key].distinct < 0.99 * part.columns[key].rows
        if since is not None and is_dated:
            roles.columns.add(since.value if isinstance(since.value, str) else since.value["column"])
        features: dict[str, Guess] = {}
        vectors = numbered(part.columns, roles)
        for prefix, members in vectors.items():
            features[self._unique(feature_name(prefix.rstrip("_-.")), entity)] = Guess(
                {"vector": len(members), "column": f"{prefix}*"}, f"{len(members)} numbered columns"
            )
        taken = {name for members in vectors.values() for name in members}
        for name in unused(list(part.columns), roles):
            column = part.columns[name]
            reason = left_out(column)
            if reason:
                self._notes.append(f"{where}, {name}: left out, {reason}")
            elif name not in taken:
                value, why = typed(column, roles)
                features[self._unique(feature_name(name), entity, value, name)] = Guess(value, why)
        self._roles.questions += roles.questions
        if features:
            files: Any = part.patterns[0] if len(part.patterns) == 1 else list(part.patterns)
            values = {"files": files, **_csv_of(part.dialect), "key": key}
            values |= {"timestamp": since.value} if since is not None and is_dated else {}
            label = f"{entity}s" if f"{entity}s" not in self._tables else f"{entity}s_{len(self._tables)}"
            values |= {} if label == f"{entity}s" else {"entity": entity}
            self._tables[label] = {
                "values": values,
                "why": f"{share:.0%} of the log's ids are in it",
                "features": features,
            }

    def _ids(self, key: str) -> set[str]:
        guess = self._roles.guesses.get(key)
        if guess is None and key == "item_id" and "candidates" in self._roles.guesses:
            value = self._roles.guesses["candidates"].value
            mark = value.get("label_after")
            elements = self._elements(self._part.columns[value["items"]])
            return {one.rpartition(mark)[0] if mark else one for one in elements}
        return set() if guess is None or guess.value == "???" else set(self._part.columns[guess.value].texts)

    @staticmethod
    def _elements(column: ColumnProfile) -> list[str]:
        separator = column.lists.separator if column.lists else None
        return [one for text in column.texts for one in (text.split(separator) if separator else [text])]

    def _unique(self, name: str, entity: str, value: dict[str, Any] | None = None, column: str = "") -> str:
        taken = {*self._features, *(feature for table in self._tables.values() for feature in table["features"])}
        if name in taken:
            name = f"{entity}_{name}"
        if value is not None and column and name != column:
            value["column"] = column
        return name

    def result(self) -> Inspection:
        """The declaration as text."""
        roles = self._roles
        files: Any = self._part.patterns[0] if len(self._part.patterns) == 1 else list(self._part.patterns)
        lines = ["# A declaration of a log, guessed from a sample: read it, correct it, then `consort data import`."]
        lines += _lines({"name": self._name, "files": files, **_csv_of(self._part.dialect)}, {})
        known = {
            key: roles.guesses[key] for key in _ORDER if key in roles.guesses and roles.guesses[key].value != "???"
        }
        lines += _lines(
            {key: guess.value for key, guess in known.items()}, {key: guess.why for key, guess in known.items()}
        )
        lines += ["features:", *_features(self._features, "  ")] if self._features else []
        if self._tables:
            lines.append("tables:")
            for label, table in self._tables.items():
                lines.append(f"  {label}:  # {table['why']}")
                lines += [f"    {line}" for line in _lines(table["values"], {})]
                lines += ["    features:", *_features(table["features"], "      ")]
        if "timestamp" in roles.guesses:
            lines.append("splits: {by: time, shares: [0.8, 0.1, 0.1]}")
        else:
            lines.append(
                f"splits: {{by: {'user' if 'user_id' in roles.guesses else 'random'}, shares: [0.8, 0.1, 0.1]}}"
            )
        lines += [f"# {note}" for note in self._notes]
        if roles.questions:
            lines += ["# Answer each question above, then delete it; an import refuses to guess.", "questions:"]
            lines += [f"  - {_flow(question)}" for question in roles.questions]
        features = {f"features.{name}": guess for name, guess in self._features.items()}
        return Inspection("\n".join(lines) + "\n", {**known, **features}, tuple(roles.questions))


def _csv_of(dialect: Csv) -> dict[str, Any]:
    values = dialect.model_dump(exclude_defaults=True, mode="json")
    return {"csv": values} if values else {}


def _features(features: dict[str, Guess], indent: str) -> list[str]:
    return [
        f"{indent}{name}: {_flow(guess.value)}{f'  # {guess.why}' if guess.why else ''}"
        for name, guess in features.items()
    ]


def _lines(values: dict[str, Any], why: dict[str, str]) -> list[str]:
    return [f"{key}: {_flow(value)}{f'  # {why[key]}' if why.get(key) else ''}" for key, value in values.items()]


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def default_name(path: str | os.PathLike[str]) -> str:
    """A name for a log, from the name of its first file."""
    stem = Path(path).name.partition(".")[0]
    cleaned = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    return cleaned if cleaned[:1].isalpha() else f"log_{cleaned}".rstrip("_")
