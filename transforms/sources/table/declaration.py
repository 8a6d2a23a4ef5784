"""The declaration of a log: where its files are, and what their columns mean. YAML into frozen models.

`load.py` reads it and checks what its parts say together.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from transforms.errors import InputError
from transforms.features import ID_ENCODINGS, Encoding, RecordKind, Vocabulary
from transforms.names import Name
from transforms.sources.table.key_types import (
    Condition,
    Duration,
    Entity,
    Finite,
    Keys,
    LogName,
    Pattern,
    Section,
    Texts,
    Unit,
    Values,
    Window,
    Zone,
    distinct,
    refuse_unit_and_format,
    several,
)
from transforms.sources.table.parts import Candidates, Files, Label, Position, RequestId, Splits, Timestamp, Weight


class History(Section):
    """What a user did before, from the log itself, most recent last; ties of one moment are left out.

    Args:
      of: item_id, a feature, or a column of the log.
      where: which rows count, e.g. `label == 1`; default: all.
      last: the most recent values kept.
      per: whose history: user_id, or a column of the log.
      lag: how long after it a row becomes known.
    """

    of: str
    where: Condition | None = None
    last: int = Field(default=50, ge=1, strict=True)
    per: str = "user_id"
    lag: Duration = 0


class Count(Section):
    """How many rows there were before, from the log itself.

    Args:
      per: item_id, user_id, a feature or a column of the log, or several together.
      where: which rows count, e.g. `label == 1`; default: all.
      lag: how long after it a row becomes known.
      within: count only rows of the last time, e.g. 7d; default: all before.
    """

    per: Keys
    where: Condition | None = None
    lag: Duration = 0
    within: Window | None = None

    @model_validator(mode="after")
    def _check(self) -> "Count":
        if self.within is not None and self.within <= self.lag:
            fix = "enlarge within, or shorten lag"
            raise InputError("within", f"{self.within}s", f"more than the lag of {self.lag}s, or nothing counts", fix)
        twice = next((key for key in self.per if self.per.count(key) > 1), None)
        if twice is not None:
            raise InputError("per", f"{twice!r} twice", "each column once", "leave one of them out")
        return self


_SEPARABLE = "a list, sequence or vector in one column"


class FeatureDeclaration(Section):
    """A feature; `price: float` is short for `price: {type: float}`.

    Args:
      type: string, int, float, bool, date or datetime.
      column: of the log or table; default: the feature's name. Of a vector also a pattern, `affinity_*`.
      entity: whose value it is: user, item, or context, all else of an event; known for tables, histories and counts.
      encoding: how models see it; default by type: id for strings and truth values, zscore for numbers, log_zscore for
        counts, age (days between it and the event) for times, vector for vectors.
      vocabulary: the set of ids that it shares with others, e.g. item_id; default: one by its name.
      num_buckets: of the encoding quantile.
      missing: values that mean a missing one.
      min, max: domain of a number; what is outside is refused.
      input: False keeps the column in the records, but from the models.
      list: a multi-valued categorical (tags, genres) of at most this number of values.
      pooling: how the vectors of a list become one: mean, sum or max.
      sequence: a list in order, most recent last, of which the last ones are kept: a history that the log has.
      vector: a dense vector (an embedding) of exactly this number of values.
      separator: between the values of lists, sequences and vectors that are delimited texts.
      history, count: computed from the log itself.
      unit, format, timezone: of a time, as in `timestamp`.
    """

    _short: ClassVar[str] = "type"
    type: Literal["string", "int", "float", "bool", "date", "datetime"] | None = None
    column: str | None = None
    entity: Entity | None = None
    encoding: Literal["age"] | Encoding | None = None
    vocabulary: Name | None = None
    num_buckets: int = Field(default=10, ge=2, strict=True)
    missing: Values = ()
    min: Finite | None = None
    max: Finite | None = None
    input: bool = True
    list: int | None = Field(default=None, ge=1, strict=True)
    pooling: Literal["mean", "sum", "max"] | None = None
    sequence: int | None = Field(default=None, ge=1, strict=True)
    vector: int | None = Field(default=None, ge=1, strict=True)
    separator: str | None = Field(default=None, min_length=1)
    history: History | None = None
    count: Count | None = None
    unit: Unit | None = None
    format: Pattern | None = None
    timezone: Zone | None = None

    @model_validator(mode="after")
    def _check(self) -> "FeatureDeclaration":
        kinds = [kind for kind in ("list", "sequence", "vector", "history", "count") if getattr(self, kind) is not None]
        if len(kinds) > 1:
            raise InputError("", " and ".join(kinds), "one of list, sequence, vector, history, count", "leave one")
        if self.is_derived and (self.column or self.type or self.entity):
            given = next(name for name in ("column", "type", "entity") if getattr(self, name))
            raise InputError(given, repr(getattr(self, given)), f"nothing, as {kinds[0]} says it", "leave it out")
        several = bool(self.list or self.sequence or self.vector)
        fitting = ("float", "int") if self.vector else ("string", "int", "bool")
        if several and self.type not in (None, *fitting):
            expected = f"one of {', '.join(fitting)} for a {kinds[0]}"
            raise InputError("type", repr(self.type), expected, f"choose one, or leave {kinds[0]} out")
        if self.encoding == "age" and not self.is_time:
            raise InputError("encoding", "'age'", "a feature of type date or datetime", "set the type")
        if self.column is not None and "*" in self.column and not self.vector:
            fix = "add vector, the number of these columns, or name one column"
            raise InputError("column", repr(self.column), "a pattern only for a vector of several columns", fix)
        refuse_unit_and_format(self.unit, self.format)
        self._refuse_idle_keys(several)
        return self

    def _refuse_idle_keys(self, several: bool) -> None:
        """Refuses keys that would say nothing of such a feature."""
        number = self.type in ("int", "float") or bool(self.vector)
        delimited = (several or self.entity == "item") and "*" not in (self.column or "")
        needs = {
            "pooling": (bool(self.list), "list"),
            "separator": (delimited, "list, sequence or vector of one column"),
            "num_buckets": (self.encoding == Encoding.QUANTILE, "encoding: quantile"),
            "vocabulary": (self.resolved_encoding in ID_ENCODINGS, "encoding: id"),
            "missing": (not self.is_derived, "column"),
            "min": (number and not self.sequence, "type: int or float"),
            "max": (number and not self.sequence, "type: int or float"),
            "unit": (self.is_time, "type: date or datetime"),
            "format": (self.is_time, "type: date or datetime"),
            "timezone": (self.is_time, "type: date or datetime"),
        }
        for name, (has_it, needed) in needs.items():
            value = getattr(self, name)
            if name in self.model_fields_set and value not in (None, ()) and not has_it:
                shown = repr(list(value) if isinstance(value, tuple) else value)
                raise InputError(name, shown, f"{name} only beside {needed}", f"add {needed}, or leave {name} out")

    @property
    def resolved_encoding(self) -> Literal["age"] | Encoding:
        """How models see it, the default by its type filled in."""
        if self.encoding is not None:
            return self.encoding
        if self.vector:
            return Encoding.VECTOR
        if self.count:
            return Encoding.LOG_ZSCORE
        if self.is_time:
            return "age"
        is_id = self.list or self.sequence or self.history or self.type in ("string", "bool", None)
        return Encoding.ID if is_id else Encoding.ZSCORE

    @property
    def is_derived(self) -> bool:
        """True if it is computed from the log itself."""
        return self.history is not None or self.count is not None

    @property
    def is_time(self) -> bool:
        """True if its column holds times."""
        return self.type in ("date", "datetime")


class Table(Files):
    """A table of users or items, joined by key; with a timestamp, its latest row before the event.

    Args:
      key: column that holds the user's or item's id, in each row.
      entity: user or item; known where the table is called users or items.
      timestamp: from when on a row holds; default: always.
      features: from the table's columns.
    """

    key: Keys
    entity: Literal["user", "item"] | None = None
    timestamp: Timestamp | None = None
    features: dict[Name, FeatureDeclaration]


class Audit(Section):
    """What the audit may find.

    Args:
      accept: findings that are known and do not stop a pipeline, as the audit names them.
    """

    accept: Texts = ()


class VocabularyDeclaration(Section):
    """A set of ids.

    Args:
      frequency_threshold: a value seen less often in the training split is out of vocabulary.
      top_k: keep at most this number of values, the most frequent ones.
      num_oov_buckets: ids that the values out of vocabulary share.
      hash_buckets: no vocabulary: values are hashed into this number of ids.
    """

    frequency_threshold: int = Field(default=1, ge=1, strict=True)
    top_k: int | None = Field(default=None, ge=1, strict=True)
    num_oov_buckets: int = Field(default=1, ge=1, strict=True)
    hash_buckets: int | None = Field(default=None, ge=2, strict=True)

    @model_validator(mode="after")
    def _check(self) -> "VocabularyDeclaration":
        counted = sorted(self.model_fields_set - {"hash_buckets"})
        if self.hash_buckets is not None and counted:
            received = f"{counted[0]} and hash_buckets"
            raise InputError("", received, "one of them, as hashed values are not counted", "leave one of them out")
        return self

    def named(self, name: str) -> Vocabulary:
        """The vocabulary as a FeatureSet has it."""
        return Vocabulary(name=name, **self.model_dump())


class Declaration(Files):
    """A log and the meaning of its columns; see docs/table.md.

    Args:
      name: of the log: the `source` of its datasets.
      item_id: column of the item's id; not with candidates.
      user_id: column of the user's id, or several that stand for one.
      request_id: columns of which rows of one request agree; default: each record is a request of its own.
      timestamp: column of the time; without one there are no histories, counts and splits by time.
      label: what counts as a click; not with candidates.
      weight: column of sample weights.
      position: column of the place at which the item was shown.
      exposed: column of truth values: rows of one request that were shown, and others.
      stage: column of how far an item got in the cascade; more is farther.
      candidates: records that are whole requests.
      records: `row`, `request` or both; default: both where there are requests of several items.
      list_size: the most candidates of a request.
      features: what models see besides user_id and item_id.
      tables: of users and items.
      vocabularies: sets of ids that are not all defaults, by name.
      splits: how records are divided.
      audit: what the audit may find.
      questions: what could not be decided; delete each when the declaration answers it. Import refuses any.
    """

    name: LogName
    item_id: str | None = None
    user_id: Texts = ()
    request_id: RequestId | None = None
    timestamp: Timestamp | None = None
    label: Label | None = None
    weight: Weight | None = None
    position: Position | None = None
    exposed: str | None = None
    stage: str | None = None
    candidates: Candidates | None = None
    records: Annotated[tuple[RecordKind, ...], BeforeValidator(several), AfterValidator(distinct)] = ()
    list_size: int | None = Field(default=None, ge=1, strict=True)
    features: dict[Name, FeatureDeclaration] = Field(default_factory=dict)
    tables: dict[Name, Table] = Field(default_factory=dict)
    vocabularies: dict[Name, VocabularyDeclaration] = Field(default_factory=dict)
    splits: Splits = Splits()
    audit: Audit = Audit()
    questions: Texts = ()

    @property
    def has_requests(self) -> bool:
        """True if several items may belong to one request."""
        return self.candidates is not None or self.request_id is not None

    @property
    def record_kinds(self) -> tuple[RecordKind, ...]:
        """The record kinds to write, defaults filled in."""
        return self.records or (("row", "request") if self.has_requests else ("row",))

    @property
    def all_features(self) -> dict[str, FeatureDeclaration]:
        """Every feature by its dotted key: `features.price`, `tables.items.features.category`."""
        of_tables = {
            f"tables.{name}.features.{feature}": declared
            for name, table in self.tables.items()
            for feature, declared in table.features.items()
        }
        return {f"features.{name}": feature for name, feature in self.features.items()} | of_tables

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of all features, those of the tables behind."""
        return tuple(key.rpartition(".")[2] for key in self.all_features)

    def feature(self, name: str) -> FeatureDeclaration:
        """The feature of that name, of the log or a table."""
        table = self.table_of(name)
        return self.features[name] if table is None else self.tables[table].features[name]

    def table_of(self, name: str) -> str | None:
        """The table that a feature comes from; None: the log."""
        return next((table for table, declared in self.tables.items() if name in declared.features), None)

    def is_of_event(self, name: str) -> bool:
        """True if a feature reads the time of the event."""
        feature = self.features.get(name)
        if feature is None or feature.is_derived or self.timestamp is None:
            return False
        return (feature.column or name) == self.timestamp.column

    def entity_of(self, table: str) -> Literal["user", "item"] | None:
        """Whose table it is: as it says, or by its name; None: unknown."""
        by_name: dict[str, Literal["user", "item"]] = {"users": "user", "items": "item"}
        return self.tables[table].entity or by_name.get(table)
