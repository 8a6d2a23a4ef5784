"""The dialect of a text file: its delimiter, and whether its first line names the columns."""

import csv as python_csv
import re
from typing import Any

from transforms.sources.table.files import LogFile, opened
from transforms.sources.table.parts import Csv


def dialect_of(file: LogFile) -> Csv:
    """Guesses the dialect of a text file from its first lines."""
    if file.format not in ("csv", "tsv"):
        return Csv()
    with opened(file) as stream:
        lines = stream.read(1 << 16).removeprefix(b"\xef\xbb\xbf").decode(errors="replace").splitlines()
    # The last one may be cut.
    lines = lines[:50] if len(lines) > 50 else lines[:-1] or lines
    default = "\t" if file.format == "tsv" else ","

    def fields_of(mark: str) -> list[list[str]]:
        return [row for row in python_csv.reader(lines, delimiter=mark) if row]

    def fits(mark: str) -> tuple[bool, int, bool]:
        sizes = {len(row) for row in fields_of(mark)}
        return len(sizes) == 1, max(sizes, default=0), mark == default

    delimiter = max((default, ";", "\t", "|", ","), key=fits)
    rows = fields_of(delimiter)
    values: dict[str, Any] = {} if delimiter == default else {"delimiter": delimiter}
    if rows and not _is_header(rows):
        values |= {"header": False, "columns": tuple(f"c{place}" for place in range(len(rows[0])))}
    return Csv(**values)


def _is_header(rows: list[list[str]]) -> bool:
    """True if the first row is not made as the others are; columns of plain words do not tell."""
    votes = 0
    for place, first in enumerate(rows[0]):
        shapes = {_shape(row[place]) for row in rows[1:] if place < len(row)}
        if shapes - {"a", ""}:
            votes += -1 if _shape(first) in shapes else 1
    return votes >= 0 and len(set(rows[0])) == len(rows[0])


def _shape(text: str) -> str:
    """The text with a run of digits written as 0 and a run of letters as a."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", text.strip()))
