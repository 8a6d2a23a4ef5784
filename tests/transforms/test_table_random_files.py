"""Random small files are read as the plain readers of Python and Arrow read them."""

import csv
import gzip
import io
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from transforms.arrow import pa, pq
from transforms.sources.table.convert import texts
from transforms.sources.table.files import chunks_of, find_files
from transforms.sources.table.formats import column_names, read_rows
from transforms.sources.table.lists import lists
from transforms.sources.table.parts import Csv, Files

PIECES = ["a", "B7", " ", '"', '""', "'", ",", ";", "\t", "|", "é", "日本", "\u2028", "\x85", "\\", "\\N", "#", "-",
          "0", "1.0", "N1-1", "{", "]", "\ufeff", "NULL", "😀"]  # fmt: skip


def _text(random: Random, breaks: bool) -> str:
    pieces = [*PIECES, "\n", "\r\n"] if breaks else PIECES
    return "".join(random.choice(pieces) for _ in range(random.choice([0, 0, 1, 1, 2, 5, 30])))


def _csv_file(random: Random, path: Path) -> tuple[Csv, list[list[str]]]:
    """Writes a file, and returns its dialect and its rows as `csv.reader` reads them."""
    mark, end = random.choice(",;\t|"), random.choice(["\n", "\r\n"])
    quoted, breaks, header = random.random() < 0.8, random.random() < 0.3, random.random() < 0.7
    width = random.choice([1, 2, 3, 7])
    options: dict[str, Any] = {"delimiter": mark, "lineterminator": end}
    options |= {"quoting": random.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])} if quoted else {}
    options |= {} if quoted else {"quoting": csv.QUOTE_NONE, "quotechar": None}
    rows = [[_text(random, breaks and quoted) for _ in range(width)] for _ in range(random.choice([1, 2, 5, 40]))]
    if not quoted:
        rows = [[value.replace(mark, "") for value in row] for row in rows]
    # A line without any character is no record; a mark at the start of a file is none of a value.
    rows = [row if any(row) or width > 1 else ["x"] for row in rows]
    rows[0][0] = rows[0][0].lstrip("\ufeff") or "x"
    text = io.StringIO()
    names = [f"c{place}" for place in range(width)]
    for row in ([names] if header else []) + rows:
        line = io.StringIO()
        if quoted:
            csv.writer(line, **options).writerow(row)
        else:
            line.write(mark.join(row) + end)
        text.write(line.getvalue() + end * (random.random() < 0.1))
    content = text.getvalue()
    content = content if random.random() < 0.7 or not rows[-1][-1] else content.rstrip("\r\n")
    data = ("\ufeff" * (random.random() < 0.3) + content).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    reader = csv.reader(io.StringIO(content, newline=""), **options)
    expected = [row for row in reader if row][1 if header else 0 :]
    dialect = Csv(delimiter=mark, header=header, columns=() if header else tuple(names), missing=("",),
                  quote=None if quoted else "", multiline=breaks)  # fmt: skip
    return dialect, expected


@pytest.mark.parametrize("seed", range(4))
def test_delimited_files_are_read_as_by_the_csv_module(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    for number in range(40):
        path = tmp_path / f"{number}.csv{random.choice(['', '', '.gz'])}"
        dialect, expected = _csv_file(random, path)
        (file,) = find_files(Files(files=(path.name,), csv=dialect), tmp_path)
        names = column_names(file, dialect)
        assert names == [f"c{place}" for place in range(len(expected[0]))]
        read = [rows for chunk in chunks_of(file, dialect, random.choice([30, 1 << 20]))
                for rows in read_rows(chunk, dialect, names)]  # fmt: skip
        columns = [[value for rows in read for value in texts(rows.columns[name], str).to_pylist()] for name in names]
        assert list(map(list, zip(*columns, strict=True))) == expected, (path, dialect)
        order = np.concatenate([rows.order for rows in read])
        assert (np.diff(order) > 0).all()


def _value(random: Random) -> Any:
    kind = random.choice(["text", "text", "null", "int", "big", "float", "list"])
    values = {"text": _text(random, True), "null": None, "int": random.randint(-9, 9), "float": random.random() * 100,
              "big": random.randint(2**53, 2**62),
              "list": [_text(random, True) or None for _ in range(random.randint(0, 3))]}  # fmt: skip
    return values[kind]


def _as_text(value: Any) -> Any:
    return "" if value is None else str(value)


@pytest.mark.parametrize("seed", range(2))
def test_json_lines_are_read_as_by_the_json_module(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    for number in range(40):
        names = [_text(random, True).replace(".", "") + str(place) for place in range(random.choice([1, 3]))]
        kinds = [random.choice(["one", "list"]) for _ in names]
        records = []
        for _ in range(random.choice([1, 4, 30])):
            values = [_value(random) for _ in names]
            fitting = [value if isinstance(value, list) == (kind == "list") else None
                       for value, kind in zip(values, kinds, strict=True)]  # fmt: skip
            records.append({name: one for name, one in zip(names, fitting, strict=True) if random.random() < 0.9})
        end = random.choice(["\n", "\r\n", "\n\n"])
        lines = [json.dumps(record, ensure_ascii=random.random() < 0.5) for record in records]
        text = "\ufeff" * (random.random() < 0.3) + end.join(lines) + end * (random.random() < 0.7)
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(text.encode())
        (file,) = find_files(Files(files=(path.name,)), tmp_path)
        read = [rows for chunk in chunks_of(file, Csv(), random.choice([30, 1 << 20]))
                for rows in read_rows(chunk, Csv(), names)]  # fmt: skip
        assert set(column_names(file, Csv())) == {name for record in records for name in record}
        for name, kind in zip(names, kinds, strict=True):
            expected = [record.get(name) for record in records]
            if kind == "list":
                parts = [lists(rows.columns[name].combine_chunks(), None, str) for rows in read]
                assert [one for part in parts for one in part.to_pylist()] == [one or [] for one in expected], path
            else:
                values = [one for rows in read for one in texts(rows.columns[name], str).to_pylist()]
                pairs = zip(values, map(_as_text, expected), strict=True)
                assert all(one == other or float(one) == float(other) for one, other in pairs), path


def test_parquet_files_are_read_as_arrow_wrote_them(tmp_path: Path) -> None:
    random = Random(0)
    for number in range(40):
        count = random.choice([1, 5, 40])
        columns = {
            "t": pa.array([_text(random, True) if random.random() < 0.8 else None for _ in range(count)], pa.string()),
            "d": pa.array([random.choice(["x", "é", None]) for _ in range(count)], pa.string()).dictionary_encode(),
            "i": pa.array([random.choice([None, random.randint(-(2**62), 2**62)]) for _ in range(count)], pa.int64()),
            "b": pa.array([_text(random, True).encode() for _ in range(count)], pa.large_binary()),
            "l": pa.array([random.choice([None, [], ["a", None]]) for _ in range(count)], pa.large_list(pa.string())),
        }
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet", row_group_size=random.choice([1, 7, 100]))
        (file,) = find_files(Files(files=(f"{number}.parquet",)), tmp_path)
        read = [rows for chunk in chunks_of(file, Csv()) for rows in read_rows(chunk, Csv(), list(columns))]
        for name in "tdi":
            values = [one for rows in read for one in texts(rows.columns[name], str).to_pylist()]
            assert values == [_as_text(one) for one in columns[name].to_pylist()]
        values = [one for rows in read for one in texts(rows.columns["b"], str).to_pylist()]
        assert values == [one.decode() for one in columns["b"].to_pylist()]
        values = [one for rows in read for one in lists(rows.columns["l"].combine_chunks(), None, str).to_pylist()]
        assert values == [one or [] for one in columns["l"].to_pylist()]
