"""Parsed lines of Criteo as columns of rows."""

import numpy as np

from transforms.arrow import pa, pc
from transforms.batches import Values
from transforms.sources.criteo_options import CATEGORIES, LABEL_FIELD, NUMBERS


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
