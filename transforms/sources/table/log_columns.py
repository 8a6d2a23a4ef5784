"""What is read of a log: its columns, and the names of those that histories and counts ask for."""

from dataclasses import dataclass
from functools import cached_property

from transforms.sources.table.conditions import parse_condition
from transforms.sources.table.declaration import Declaration, Table

_CANDIDATE_COLUMNS = ("items", "labels", "clicked", "exposed", "shown", "stage", "position")
ROLES = ("label", "exposed", "stage", "position", "weight", "user_id", "item_id")


@dataclass(frozen=True)
class LogColumns:
    """Columns that are read of a log, and the names of those that are computed from them.

    Args:
      declaration: of the log.
    """

    declaration: Declaration

    @cached_property
    def conditions(self) -> dict[str, str]:
        """Names of the columns `_where_0`, by condition."""
        parts = [part for feature in self.declaration.features.values() if (part := feature.history or feature.count)]
        texts = dict.fromkeys(part.where for part in parts if part.where)
        return {text: f"_where_{number}" for number, text in enumerate(texts)}

    @cached_property
    def raw(self) -> dict[str, str]:
        """Names of the columns `_raw_0`, by column of the log that a history or count asks for."""
        return {column: f"_raw_{number}" for number, column in enumerate(self.asked)}

    @cached_property
    def asked(self) -> dict[str, str]:
        """Columns of the log that histories and counts ask for, each with the key that names it."""
        asked: dict[str, str] = {}
        for name, feature in self.declaration.features.items():
            keys = {"history.of": feature.history.of, "history.per": feature.history.per} if feature.history else {}
            keys |= {f"count.per.{place}": key for place, key in enumerate(feature.count.per)} if feature.count else {}
            for place, key in keys.items():
                if not self.is_canonical(key):
                    asked.setdefault(key, f"features.{name}.{place}")
        return asked

    def is_canonical(self, name: str) -> bool:
        """True if the rows have a key or a feature of that name."""
        return name in ("user_id", "item_id") or name in self.declaration.feature_names

    def is_role(self, name: str) -> bool:
        """True if a condition means what a record has under that name, and not a column of the log."""
        candidates = self.declaration.candidates
        optional = getattr(self.declaration, name, None) or getattr(candidates, name, None) or name == "label"
        shown = name == "exposed" and candidates is not None and candidates.shown is not None
        return name in ROLES and (name in ("user_id", "item_id") or bool(optional) or shown)

    def name_of(self, key: str) -> str:
        """The column of the rows that a history or count means: a key, a feature, or a column of the log."""
        return key if self.is_canonical(key) else self.raw[key]

    @cached_property
    def wanted(self) -> dict[str, str]:
        """Columns of the log that are read, each with the key of the declaration that names it."""
        log, named = self.declaration, dict[str, str]()

        def need(column: str | None, key: str) -> None:
            if column is not None:
                named.setdefault(column, key)

        for role in ("item_id", "exposed", "stage"):
            need(getattr(log, role), role)
        sections = {"timestamp": log.timestamp, "label": log.label, "position": log.position, "weight": log.weight}
        for key, section in sections.items():
            need(section.column if section else None, key)
        for column in log.user_id:
            need(column, "user_id")
        for column in log.request_id.columns if log.request_id else ():
            need(column, "request_id")
        need(log.splits.column, "splits.column")
        for role in _CANDIDATE_COLUMNS:
            need(getattr(log.candidates, role, None), f"candidates.{role}")
        if log.candidates is not None and log.candidates.weight is not None:
            need(log.candidates.weight.column, "candidates.weight")
        for name, feature in log.features.items():
            if not feature.is_derived and "*" not in (feature.column or ""):
                need(feature.column or name, f"features.{name}")
        for text in self.conditions:
            for comparison in parse_condition(text):
                if not self.is_role(comparison.column):
                    need(comparison.column, f"where: {text}")
        for column, key in self.asked.items():
            need(column, key)
        return named

    @property
    def required(self) -> set[str]:
        """Columns that every file must have; where it lacks another one, the values are missing."""
        log = self.declaration
        keys = {"item_id", "timestamp", "exposed", "splits.column"}
        keys |= {"weight"} if log.weight is not None and log.weight.missing == "refused" else set()
        keys |= {"label"} if log.label is not None and log.label.missing == "refused" else set()
        return {column for column, key in self.wanted.items() if key in keys or key.startswith("candidates.")}


def table_columns(name: str, table: Table) -> dict[str, str]:
    """Returns the columns of a table that are read, each with the key of the declaration that names it."""
    named = dict.fromkeys(table.key, f"tables.{name}.key")
    if table.timestamp is not None:
        named.setdefault(table.timestamp.column, f"tables.{name}.timestamp")
    for feature_name, feature in table.features.items():
        if "*" not in (feature.column or ""):
            named.setdefault(feature.column or feature_name, f"tables.{name}.features.{feature_name}")
    return named
