"""Parts of a declaration: files and their format, times, labels, requests, splits."""

import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from transforms.errors import InputError
from transforms.features import Split
from transforms.sources.table.key_types import (
    Decimal,
    Finite,
    Format,
    Keys,
    Pattern,
    Section,
    Texts,
    Unit,
    Values,
    Window,
    Zone,
    refuse_unit_and_format,
    several,
)

FORMATS_BY_SUFFIX: dict[str, Format] = {
    ".csv": "csv", ".txt": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".parquet": "parquet", ".pq": "parquet", ".avro": "avro", ".tfrecord": "tfrecord", ".tfrecords": "tfrecord",
}  # fmt: skip
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


class Csv(Section):
    """The dialect of CSV and TSV files.

    Args:
      delimiter: between fields; default: a comma, or a tab for TSV.
      header: the first line of each file names the columns.
      columns: names of the columns of files without a header.
      quote: around fields that hold delimiters; empty: no quoting, as is usual in TSV files.
      multiline: fields in quotes may hold line breaks; such files are not read in parallel.
      decimal: the decimal mark of numbers: `.`, or `,` for `26,04` and `1.234,56`, a dot between thousands.
      missing: texts that mean a missing value.
    """

    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    header: bool = True
    columns: Annotated[tuple[str, ...], BeforeValidator(several)] = ()
    quote: str | None = Field(default=None, max_length=1)
    multiline: bool = False
    decimal: Decimal = "."
    missing: Texts = ("", "NULL", "null", "NaN", "nan", "\\N")

    @model_validator(mode="after")
    def _check(self) -> "Csv":
        if self.columns and self.header:
            fix = "set header: false, or leave columns out"
            raise InputError("columns", "names beside header: true", "names from one of them", fix)
        if not self.header and not self.columns:
            raise InputError("columns", "nothing", "names of the columns", "name them, as csv.header is false")
        if self.delimiter is not None and self.delimiter in (self.quote, "\n", "\r"):
            what = "a mark that is not the quote" if self.delimiter == self.quote else "a mark within a line"
            raise InputError("delimiter", repr(self.delimiter), what, "correct it")
        return self


class Files(Section):
    """Where a log or a table is.

    Args:
      files: a file, a folder, a pattern (`clicks/*.csv`, `**` for folders of any depth), or several of these, relative
        to the declaration's folder. Folders `key=value` become columns. For BigQuery: `project.dataset.table`.
      format: of the files; default: by their names, inside `.gz`, `.zst` and `.bz2`.
      csv: the dialect of CSV and TSV files.
    """

    files: Keys
    format: Format | None = None
    csv: Csv = Csv()

    def format_of(self, path: str | os.PathLike[str]) -> Format:
        """The format of one file.

        Raises:
          InputError: its name does not say.
        """
        suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
        kept = [suffix for suffix in suffixes if suffix not in COMPRESSIONS]
        by_name = FORMATS_BY_SUFFIX.get(kept[-1]) if kept else None
        if self.format is None and by_name is None:
            expected = f"a name that ends with one of {', '.join(FORMATS_BY_SUFFIX)}"
            raise InputError(
                str(path), "a file of unknown format", expected, f"set format: {', '.join(get_args(Format))}"
            )
        return self.format or by_name  # type: ignore[return-value]


class Timestamp(Section):
    """A column of times; `timestamp: at` is short for its column alone.

    Args:
      column: of the log or table.
      unit: of numbers since 1970: `s`, `ms`, `us`, `ns`; default: s.
      format: of texts, and of numbers such as 20260131: a pattern of strptime (`%d.%m.%Y %H:%M`); default: ISO 8601.
      timezone: of times that do not say theirs, e.g. Europe/Berlin; default: UTC. Hours and weekdays are local.
    """

    _short: ClassVar[str] = "column"
    column: str
    unit: Unit | None = None
    format: Pattern | None = None
    timezone: Zone | None = None

    @model_validator(mode="after")
    def _check(self) -> "Timestamp":
        refuse_unit_and_format(self.unit, self.format)
        return self


class Label(Section):
    """What counts as a click; `label: clicked` is short for a column of truth values.

    Args:
      column: 0 and 1, true and false; or numbers from 0 to 1.
      positive: the values of the column that are positive; all others are negative.
      at_least, above: thresholds of a number, of ratings or seconds say.
      missing: `negative` takes missing values for 0; otherwise they are refused.
    """

    _short: ClassVar[str] = "column"
    column: str
    positive: Values = ()
    at_least: Finite | None = None
    above: Finite | None = None
    missing: Literal["refused", "negative"] = "refused"

    @model_validator(mode="after")
    def _check(self) -> "Label":
        rules = [name for name in ("positive", "at_least", "above") if getattr(self, name) not in ((), None)]
        if len(rules) > 1:
            raise InputError("", " and ".join(rules), "one of positive, at_least, above", "leave one of them")
        return self


class Weight(Section):
    """Sample weights; `weight: w` is short for their column.

    Args:
      column: of numbers, 0 or more.
      missing: the weight of records that have none, e.g. 1; otherwise they are refused.
    """

    _short: ClassVar[str] = "column"
    column: str
    missing: Literal["refused"] | Annotated[float, Field(ge=0, allow_inf_nan=False)] = "refused"


class RequestId(Section):
    """What one request is: rows that agree in columns, and with a window also in time.

    Args:
      columns: of the log; empty with a window: the user.
      window: rows of the same interval of this length; intervals start at multiples of it.
    """

    _short: ClassVar[str] = "columns"
    columns: Texts = ()
    window: Window | None = None

    @model_validator(mode="after")
    def _check(self) -> "RequestId":
        if not self.columns and self.window is None:
            raise InputError("", "nothing", "columns of the log, a window, or both", "say which rows are one request")
        return self


class Position(Section):
    """The place at which an item was shown; `position: pos` is short for its column.

    Args:
      column: of the log.
      input: whether models may read it. It is not known before the item is shown.
    """

    _short: ClassVar[str] = "column"
    column: str
    input: bool = False


class Candidates(Section):
    """Records that are whole requests: list columns, or delimited texts, of the same length.

    Args:
      items: column of the candidates' ids.
      labels: column of their labels, parallel to items.
      clicked: column of the ids that were clicked, in place of labels.
      exposed: column of truth values, parallel to items.
      shown: column of the ids that were shown, in place of exposed. Without either all were shown.
      stage, position: columns of numbers, parallel to items.
      weight: column of sample weights, parallel to items; as `weight` of rows.
      missing: `negative` takes missing labels for 0; otherwise they are refused.
      separator: between the elements of delimited texts.
      label_after: between id and label in each element of items: `-` for `N1-1 N2-0`.
    """

    items: str
    labels: str | None = None
    clicked: str | None = None
    exposed: str | None = None
    shown: str | None = None
    stage: str | None = None
    position: str | None = None
    weight: Weight | None = None
    missing: Literal["refused", "negative"] = "refused"
    separator: str | None = Field(default=None, min_length=1)
    label_after: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "Candidates":
        labels = [name for name in ("labels", "clicked", "label_after") if getattr(self, name)]
        if len(labels) != 1:
            expected = "one of labels, clicked, label_after"
            raise InputError("", " and ".join(labels) or "no labels", expected, "say which candidates were clicked")
        if self.exposed and self.shown:
            raise InputError("", "exposed and shown", "one of them", "leave one of them out")
        for name in ("items", "shown"):
            if self.clicked is not None and self.clicked == getattr(self, name):
                expected = f"another column than that of {name}, as not all of these were clicked"
                raise InputError("clicked", repr(self.clicked), expected, "name the column of the clicked ids")
        if self.label_after is not None and self.label_after == self.separator:
            raise InputError("label_after", repr(self.label_after), "another mark than the separator", "correct it")
        if self.missing == "negative" and not self.labels:
            raise InputError("missing", "'negative'", "nothing; it belongs to labels", "leave it out")
        return self


_SPLIT_KEYS = {
    "shares": ("time", "user", "random"),
    "dates": ("time",),
    "column": ("column",),
    "values": ("column", "files"),
    "seed": ("user", "random"),
}
"""The ways of splitting that each key belongs to."""


class Splits(Section):
    """How records are divided.

    Args:
      by: time, user, column, files or random.
      shares: of train, eval and test, for time, user and random.
      dates: for time: when eval and test begin, e.g. {eval: 2026-01-08, test: 2026-01-09}; UTC, unless the timestamp
        has a timezone.
      column: for column: of the log.
      values: for column, the values of each split; for files, patterns of names. What is not named is train.
      seed: for user and random.
    """

    _short: ClassVar[str] = "by"
    by: Literal["time", "user", "column", "files", "random"] = "time"
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    dates: dict[Literal["eval", "test"], str] | None = None
    column: str | None = None
    values: dict[Split, Values] = Field(default_factory=dict)
    seed: int = Field(default=0, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _write_dates(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and isinstance(value.get("dates"), Mapping):
            return {**value, "dates": {split: str(date) for split, date in value["dates"].items()}}
        return value

    @model_validator(mode="after")
    def _check(self) -> "Splits":
        for name, kinds in _SPLIT_KEYS.items():
            if name in self.model_fields_set and getattr(self, name) and self.by not in kinds:
                fix = f"leave {name} out, or split by {kinds[0]}"
                raise InputError(name, f"a value beside by: {self.by}", f"it only for {', '.join(kinds)}", fix)
        if self.dates is not None and "shares" in self.model_fields_set:
            raise InputError("", "shares and dates", "one of them", "leave one of them out")
        if self.dates is not None and len(self.dates) < 2:
            missing = "test" if "eval" in self.dates else "eval"
            raise InputError(f"dates.{missing}", "nothing", "when it begins", "add it, or give shares")
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6 or self.shares[0] == 0:
            raise InputError(
                "shares", list(self.shares), "three shares that add up to 1, of train the first", "correct it"
            )
        if self.by in ("column", "files") and not self.values:
            raise InputError("values", "nothing", "values of eval and test", f"name them, as the split is by {self.by}")
        if self.by == "column" and not self.column:
            raise InputError("column", "nothing", "a column of the log", "name the column that says the split")
        places: dict[str, str] = {}
        for split, values in self.values.items():
            for value in values:
                if places.setdefault(str(value), split) != split:
                    received = f"{value!r}, which {places[str(value)]} has too"
                    raise InputError(f"values.{split}", received, "a value of one split", "leave one of them out")
        return self
