"""Reads Criteo: lines as columns of rows."""

import numpy as np

from transforms.arrow import pa, pc
from transforms.sources.criteo.schema import CATEGORIES, LABEL_FIELD, LINE, NUMBERS
from transforms.sources.line_reader import LineReader
from transforms.sources.text_table import Converted, TextRows


def criteo_columns(rows: TextRows, ordinals: np.ndarray, file_name: str) -> dict[str, Converted]:
    """Returns the columns of some rows; see `transforms.sources.line_reader.ToColumns`."""
    empty = np.full(len(ordinals), b"", "S1")
    numbers = pa.array(ordinals + 1).cast(pa.string())
    return {
        "request_id": pc.binary_join_element_wise(pa.scalar(file_name), numbers, ":"),
        "user_id": empty,
        "item_id": empty,
        "timestamp": ordinals,
        "label": rows.integers(LABEL_FIELD).astype(np.float32),
        **{name: rows.values(name) for name in (*NUMBERS, *CATEGORIES)},
    }


_reader = LineReader("train.txt", LINE, criteo_columns)
check, read, origin = _reader.check, _reader.read, _reader.origin
