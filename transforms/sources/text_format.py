"""What may stand in the fields of raw text, and how a missing value is written there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

DType = Literal["int64", "float", "string"]


@dataclass(frozen=True)
class CharacterRun:
    """Characters of one set: what a reader checks byte by byte, much faster than a pattern.

    Args:
      characters: the set as in a pattern's brackets, e.g. `0-9`; ASCII.
      shortest, longest: how many of them.
      signed: a minus may stand in front.
    """

    characters: str
    shortest: int
    longest: int
    signed: bool = False

    @property
    def pattern(self) -> str:
        """The same as a pattern."""
        return f"{'-?' if self.signed else ''}[{self.characters}]{{{self.shortest},{self.longest}}}"


@dataclass(frozen=True)
class FieldKind:
    """What a field may hold.

    Args:
      form: of all its text: a pattern (RE2), or a run of characters, for which `missing` is the empty text or nothing.
      expected: the same in words, for messages.
      dtype: of the records' column.
      missing: texts that stand for no value.
    """

    form: str | CharacterRun
    expected: str
    dtype: DType
    missing: tuple[str, ...] = ()

    @property
    def alternatives(self) -> str:
        """A pattern of every allowed text: values and missing texts."""
        pattern = self.form if isinstance(self.form, str) else self.form.pattern
        return "|".join((pattern, *(re.escape(text) for text in self.missing)))

    def allows(self, text: str) -> bool:
        """True if a field of this kind may hold `text`."""
        return re.fullmatch(self.alternatives, text) is not None


_DIGITS = CharacterRun("0-9", 1, 18)
_NONE = ("", "NULL", "null", "UNKNOWN", "-124")
KEY = FieldKind(_DIGITS, "a number of 0 or more", "int64")
LONG_KEY = FieldKind(CharacterRun("0-9", 1, 20), "1 to 20 digits", "string")
FLAG = FieldKind(CharacterRun("01", 1, 1), "0 or 1", "int64")
SECONDS = FieldKind(CharacterRun("0-9", 1, 18, signed=True), "seconds since 1970", "int64")
HEX = FieldKind(CharacterRun("0-9a-fA-F", 1, 16), "1 to 16 hex digits or nothing", "string", ("",))
INTEGER = FieldKind(CharacterRun("0-9", 1, 18, signed=True), "an integer or nothing", "float", ("",))
INTEGER_CODE = FieldKind(INTEGER.form, INTEGER.expected, "string", INTEGER.missing)
# A column of integers with gaps becomes one of floats in some tools, and is published as such.
CATEGORY = FieldKind(r"[0-9]{1,18}(?:\.0+)?", "a number of 0 or more, or nothing", "int64", _NONE)
COUNT = FieldKind(r"[0-9]{1,18}(?:\.[0-9]*)?", "a number of 0 or more, or nothing", "float", _NONE)
NUMBER = FieldKind(r"-?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?", "a number or nothing", "float", _NONE)
TEXT = FieldKind(r"[^\n]*", "text on one line", "string", _NONE)


@dataclass(frozen=True)
class TextFormat:
    """A raw text table.

    Args:
      fields: the fields that are read, by name; all of them in order, but with a header of `names`.
      delimiter: between fields; of two characters in old files of MovieLens.
      header: what the first line is. `names`: of the fields, in any order and among others; `exact`: the names of
        `fields`; `counted`: other names, as many as `fields`; `none`: a row like the others.
      quoted: a field that holds the delimiter stands in double quotes.
      other_names: names in other copies of the file, with the name in `fields`.
      summary: the fields in words; their names where it is empty.
    """

    fields: Mapping[str, FieldKind]
    delimiter: str = ","
    header: Literal["names", "exact", "counted", "none"] = "names"
    quoted: bool = False
    other_names: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""

    @property
    def header_lines(self) -> int:
        """Lines above the first row: 1 or 0."""
        return int(self.header != "none")

    @property
    def expected(self) -> str:
        """The fields in words, for messages."""
        return f"{len(self.fields)} fields: {self.summary or ', '.join(self.fields)}"
