"""A sample of the records of some files, each column in one type."""

from collections.abc import Sequence

from transforms.arrow import pa
from transforms.errors import InputError
from transforms.sources.table.convert import texts
from transforms.sources.table.files import LogFile, chunks_of
from transforms.sources.table.formats import read_rows
from transforms.sources.table.parts import Csv

SAMPLE_ROWS = 60_000


def sample(files: Sequence[LogFile], dialect: Csv, columns: Sequence[str]) -> tuple[pa.Table, tuple[str, ...]]:
    """Reads records of the first, the middle and the last file.

    Args:
      files: of one log or table.
      dialect: of CSV and TSV files.
      columns: of all of them; one that a file lacks is missing there.

    Returns:
      The records, and a note on each column whose type differs from file to file.

    Raises:
      InputError: there is no record.
    """
    chosen = [files[place] for place in sorted({0, len(files) // 2, len(files) - 1})]
    tables = []
    for file in chosen:
        left = SAMPLE_ROWS // len(chosen)
        for rows in (rows for chunk in chunks_of(file, dialect) for rows in read_rows(chunk, dialect, columns)):
            tables.append(rows.columns.slice(0, left))
            left -= rows.columns.num_rows
            if left <= 0:
                break
    if not tables or not sum(table.num_rows for table in tables):
        raise InputError(files[0].name, "no records", "a log with records", "name its files")
    columns_read: dict[str, pa.ChunkedArray] = {}
    notes = []
    for name in dict.fromkeys(name for table in tables for name in table.column_names):
        parts = [table[name] if name in table.column_names else pa.nulls(table.num_rows) for table in tables]
        types = dict.fromkeys(part.type for part in parts if not pa.types.is_null(part.type))
        joined = _joined(parts)
        if joined is not None:
            columns_read[name] = joined
        if joined is None or (len(types) > 1 and pa.types.is_string(joined.type)):
            what = "left out" if joined is None else "read as text"
            notes.append(f"{name}: {' in some files, '.join(map(str, types))} in others; {what}")
    return pa.table(columns_read), tuple(notes)


def _joined(parts: Sequence[pa.Array | pa.ChunkedArray]) -> pa.ChunkedArray | None:
    """Returns values of several files in one type; None: lists or objects in some, and single values in others."""
    types = list(dict.fromkeys(part.type for part in parts if not pa.types.is_null(part.type)))
    chunks = [chunk for part in parts for chunk in (part.chunks if isinstance(part, pa.ChunkedArray) else [part])]
    if len(types) > 1 and any(pa.types.is_nested(kind) for kind in types):
        return None
    if len(types) > 1 and all(pa.types.is_integer(kind) for kind in types):
        types = [pa.int64()]
    elif len(types) > 1 and all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in types):
        types = [pa.float64()]
    elif len(types) > 1:
        # A text is missing where it is empty.
        chunks, types = [texts(chunk, str, exact=False) for chunk in chunks], [pa.string()]
    kind = types[0] if types else pa.null()
    return pa.chunked_array([chunk.cast(kind, safe=False) for chunk in chunks], kind)
