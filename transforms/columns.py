"""The columns of a record: their types, shapes and domains, and those that every record has."""

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from transforms.names import MAX_LIST_NAME_LENGTH, Name, with_current_names

RecordKind = Literal["row", "request"]
Split = Literal["train", "eval", "test"]
SPLITS: tuple[Split, ...] = ("train", "eval", "test")
RECORD_KINDS: tuple[RecordKind, ...] = ("row", "request")

LAST_TIMESTAMP = 4_102_444_799
"""The last second of 2099: what is later is no time in seconds."""

MISSING_STRING = b""
MISSING_INT = -1
"""Missing values stand in records as markers: empty string, -1, NaN; so every record has every column."""

LENGTHS = "_lengths"
"""Ends the name of the input of a request that holds the lengths of a list column."""
COUNT = "_count"
"""Ends the name of the input that holds how many places of each row are no padding: of `candidate`, of `exclude`."""
UNKNOWN_LENGTH = -1
"""As a length in a request: the list ends with its last element that is no missing marker."""


class Shape(StrEnum):
    """The shape of a column in a batch of records."""

    SCALAR = "scalar"  # [B]
    RAGGED = "ragged"  # [B, (N)]: a variable-length list
    CANDIDATES = "candidates"  # [B, M]: one value a candidate
    VALUES = "values"  # [B, W]: a fixed number of values
    CANDIDATE_VALUES = "candidate_values"  # [B, M, W]: a fixed number of values a candidate

    @property
    def per_candidate(self) -> bool:
        """True if there is one entry for each candidate."""
        return self in (Shape.CANDIDATES, Shape.CANDIDATE_VALUES)

    def sizes(self, batch: Any, candidates: Any, length: Any, width: Any) -> list[Any]:
        """Returns the sizes of a batch's dimensions, each as it is given.

        Args:
          batch: B.
          candidates: M.
          length: N, of a list.
          width: W, of a fixed number of values.
        """
        more = {Shape.RAGGED: [length], Shape.CANDIDATES: [candidates], Shape.VALUES: [width]}
        more[Shape.CANDIDATE_VALUES] = [candidates, width]
        return [batch, *more.get(self, [])]


class Declaration(BaseModel):
    """The base of what a feature set is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    _renamed = model_validator(mode="before")(with_current_names)


class Column(Declaration):
    """One field of a record.

    Args:
      name: key in the tf.Example.
      dtype: `string`, `int64` or `float`.
      entity: whose value it is. In request records `item` columns are lists of one value a candidate.
      width: W, a fixed number of values in each record, or of each candidate in request records; None: one value, or
        a list. A float column is a dense vector: with a missing value all of it is missing. Of strings and integers it
        is a multi-valued categorical (tags, genres), whose order means nothing: fewer values are padded with the
        missing marker at the end.
      variable_length: a list of any length (a history); most recent last.
      max_length: keep the last so many values of a list in the model; None keeps all.
      min_value, max_value: domain of numbers. A value outside, or an infinity, is refused where records are written,
        trained on and evaluated, and by the anomaly gate; without bounds an infinity counts as missing.
      required: no value may be missing: of padded candidates alone.
      model_input: False for keys, labels, masks, truths and anything measured after the click:
        a `Feature` on such a column is refused.
    """

    name: Name
    dtype: Literal["string", "int64", "float"]
    entity: Literal["user", "context", "item"]
    width: int | None = Field(default=None, ge=1)
    variable_length: bool = False
    max_length: int | None = Field(default=None, ge=1)
    min_value: float | None = None
    max_value: float | None = None
    required: bool = False
    model_input: bool = True

    @model_validator(mode="after")
    def _check_bounds(self) -> "Column":
        if self.variable_length and len(self.name) > MAX_LIST_NAME_LENGTH:
            raise ValueError(f"name {self.name!r}: a list has a name of at most {MAX_LIST_NAME_LENGTH} characters")
        if self.width is not None and (self.variable_length or self.max_length is not None):
            raise ValueError(f"column {self.name!r} has a width, {self.width}, and is a list; leave one of them out")
        if self.width is not None and self.required and self.dtype != "float":
            raise ValueError(f"column {self.name!r} has a width, so that values may be missing; leave `required` out")
        bounds = [bound for bound in (self.min_value, self.max_value) if bound is not None]
        if bounds and self.dtype == "string":
            raise ValueError(f"column {self.name!r} is a string and has bounds; leave them out")
        if any(math.isnan(bound) or math.isinf(bound) for bound in bounds) or bounds != sorted(bounds):
            raise ValueError(
                f"column {self.name!r} has bounds {bounds}; expected finite numbers, the minimum first; "
                "leave a bound out where there is none"
            )
        return self

    @property
    def lengths(self) -> "Column":
        """Of a list or of the mask `candidate`: the input `[B]` that says how many elements of each row are no padding.

        No record has it: a list in a record ends where it ends.
        """
        end = LENGTHS if self.variable_length else COUNT
        return Column(name=f"{self.name}{end}", dtype="int64", entity="context", model_input=False)

    @property
    def marker(self) -> bytes | int | float:
        """What stands for a missing value, and for padding."""
        markers: dict[str, bytes | int | float] = {"string": MISSING_STRING, "int64": MISSING_INT, "float": math.nan}
        return markers[self.dtype]

    @property
    def has_lengths(self) -> bool:
        """True of lists and of the mask of candidates."""
        return self.variable_length or self.name == CANDIDATE

    def shape(self, record: RecordKind) -> Shape:
        """Shape of this column in a batch of `record` records."""
        if self.variable_length:
            return Shape.RAGGED
        if record == "request" and self.entity == "item":
            return Shape.CANDIDATES if self.width is None else Shape.CANDIDATE_VALUES
        return Shape.SCALAR if self.width is None else Shape.VALUES


ROW_KEYS = (
    Column(name="request_id", dtype="string", entity="context", model_input=False),
    Column(name="user_id", dtype="string", entity="user"),
    Column(name="item_id", dtype="string", entity="item"),
    Column(name="timestamp", dtype="int64", entity="context", min_value=0, max_value=LAST_TIMESTAMP, required=True),
    Column(name="label", dtype="float", entity="item", min_value=0.0, max_value=1.0, required=True, model_input=False),
)
"""Columns that every record has."""


REQUEST_MASKS = (
    Column(name="candidate", dtype="int64", entity="item", min_value=0, max_value=1, model_input=False),
    Column(name="exposed", dtype="int64", entity="item", min_value=0, max_value=1, model_input=False),
)
"""Masks that every request record has besides: real (not padding), and shown to the user."""

LABEL, EXPOSED, CANDIDATE, WEIGHT = "label", "exposed", "candidate", "weight"
TIMESTAMP, ITEM_ID = "timestamp", "item_id"
STAGE = "stage"
"""A column of request records that some sources have: how far a candidate got, 0 for padding, more is farther."""
TEACHER_HIDDEN = "teacher_hidden"
"""What no record has and a batch may bring along: a frozen ranker's last hidden layer of each row, float32 `[B, H]`."""

WEIGHT_COLUMN = Column(name=WEIGHT, dtype="float", entity="item", min_value=0.0, required=True, model_input=False)
"""A column that a source may declare: what a row, or a candidate, counts in losses and metrics; 1 without it."""

CATALOGUE_PLACE = "catalogue_place"
"""In a batch: the place of a row's item in the catalogue of the training."""
RESERVED = frozenset({LABEL, EXPOSED, CANDIDATE, WEIGHT, TIMESTAMP, STAGE, TEACHER_HIDDEN, CATALOGUE_PLACE})
"""What a batch has besides its features, under these names."""


def with_lengths(columns: Iterable[Column]) -> tuple[Column, ...]:
    """The columns as a request carries them: behind each list its lengths, behind `candidate` its counts."""
    return tuple(one for column in columns for one in ((column, column.lengths) if column.has_lengths else (column,)))


def check_key(column: Column, key: Column) -> None:
    """Refuses a source's column that loosens one that every record has; it may only narrow it."""
    # Ids of users and items may be integers.
    fixed = ["entity", "variable_length", "width", *(["dtype"] if key.dtype != "string" else [])]
    different = [name for name in fixed if getattr(column, name) != getattr(key, name)]
    looser = {
        "model_input": column.model_input and not key.model_input,
        "required": key.required and not column.required,
        "min_value": key.min_value is not None and (column.min_value is None or column.min_value < key.min_value),
        "max_value": key.max_value is not None and (column.max_value is None or column.max_value > key.max_value),
    }
    different += [name for name, loosened in looser.items() if loosened]
    if different:
        expected = ", ".join(f"{name}={getattr(key, name)!r}" for name in different)
        whose = "holds sample weights" if key.name == WEIGHT else "every record has"
        raise ValueError(f"column {column.name!r} is one that {whose}; expected {expected}; or leave it out")
