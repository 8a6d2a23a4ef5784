"""What may stand in the lines of a raw file, and the options that every import of such files takes."""

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np
from pydantic import Field

from transforms.sources.base import SourceOptions

MOST_HEX_DIGITS = 16
MOST_KEY_DIGITS = 20
NO_TIME = -1


class Kind(Enum):
    """What a field may hold: the pattern of all its bytes, and the same in words."""

    LABEL = (rb"[01]", "0 or 1")
    INTEGER = (rb"(-?[0-9]{1,18})?", "an integer or nothing")
    HEX = (rb"[0-9a-fA-F]{0,%d}" % MOST_HEX_DIGITS, f"1 to {MOST_HEX_DIGITS} hex digits or nothing")
    KEY = (rb"[0-9]{1,%d}" % MOST_KEY_DIGITS, f"1 to {MOST_KEY_DIGITS} digits")
    HOUR = (rb"[0-9]{8}", "an hour YYMMDDHH, e.g. 14102100")

    @property
    def expected(self) -> str:
        """What should stand there, for messages."""
        return self.value[1]

    def allows(self, value: bytes) -> bool:
        """True if a field of this kind may hold `value`."""
        if not re.fullmatch(self.value[0], value):
            return False
        return self is not Kind.HOUR or hour_seconds(np.array([int(value)]))[0] != NO_TIME


@dataclass(frozen=True)
class LineFormat:
    """The lines of a raw file.

    Args:
      file: name of the file as it is published.
      fields: kind of each field, in order; one of them is the label.
      summary: the fields in words.
      delimiter: one character between fields.
      header: the first line names the fields.
    """

    file: str
    fields: Mapping[str, Kind]
    summary: str
    delimiter: Literal["\t", ","]
    header: bool

    @property
    def expected(self) -> str:
        """What a line should look like, for messages."""
        return f"{len(self.fields)} fields: {self.summary}"

    @property
    def label(self) -> str:
        """Name of the label's field."""
        return next(name for name, kind in self.fields.items() if kind is Kind.LABEL)

    @property
    def header_line(self) -> bytes:
        """The first line of a file with a header, without its end."""
        return self.delimiter.join(self.fields).encode()


class LineOptions(SourceOptions):
    """Options of an import of lines.

    Args:
      seed: of the random split of a train file that comes alone.
      splits: how a train file that comes alone is split: `random` 8:1:1 by seed and line, or `time`: the
        first 80 % of its lines are `train`, the next 10 % `eval`, the last 10 % `test`.
      frequency_threshold: a token seen less often in the training split is out of vocabulary.
      chunk_bytes: raw bytes read at once by one worker; bounds its memory.
      batch_rows: rows in a shard at most.
    """

    splits: Literal["random", "time"] = "random"
    frequency_threshold: int = Field(default=1, ge=1)
    chunk_bytes: int = Field(default=32 << 20, ge=1, le=1 << 30)
    batch_rows: int = Field(default=50_000, ge=1)


def hour_seconds(hours: np.ndarray) -> np.ndarray:
    """Start of each hour YYMMDDHH of this century in seconds UTC; `NO_TIME` where there is no such hour.

    Args:
      hours: [n] int64.
    """
    distinct, places = np.unique(hours, return_inverse=True)
    return np.array([_seconds(int(hour)) for hour in distinct], np.int64)[places]


def _seconds(hour: int) -> int:
    rest, of_day = divmod(hour, 100)
    rest, day = divmod(rest, 100)
    year, month = divmod(rest, 100)
    if not 0 <= year < 100:
        return NO_TIME
    try:
        return int(datetime.datetime(2000 + year, month, day, of_day, tzinfo=datetime.UTC).timestamp())
    except ValueError:
        return NO_TIME
