"""Reads Avazu: parsed lines as columns of rows."""

import os

import numpy as np

from transforms.arrow import pa, pc
from transforms.batches import Values
from transforms.sources.avazu.schema import CATEGORIES, HOUR_FIELD, KEY_FIELD, LABEL_FIELD, LINE, AvazuOptions
from transforms.sources.line_format import hour_seconds
from transforms.sources.line_reader import ReadLines
from transforms.sources.line_source import input_files


def avazu_columns(rows: pa.Table, ordinals: np.ndarray, file_name: str) -> dict[str, Values]:
    """Columns of some rows; see `transforms.sources.line_reader.ToColumns`."""
    empty = np.full(len(ordinals), b"", "S1")
    columns: dict[str, Values] = {
        "request_id": rows[KEY_FIELD].combine_chunks(),
        "user_id": empty,
        "item_id": empty,
        "timestamp": hour_seconds(rows[HOUR_FIELD].to_numpy()),
        "label": rows[LABEL_FIELD].to_numpy().astype(np.float32),
    }
    for name in CATEGORIES:
        column = rows[name].combine_chunks()
        columns[name] = pc.fill_null(column.cast(pa.string()), "") if column.type == pa.int64() else column
    return columns


def read(input_dir: str | os.PathLike[str], options: AvazuOptions) -> ReadLines:
    """Returns the Beam transform that reads a folder."""
    return ReadLines(input_files(input_dir, LINE), LINE, avazu_columns, options)
