"""Reads Criteo: parsed lines as columns of rows."""

import os

import numpy as np

from transforms.arrow import pa, pc
from transforms.batches import Values
from transforms.sources.criteo.schema import CATEGORIES, LABEL_FIELD, LINE, NUMBERS, CriteoOptions
from transforms.sources.line_reader import ReadLines
from transforms.sources.line_source import input_files


def criteo_columns(rows: pa.Table, ordinals: np.ndarray, file_name: str) -> dict[str, Values]:
    """Columns of some rows; see `transforms.sources.line_reader.ToColumns`."""
    empty = np.full(len(ordinals), b"", "S1")
    numbers = pa.array(ordinals + 1).cast(pa.string())
    columns: dict[str, Values] = {
        "request_id": pc.binary_join_element_wise(pa.scalar(file_name), numbers, ":"),
        "user_id": empty,
        "item_id": empty,
        "timestamp": ordinals,
        "label": rows[LABEL_FIELD].to_numpy().astype(np.float32),
    }
    for name in NUMBERS:
        columns[name] = rows[name].to_numpy().astype(np.float32)
    for name in CATEGORIES:
        columns[name] = rows[name].combine_chunks()
    return columns


def read(input_dir: str | os.PathLike[str], options: CriteoOptions) -> ReadLines:
    """Returns the Beam transform that reads a folder."""
    return ReadLines(input_files(input_dir, LINE), LINE, criteo_columns, options)
