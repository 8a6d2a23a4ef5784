"""Reads Avazu: lines as columns of rows."""

from datetime import UTC, datetime

import numpy as np

from transforms.sources.avazu.schema import CATEGORIES, HOUR_FIELD, KEY_FIELD, LABEL_FIELD, LINE
from transforms.sources.line_reader import LineReader
from transforms.sources.text_table import Converted, TextRows

_NO_TIME = -1


def avazu_columns(rows: TextRows, ordinals: np.ndarray, file_name: str) -> dict[str, Converted]:
    """Returns the columns of some rows; see `transforms.sources.line_reader.ToColumns`."""
    empty = np.full(len(ordinals), b"", "S1")
    seconds = hour_seconds(rows.integers(HOUR_FIELD))
    rows.refuse(seconds == _NO_TIME, HOUR_FIELD, LINE.fields[HOUR_FIELD].expected)
    return {
        "request_id": rows.values(KEY_FIELD),
        "user_id": empty,
        "item_id": empty,
        "timestamp": seconds,
        "label": rows.integers(LABEL_FIELD).astype(np.float32),
        **{name: rows.values(name) for name in CATEGORIES},
    }


def hour_seconds(hours: np.ndarray) -> np.ndarray:
    """Start of each hour YYMMDDHH of this century in seconds UTC; -1 where there is no such hour.

    Args:
      hours: [n] int64.
    """
    distinct, places = np.unique(hours, return_inverse=True)
    return np.array([_seconds(f"{hour:08d}") for hour in distinct], np.int64)[places]


def _seconds(hour: str) -> int:
    try:
        # The year in full: of two digits, Python takes 69 to 99 for the last century.
        return int(datetime.strptime(f"20{hour}", "%Y%m%d%H").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return _NO_TIME


_reader = LineReader("train.csv", LINE, avazu_columns, time_field=HOUR_FIELD)
check, read, origin = _reader.check, _reader.read, _reader.origin
