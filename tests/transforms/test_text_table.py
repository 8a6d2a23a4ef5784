"""Raw text tables: blocks, line numbers, kinds of fields and what stands for a missing value."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from transforms.arrow import pa
from transforms.errors import InputError
from transforms.sources.text_format import CATEGORY, COUNT, FLAG, HEX, INTEGER, KEY, NUMBER, TEXT, TextFormat
from transforms.sources.text_table import TextRows, check_text, read_chunk, text_chunks, token_columns

FORMAT = TextFormat({"id": KEY, "number": NUMBER, "name": TEXT}, quoted=True)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    return path


def text_rows(path: Path, text_format: TextFormat, chunk_bytes: int = 1 << 20) -> Iterator[TextRows]:
    """All rows of a file, chunk by chunk."""
    before = 0
    for chunk in text_chunks(path, text_format, chunk_bytes):
        rows = read_chunk(chunk, text_format, before)
        yield rows
        before += len(rows)


def test_small_blocks_give_the_same_rows_and_lines_as_one(tmp_path):
    lines = [f'{number},{number}.5,"name, {number}"' for number in range(200)]
    path = write(tmp_path, "name_of_nobody,id,number,name\n" + "".join(f"x,{line}\n" for line in lines))
    whole = list(text_rows(path, FORMAT))
    blocks = list(text_rows(path, FORMAT, chunk_bytes=64))
    assert len(whole) == 1
    assert len(blocks) > 20
    assert np.concatenate([rows.lines for rows in blocks]).tolist() == list(range(2, 202))
    ids = np.concatenate([rows.integers("id") for rows in blocks])
    assert ids.tolist() == whole[0].integers("id").tolist() == list(range(200))
    assert blocks[-1].texts("name")[-1].as_py() == "name, 199"


@pytest.mark.parametrize("chunk_bytes", [16, 1 << 20])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("7,1", "table.csv, line 42: received 2 fields; expected 3 fields"),
        ("x,1,a", "table.csv, line 42, field id: received 'x'; expected a number of 0 or more"),
        ("7,1e,a", "line 42, field number: received '1e'; expected a number or nothing"),
        ("1234567890123456789,1,a", "line 42, field id: received '1234567890123456789'"),
        ("7\n,1,a", "line 42: received 1 fields"),
        ("", "line 42: received 1 fields"),
    ],
)
def test_faults_are_found_on_their_line_whatever_the_block(tmp_path, fault, message, chunk_bytes):
    lines = [f"{number},1,a" for number in range(40)]
    path = write(tmp_path, "\n".join(["id,number,name", *lines, fault, *lines]))
    with pytest.raises(InputError, match=message):
        for rows in text_rows(path, FORMAT, chunk_bytes):
            assert [len(rows.values(name)) for name in FORMAT.fields] == [len(rows)] * 3


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"id,number,name\n1,2,a\n2,3,\xff\xfe\n")
    with pytest.raises(InputError, match="table.csv, line 3: .*expected text in UTF-8"):
        list(text_rows(path, FORMAT))


def test_missing_values_become_the_markers(tmp_path):
    path = write(tmp_path, "category,count,number,name\n-124,NULL,,UNKNOWN\n3.0,7.0,-1.5e2,null\n0,0,.5,-\n")
    text_format = TextFormat({"category": CATEGORY, "count": COUNT, "number": NUMBER, "name": TEXT})
    (rows,) = text_rows(path, text_format)
    assert rows.integers("category").tolist() == [-1, 3, 0]
    np.testing.assert_array_equal(rows.values("count"), np.array([np.nan, 7, 0], np.float32))
    assert list(map(str, rows.values("name"))) == ["", "", "-"]
    with pytest.raises(InputError, match="line 4, field number: received '.5'"):
        rows.values("number")


@pytest.mark.parametrize("value", ["-1", "1.5", "1 ", "0x1", "+1", "1\t"])
def test_what_only_looks_like_a_category_is_refused(tmp_path, value):
    (rows,) = text_rows(
        write(tmp_path, f"category,flag\n{value},1\n"), TextFormat({"category": CATEGORY, "flag": FLAG})
    )
    assert rows.integers("flag").tolist() == [1]
    with pytest.raises(InputError, match="line 2, field category: received"):
        rows.values("category")


@pytest.mark.parametrize(
    ("kind", "allowed", "refused"),
    [
        (
            INTEGER,
            ["", "0", "-1", "007", "-" + "9" * 18],
            ["-", "--1", "1-", "1-2", "+1", " 1", "0x1", "1.0", "1" * 19],
        ),
        (KEY, ["0", "9" * 18], ["", "-1", "1e3", "1" * 19]),
        (HEX, ["", "0", "fF", "a" * 16], ["g", "0x1", "a" * 17, "-1"]),
        (FLAG, ["0", "1"], ["", "2", "01", "-1"]),
    ],
)
def test_runs_of_characters_are_checked_to_the_letter(tmp_path, kind, allowed, refused):
    text_format = TextFormat({"value": kind, "other": TEXT}, header="none")
    (rows,) = text_rows(write(tmp_path, "".join(f"{value},x\n" for value in allowed)), text_format)
    assert len(rows.values("value")) == len(allowed)
    for value in refused:
        (rows,) = text_rows(write(tmp_path, "".join(f"{text},x\n" for text in (*allowed, value))), text_format)
        with pytest.raises(
            InputError, match=f"line {len(allowed) + 1}, field value: received {re.escape(repr(value))}"
        ):
            rows.values("value")


def test_headers_are_checked(tmp_path):
    with pytest.raises(InputError, match="line 1: received columns id, name; expected one column 'number'"):
        check_text(write(tmp_path, "id,name\n1,a\n"), FORMAT)
    with pytest.raises(InputError, match="one column 'id'"):
        check_text(write(tmp_path, "id,id,number,name\n1,1,1,a\n"), FORMAT)
    with pytest.raises(InputError, match="a header and no rows"):
        check_text(write(tmp_path, "id,number,name\n"), FORMAT)
    check_text(write(tmp_path, '\ufeffid , number,"name"\r\n1,2,a\r\n'), FORMAT)


def test_the_first_members_of_lists_become_columns():
    texts = pa.array(["a|bc|d", "", "e", "|f"])
    assert [column.tolist() for column in token_columns(texts, "|", 2)] == [
        [b"a", b"", b"e", b""],
        [b"bc", b"", b"", b"f"],
    ]
    assert [column.tolist() for column in token_columns(texts.slice(0, 0), "|", 1)] == [[]]
