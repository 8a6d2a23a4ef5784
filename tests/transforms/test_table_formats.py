"""The same records in every format and compression are the same columns; malformed ones are refused."""

import bz2
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fastavro
import pytest

from transforms.arrow import pa, pq
from transforms.errors import InputError
from transforms.sources.table.convert import texts
from transforms.sources.table.files import Chunk, chunks_of, find_files
from transforms.sources.table.first_look import check, check_columns
from transforms.sources.table.formats import LOOK_BYTES, RawRows, column_names, read_rows
from transforms.sources.table.lists import lists
from transforms.sources.table.load import parse_declaration
from transforms.sources.table.parts import Csv, Files

ROWS: list[dict[str, Any]] = [
    {"id": "7", "price": "1.5", "tags": ["a", "b"]},
    {"id": "9007199254740993", "price": None, "tags": []},
    {"id": "x;y", "price": "2.0", "tags": ["c"]},
]


def _delimited(mark: str, end: str = "\n", start: str = "") -> bytes:
    lines = [["id", "price", "tags"], *([row["id"], row["price"] or "", "|".join(row["tags"])] for row in ROWS)]
    quoted = [[f'"{value}"' if mark in value else value for value in line] for line in lines]
    return (start + "".join(mark.join(line) + end for line in quoted)).encode()


def _write_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=2)


def _write_avro(path: Path) -> None:
    fields = [{"name": "id", "type": "string"}, {"name": "price", "type": ["null", "string"]}]
    tags = {"name": "tags", "type": {"type": "array", "items": "string"}}
    with path.open("wb") as file:
        fastavro.writer(file, {"type": "record", "name": "row", "fields": [*fields, tags]}, ROWS)


def _write_tfrecord(path: Path) -> None:
    import tensorflow as tf

    def feature(values: Sequence[str]) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode() for value in values]))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in ROWS:
            features = {"id": feature([row["id"]]), "tags": feature(row["tags"])}
            features |= {"price": feature([row["price"]])} if row["price"] else {}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


JSON = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
WRITERS: dict[str, Callable[[Path], Any]] = {
    "log.csv": lambda path: path.write_bytes(_delimited(";", "\r\n", "\ufeff")),
    "log.tsv": lambda path: path.write_bytes(_delimited("\t")),
    "log.jsonl": lambda path: path.write_bytes(JSON),
    "log.parquet": _write_parquet,
    "log.avro": _write_avro,
    "log.tfrecord": _write_tfrecord,
    "log.csv.gz": lambda path: path.write_bytes(gzip.compress(_delimited(";"))),
    "log.jsonl.bz2": lambda path: path.write_bytes(bz2.compress(JSON)),
    "log.jsonl.zst": lambda path: path.write_bytes(pa.Codec("zstd").compress(JSON, asbytes=True)),
}


def _read(folder: Path, files: Files, columns: Sequence[str], chunk_bytes: int = 1 << 20) -> list[RawRows]:
    found = find_files(files, folder)
    chunks = [chunk for file in found for chunk in chunks_of(file, files.csv, chunk_bytes)]
    return [rows for chunk in chunks for rows in read_rows(chunk, files.csv, columns)]


def _where(row: int) -> str:
    return f"row {row}"


@pytest.mark.parametrize("name", list(WRITERS))
def test_every_format_gives_the_same_records(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    files = Files(files=(name,), csv=Csv(delimiter=";" if ".csv" in name else None))
    rows = _read(tmp_path, files, ["id", "price", "tags"], chunk_bytes=20)
    ids = [value for part in rows for value in texts(part.columns["id"], _where).to_pylist()]
    prices = [value for part in rows for value in texts(part.columns["price"], _where).to_pylist()]
    tags = [value for part in rows for value in lists(_one(part.columns["tags"]), "|", _where).to_pylist()]
    as_text = [[str(tag, "utf-8") if isinstance(tag, bytes) else tag for tag in some] for some in tags]
    assert (ids, prices) == (["7", "9007199254740993", "x;y"], ["1.5", "", "2.0"])
    assert as_text == [["a", "b"], [], ["c"]]
    order = [value for part in rows for value in part.order.tolist()]
    assert order == sorted(set(order))
    assert set(column_names(find_files(files, tmp_path)[0], files.csv)) == {"id", "price", "tags"}


def _one(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks)


def test_plain_text_and_row_groups_are_read_in_parallel(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(1000)))
    _write_parquet(tmp_path / "log.parquet")
    for name, count in (("log.csv", 39), ("log.parquet", 2)):
        file = find_files(Files(files=(name,)), tmp_path)[0]
        assert len(chunks_of(file, Csv(), 100)) == count
    rows = _read(tmp_path, Files(files=("log.csv",)), ["id"], chunk_bytes=100)
    assert [int(one) for part in rows for one in part.columns["id"].to_pylist()] == list(range(1000))


def test_folders_give_columns_and_hidden_files_are_left_aside(tmp_path: Path) -> None:
    for day in ("02", "01"):
        (tmp_path / "log" / f"date=2026-01-{day}").mkdir(parents=True)
        (tmp_path / "log" / f"date=2026-01-{day}" / "part.csv").write_text(f"id\n{day}\n")
    (tmp_path / "log" / "_SUCCESS").touch()
    (tmp_path / "log" / ".part.csv.crc").touch()
    for pattern in ("log", "log/**/*.csv", "log/*/part.csv", str(tmp_path / "log" / "*" / "*.csv")):
        rows = _read(tmp_path, Files(files=(pattern,)), ["id", "date"])
        assert [part.columns.to_pylist() for part in rows] == [
            [{"id": "01", "date": "2026-01-01"}],
            [{"id": "02", "date": "2026-01-02"}],
        ]


def test_partitions_are_written_as_hive_writes_them(tmp_path: Path) -> None:
    for value in ("__HIVE_DEFAULT_PARTITION__", "a%20b%2Fc"):
        (tmp_path / f"shop={value}").mkdir()
        (tmp_path / f"shop={value}" / "part.csv").write_text("id\n1\n")
    rows = _read(tmp_path, Files(files=("*/part.csv",)), ["shop"])
    assert [part.columns["shop"].to_pylist() for part in rows] == [[None], ["a b/c"]]


def test_members_of_structs_have_dotted_names(tmp_path: Path) -> None:
    records = [{"user": {"id": 3}}, {"user": {"id": 4}}]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "log.parquet")
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    for name in ("log.parquet", "log.jsonl"):
        (rows,) = _read(tmp_path, Files(files=(name,)), ["user.id"])
        assert rows.columns["user.id"].to_pylist() == [3, 4]


def test_line_breaks_in_quotes_are_read_where_they_are_declared(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text('id,title\n1,"a\nb"\n2,c\n')
    (rows,) = _read(tmp_path, Files(files=("log.csv",), csv=Csv(multiline=True)), ["id", "title"])
    assert rows.columns.to_pylist() == [{"id": "1", "title": "a\nb"}, {"id": "2", "title": "c"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", b"id,price\n1,2\n3\n", "log.csv, line 3: received 1 fields; expected 2 fields"),
        ("log.csv", b"id,price\n1,2\n\n\n3\n", "log.csv, line 5: received 1 fields"),
        ("log.csv", b'id,price\n1,"a\nb"\n', "line 2: received"),
        ("log.csv", b"id,price\n1,\xff\xfe\n", "bytes that are not UTF-8"),
        ("log.csv", b"id,price\n1,2\n" * 1 + b"3,4\n\n" * 40 + b"5,\xe9\n6,7\n", "log.csv, line 83: received bytes"),
        ("log.jsonl", b'{"id": 1}\n' * 40 + b'{"id": "\xe9"}\n', "log.jsonl, line 41: received bytes that are not UTF"),
        ("log.csv", b"", "an empty file"),
        ("log.jsonl", b'{"id": 1}\n{"id": \n', "log.jsonl, line 2: received text that is not JSON"),
        ("log.jsonl", b"[1]\n", "line 1: received list; expected an object a line"),
        ("log.parquet", b"id,price\n", "a file that is not"),
        ("log.avro", b"id,price\n", "a file that is not avro"),
        ("log.csv.gz", b"id,price\n", "log.csv.gz: received a file that is not csv"),
        ("log.docx", b"x", "a file of unknown format"),
    ],
)
def test_malformed_files_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        _read(tmp_path, Files(files=(name,)), ["id", "price"])


def test_a_late_chunk_names_its_line_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("id,price\n" + "1,2\n" * 100 + "1\n")
    with pytest.raises(InputError, match="line 102: received 1 fields"):
        _read(tmp_path, Files(files=("log.csv",)), ["id"], chunk_bytes=50)


def test_names_that_stand_twice_are_refused_where_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("item,price,click,price,x_1,x_1\na,1,0,2,3,4\n")
    log = {"name": "shop", "files": "log.csv", "item_id": "item", "label": "click", "splits": "random"}
    check(parse_declaration(log), tmp_path)
    for feature in ({"type": "float"}, {"vector": 2, "column": "x_*"}):
        declared = parse_declaration(log | {"features": {"price": feature | {"entity": "item"}}})
        with pytest.raises(InputError, match=r"log.csv: received two columns '(price|x_1)'; expected each name once"):
            check(declared, tmp_path)


def test_lines_of_old_macs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"id,price\r1,2\r")
    with pytest.raises(InputError, match=r"log.csv: received lines that end with a carriage return alone"):
        column_names(find_files(Files(files=("log.csv",)), tmp_path)[0], Csv())


def test_a_dialect_of_csv_belongs_to_csv_files(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(JSON)
    log = {"name": "shop", "files": "log.jsonl", "item_id": "id", "label": "price", "splits": "random"}
    with pytest.raises(InputError, match="received a jsonl file; expected a CSV or TSV file"):
        check(parse_declaration(log | {"csv": {"decimal": ","}}), tmp_path)


def test_what_matches_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for pattern in ("log.csv", "*.csv", "empty", "***/["):
        with pytest.raises(InputError, match=r"no such file|without such files|\*\* alone between slashes"):
            find_files(Files(files=(pattern,)), tmp_path)


def test_a_chunk_is_a_whole_file_where_it_cannot_be_cut(tmp_path: Path) -> None:
    WRITERS["log.csv.gz"](tmp_path / "log.csv.gz")
    file = find_files(Files(files=("log.csv.gz",)), tmp_path)[0]
    assert chunks_of(file, Csv(), 10) == [Chunk(file)]


LABELS = {"item": "item_id", "price": "features.price", "user.id": "user_id"}
ITEM, WHOLE = {"item": 1}, {"item": 2, "price": 0.5, "user": {"id": 7}}


def _check(folder: Path, pattern: str) -> None:
    files = Files(files=(pattern,))
    names = {file: column_names(file, files.csv) for file in find_files(files, folder)}
    check_columns(names, LABELS, {"item"})


def _json(*records: dict[str, Any]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def test_a_column_that_only_late_records_have_is_a_column(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(_json(*[ITEM] * 2000, WHOLE))
    _check(tmp_path, "log.jsonl")
    (rows,) = _read(tmp_path, Files(files=("log.jsonl",)), ["item", "price", "user.id"])
    assert rows.columns.slice(1999).to_pylist() == [
        {"item": 1, "price": None, "user.id": None},
        {"item": 2, "price": 0.5, "user.id": 7},
    ]
    # Behind what the first look looks at.
    (tmp_path / "log.jsonl").write_bytes(_json(*[ITEM | {"text": "x" * LOOK_BYTES}] * 3, WHOLE))
    _check(tmp_path, "log.jsonl")


def test_a_column_may_stand_in_some_files_alone_unless_all_records_need_it(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_bytes(_json(ITEM))
    (tmp_path / "2.jsonl").write_bytes(_json(WHOLE))
    pq.write_table(pa.Table.from_pylist([ITEM | {"user": {"name": "x"}}]), tmp_path / "1.parquet")
    pq.write_table(pa.Table.from_pylist([WHOLE]), tmp_path / "2.parquet")
    for suffix in ("jsonl", "parquet"):
        _check(tmp_path, f"*.{suffix}")
        first, second = _read(tmp_path, Files(files=(f"*.{suffix}",)), ["item", "price", "user.id"])
        values = [second.columns[name].to_pylist() for name in ("item", "price", "user.id")]
        assert values == [[2], [0.5], [7]]
        assert first.columns["item"].to_pylist() == [1]
    (tmp_path / "3.jsonl").write_bytes(_json({"price": 1.0}))
    with pytest.raises(InputError, match=r"3.jsonl: received no column 'item' \(item_id\); expected one of price"):
        _check(tmp_path, "*.jsonl")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_column_that_no_file_has_is_refused(suffix: str, tmp_path: Path) -> None:
    for name in "ab":
        records = [ITEM | {"prise": 2, "user": {"id": 1}}]
        (tmp_path / f"{name}.jsonl").write_bytes(_json(*records))
        pq.write_table(pa.Table.from_pylist(records), tmp_path / f"{name}.parquet")
    with pytest.raises(InputError) as error:
        _check(tmp_path, f"*.{suffix}")
    assert str(error.value) == (
        f"a.{suffix} and 1 more files: received no column 'price' (features.price); expected one of item, prise, user. "
        "Fix: did you mean 'prise'?"
    )


def test_a_struct_without_the_member_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([WHOLE | {"user": {"idd": 1}}]), tmp_path / "log.parquet")
    with pytest.raises(InputError, match=r"no column 'user.id' \(user_id\)"):
        _check(tmp_path, "log.parquet")


def test_values_of_several_types_become_texts(tmp_path: Path) -> None:
    values: list[Any] = [1, "b", True, None, [1, "a"], {"k": 2}]
    (tmp_path / "log.jsonl").write_bytes(_json(*[{"id": value} for value in values]))
    (rows,) = _read(tmp_path, Files(files=("log.jsonl",)), ["id"])
    assert rows.columns["id"].to_pylist() == ["1", "b", "true", None, '[1, "a"]', '{"k": 2}']


@pytest.mark.parametrize(("name", "damage"), [("log.avro", -5), ("log.tfrecord", -5), ("log.tfrecord", 20)])
def test_damaged_files_of_records_are_named_in_plain_words(name: str, damage: int, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    content = bytearray((tmp_path / name).read_bytes())
    (tmp_path / name).write_bytes(content[:damage] if damage < 0 else content[:damage] + b"?" + content[damage + 1 :])
    with pytest.raises(InputError) as error:
        _read(tmp_path, Files(files=(name,)), ["id"])
    assert error.value.where.startswith(f"{name}, after record 0 or one of the")
    assert error.value.received == "damaged bytes, or a file that was cut off"
