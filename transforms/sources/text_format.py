"""What may stand in the fields of a raw text table, and how a missing value is written there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class FieldKind:
    """What a field may hold.

    Args:
      pattern: of all its text (RE2).
      expected: the same in words, for messages.
      dtype: of the records' column.
      missing: texts that stand for no value.
    """

    pattern: str
    expected: str
    dtype: Literal["int64", "float", "string"]
    missing: tuple[str, ...] = ()

    @property
    def whole_pattern(self) -> str:
        """The pattern with the missing texts, from the first character to the last."""
        texts = "|".join((self.pattern, *(re.escape(text) for text in self.missing)))
        return rf"\A(?:{texts})\z"


_NONE = ("", "NULL", "null", "UNKNOWN", "-124")
KEY = FieldKind(r"[0-9]{1,18}", "a number of 0 or more", "int64")
FLAG = FieldKind(r"[01]", "0 or 1", "int64")
SECONDS = FieldKind(r"-?[0-9]{1,18}", "seconds since 1970", "int64")
# A column of integers with gaps becomes one of floats in some tools, and is published as such.
CATEGORY = FieldKind(r"[0-9]{1,18}(?:\.0+)?", "a number of 0 or more, or nothing", "int64", _NONE)
COUNT = FieldKind(r"[0-9]{1,18}(?:\.[0-9]*)?", "a number of 0 or more, or nothing", "float", _NONE)
NUMBER = FieldKind(r"-?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?", "a number or nothing", "float", _NONE)
TEXT = FieldKind(r"[^\n]*", "text on one line", "string", _NONE)


@dataclass(frozen=True)
class TextFormat:
    """A raw text table.

    Args:
      fields: the fields that are read, by name; without a header, and with `by_position`, all of them in order.
      delimiter: between fields; of two characters in old files of MovieLens.
      header: the first line names the fields.
      by_position: the header's names are not looked at, only how many there are.
      quoted: a field that holds the delimiter stands in double quotes.
      other_names: names in other copies of the file, with the name in `fields`.
    """

    fields: Mapping[str, FieldKind]
    delimiter: str = ","
    header: bool = True
    by_position: bool = False
    quoted: bool = False
    other_names: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> str:
        """The fields in words, for messages."""
        return f"{len(self.fields)} fields: {', '.join(self.fields)}"
