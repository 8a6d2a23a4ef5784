"""The Criteo source: raw lines to rows, splits, and refusals that name file, line and field."""

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.criteo_like import write_criteo_like
from tests.helpers.imported_records import all_records, records_of
from tests.helpers.raw_imports import refused, refused_line, write_texts
from transforms.beam.import_dataset import import_dataset
from transforms.errors import InputError
from transforms.features import Encoding
from transforms.records import Dataset
from transforms.sources.criteo.schema import CATEGORIES, NUMBERS, Criteo, CriteoOptions


def line(label="0", numbers=("1",) * 13, categories=("05db9164",) * 26) -> str:
    return "\t".join((label, *numbers, *categories)) + "\n"


def imported(folder: Path, out: Path, **options) -> Dataset:
    return import_dataset(Criteo(CriteoOptions(**options)), folder, out)


def test_a_line_becomes_a_row_with_markers_for_what_is_missing(tmp_path):
    numbers = ("7", "-2", "", "65535", "1618112", *("",) * 8)
    categories = ("68fd1e64", "", "FB936136", *("0",) * 22, "")
    folder = write_texts(tmp_path, train__txt=line(), test__txt=line() + line("1", numbers, categories))
    imported(folder, tmp_path / "out")
    first, second = records_of(tmp_path / "out", "row", "test")
    assert (first["request_id"], second["request_id"]) == (b"test.txt:1", b"test.txt:2")
    assert (first["timestamp"], second["timestamp"]) == (0, 1)
    assert (first["label"], second["label"]) == (0.0, 1.0)
    assert (second["user_id"], second["item_id"]) == (b"", b"")
    assert [second[name] for name in ("I1", "I2", "I4", "I5")] == [7.0, -2.0, 65535.0, 1618112.0]
    assert all(math.isnan(second[name]) for name in ("I3", *NUMBERS[5:]))
    assert [second[name] for name in ("C1", "C2", "C3", "C4", "C26")] == [b"68fd1e64", b"", b"FB936136", b"0", b""]


def test_files_that_come_split_keep_their_splits(tmp_path):
    folder = write_texts(tmp_path, train__csv=line() * 5, valid__tsv=line() * 3, test__txt=line("1") * 2)
    dataset = imported(folder, tmp_path / "out")
    assert {split: info.records for split, info in dataset.records["row"].items()} == {"train": 5, "eval": 3, "test": 2}
    assert dataset.records["row"]["test"].positives == 2


def test_every_line_is_read_once_and_in_order_from_chunks_of_any_size(tmp_path):
    text = "".join(line(numbers=(str(i), *("",) * 12)) for i in range(40))
    for chunk_bytes in (1, 250, 251):
        root = tmp_path / str(chunk_bytes)
        root.mkdir()
        # The last line has no line end.
        imported(write_texts(root, test__txt=text.removesuffix("\n")), root / "out", chunk_bytes=chunk_bytes)
        assert [row["I1"] for row in records_of(root / "out", "row", "test")] == list(range(40))


BAD_LINES = {
    "label": (line("2"), "line 7, field label", "'2'"),
    "no label": (line(""), "line 7, field label", "''"),
    "word": (line(numbers=("1", "many", *("1",) * 11)), "line 7, field I2", "'many'"),
    "fraction": (line(numbers=(*("1",) * 12, "1.5")), "line 7, field I13", "'1.5'"),
    "huge": (line(numbers=("9" * 30, *("1",) * 12)), "line 7, field I1", "'99999"),
    "not hex": (line(categories=("05db9164", "xyz", *("0",) * 24)), "line 7, field C2", "'xyz'"),
    "long hex": (line(categories=(*("0",) * 25, "a" * 17)), "line 7, field C26", "'aaaa"),
    "few fields": ("0\t1\t2\n", "line 7", "3 fields"),
    "many fields": (line().removesuffix("\n") + "\t1\n", "line 7", "41 fields"),
    "empty line": ("\n", "line 7", "1 fields"),
    "quotes": (line(categories=('"05db', '9164"', *("0",) * 24)), "line 7, field C1", "05db"),
}


@pytest.mark.parametrize("chunk_bytes", [300, 1 << 20])
@pytest.mark.parametrize("case", BAD_LINES)
def test_a_malformed_line_is_refused_with_line_field_and_value(tmp_path, case, chunk_bytes):
    bad, where, received = BAD_LINES[case]
    write_texts(tmp_path, train__txt=line() * 6 + bad + line() * 6)
    refused_line("criteo", tmp_path, rf"train.txt, {where}", received, chunk_bytes=chunk_bytes)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    folder = write_texts(tmp_path)
    (folder / "train.txt").write_bytes(line().encode() + line().encode().replace(b"05db9164", b"\xff\xfe\x00\x01", 1))
    with pytest.raises(InputError, match=r"line 2, field C1.*hex digits"):
        imported(folder, tmp_path / "out")


def test_a_carriage_return_before_the_line_end_is_no_field(tmp_path):
    folder = write_texts(tmp_path)
    (folder / "test.txt").write_bytes((line() * 3).replace("\n", "\r\n").encode())
    imported(folder, tmp_path / "out")
    assert [row["C26"] for row in records_of(tmp_path / "out", "row", "test")] == [b"05db9164"] * 3


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "an empty directory"),
        ({"rows__txt": line()}, "rows.txt"),
        ({"train__txt": ""}, "an empty file"),
        ({"train__txt": "a,b,c\n"}, "line 1: received 1 fields"),
        ({"dev__csv": line(), "val__csv": line()}, "dev.csv and val.csv"),
    ],
)
def test_a_folder_without_usable_files_is_refused_before_anything_is_written(tmp_path, files, message):
    write_texts(tmp_path, **files)
    refused("criteo", tmp_path, message)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such directory"):
        Criteo().check(tmp_path / "nowhere")


def test_x4_pools_all_39_fields_in_one_vocabulary():
    plain, pooled = (Criteo(CriteoOptions(**options)).feature_set() for options in ({}, {"discretise": "x4"}))
    assert [f.name for f in pooled.features_in("criteo")] == [*NUMBERS, *CATEGORIES]
    assert [f.name for f in plain.features_in("criteo")] == list(CATEGORIES)
    assert {f.encoding for f in plain.features[:13]} == {Encoding.QUANTILE}
    assert plain.id_vocabularies[0].prefix
    assert plain.id_vocabularies[0].frequency_threshold == 10
    with pytest.raises(ValueError, match="leave one of the two out"):
        CriteoOptions(discretise="x4", numeric="quantile")


def test_generated_rows_have_criteos_shape_and_tails(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_criteo_like(tmp_path / name, 8000, seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()
    rows = [text.split("\t") for text in (tmp_path / "a").read_text().splitlines()]
    assert {len(row) for row in rows} == {40}
    columns = np.array(rows)
    assert (columns[:, 0] == "1").mean() == pytest.approx(0.25, abs=0.03)
    distinct = [len(set(columns[:, 13 + i])) for i in range(1, 27)]
    # In the real head: C3 4525, C9 3, C12 4338, C17 10, C21 4141.
    assert min(distinct[2], distinct[11], distinct[20]) > 3500
    assert (distinct[8], distinct[16]) == (3, 10)
    assert (columns[:, 12] == "").mean() == pytest.approx(0.78, abs=0.03)


@pytest.mark.real_data
def test_the_real_head_imports_whole(tmp_path, data_folder):
    if not (data_folder / "criteo_head").is_dir():
        pytest.skip(f"no criteo_head in {data_folder}")
    dataset = imported(data_folder / "criteo_head", tmp_path / "out")
    counted = {split: (info.records, info.positives) for split, info in dataset.records["row"].items()}
    assert counted == {"train": (7200, 1549), "eval": (409, 93), "test": (391, 86)}
    first = records_of(tmp_path / "out", "row", "train")[0]
    assert [first[name] for name in ("I1", "I2", "I3", "I5")] == [1.0, 1.0, 5.0, 1382.0]
    assert [first[name] for name in ("C1", "C2", "C26")] == [b"68fd1e64", b"80e26c9b", b"9727dd16"]
    rows = [row for rows in all_records(tmp_path / "out", "row").values() for row in rows]
    assert min(row["I2"] for row in rows) == -2
    assert np.mean([math.isnan(row["I12"]) for row in rows]) == pytest.approx(0.777, abs=0.001)
