"""The Avazu source: raw lines to rows, splits, and refusals that name file, line and field."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.avazu_like import write_avazu_like
from tests.helpers.imported_records import records_of
from tests.helpers.raw_imports import refused, refused_line, write_texts
from transforms.beam.import_dataset import import_dataset
from transforms.beam.transform_dataset import load_transform, transform_dataset, transformed_files
from transforms.errors import InputError
from transforms.features import SPLITS, Encoding, Feature
from transforms.input import parsed, serialized
from transforms.ops import time_ids
from transforms.records import Dataset
from transforms.sources.avazu.schema import Avazu, AvazuOptions

HEADER = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,"
    "device_ip,device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21\n"
)
EXAMPLE = (
    "1000009418151094273,0,14102100,1005,0,1fbe01fe,f3845767,28905ebd,ecad2386,7801e8d9,07d7df22,a99f214a,"
    "ddd2926e,44956a24,1,2,15706,320,50,1722,0,35,-1,79"
)
"""The first row of the real file."""
NAMES = HEADER.strip().split(",")


def line(**changes: str) -> str:
    values = dict(zip(NAMES, EXAMPLE.split(","), strict=True)) | changes
    return ",".join(values.values()) + "\n"


def imported(folder: Path, out: Path, **options) -> Dataset:
    return import_dataset(Avazu(AvazuOptions(**options)), folder, out)


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp())


def test_a_line_becomes_a_row_with_every_category_as_it_stands(tmp_path):
    later = line(id="18446744073709551615", click="1", hour="14103023", C1="", site_id="", C20="100084")
    folder = write_texts(tmp_path, train__csv=HEADER + line(), test__csv=HEADER + line() + later)
    imported(folder, tmp_path / "out")
    first, second = records_of(tmp_path / "out", "row", "test")
    assert (first["request_id"], second["request_id"]) == (b"1000009418151094273", b"18446744073709551615")
    assert (first["timestamp"], second["timestamp"]) == (utc(2014, 10, 21, 0), utc(2014, 10, 30, 23))
    assert (first["label"], second["label"]) == (0.0, 1.0)
    assert (first["user_id"], first["item_id"]) == (b"", b"")
    raw = dict(zip(NAMES, EXAMPLE.split(","), strict=True))
    assert {name: first[name] for name in NAMES[3:]} == {name: raw[name].encode() for name in NAMES[3:]}
    assert (second["C1"], second["site_id"], second["C20"]) == (b"", b"", b"100084")


def test_the_24_features_are_those_of_x4_and_the_id_is_none_of_them():
    features = Avazu().feature_set()
    assert [feature.name for feature in features.features] == ["hour", "weekday", "weekend", *NAMES[3:]]
    assert len(features.features) == 24
    assert [f.encoding for f in features.features[:3]] == ["hour_of_day", "day_of_week", "weekend"]
    assert "request_id" not in {column.name for column in features.raw_inputs()}
    (vocabulary,) = features.id_vocabularies
    assert vocabulary.prefix
    assert vocabulary.frequency_threshold == 2


@pytest.mark.parametrize(
    ("day", "weekend"),
    [
        ((2014, 10, 21), 1),
        ((2014, 10, 24, 23, 59), 1),
        ((2014, 10, 25), 2),
        ((2014, 10, 26, 23), 2),
        ((2014, 10, 27), 1),
    ],
)
def test_saturdays_and_sundays_are_the_weekend(day, weekend):
    feature = Feature(name="weekend", encoding=Encoding.WEEKEND, column="timestamp")
    assert time_ids(feature, tf.constant([utc(*day)], tf.int64), tf.constant([True])).numpy().tolist() == [weekend]
    assert time_ids(feature, tf.constant([-1], tf.int64), tf.constant([False])).numpy().tolist() == [0]


def test_a_token_seen_once_is_out_of_vocabulary_and_minus_one_is_a_token(tmp_path):
    rows = line(site_id="00000001") + line(site_id="00000002") + line(site_id="00000002", hour="14102511")
    folder = write_texts(tmp_path, train__csv=HEADER + rows, valid__csv=HEADER + line(), test__csv=HEADER + line())
    dataset = imported(folder, tmp_path / "data")
    transform_dataset(tmp_path / "data", dataset, tmp_path / "out", dataset.feature_set, "row")
    transform = load_transform(tmp_path / "out")
    vocabulary = transform.vocabulary_by_name("avazu")
    assert b"site_id=00000002" in vocabulary
    assert b"C20=-1" in vocabulary
    assert b"site_id=00000001" not in vocabulary
    assert len(vocabulary) == 21  # every category's common value, and no other
    files = serialized(transformed_files(tmp_path / "out", "train"), 10)
    batch = next(iter(parsed(files, transform.transformed_feature_spec())))
    out_of_vocabulary = 1 + len(vocabulary)
    assert (batch["site_id"].numpy() == out_of_vocabulary).tolist() == [True, False, False]
    assert batch["C20"].numpy().min() > 0
    assert batch["hour"].numpy().tolist() == [1, 1, 12]
    assert batch["weekday"].numpy().tolist() == [2, 2, 6]  # Tuesday and Saturday, Monday being 1
    assert batch["weekend"].numpy().tolist() == [1, 1, 2]


def test_files_that_come_split_keep_their_splits(tmp_path):
    texts = {"train__csv": line() * 5, "valid__csv": line() * 3, "test__csv": line(click="1") * 2}
    folder = write_texts(tmp_path, **{name: HEADER + text for name, text in texts.items()})
    dataset = imported(folder, tmp_path / "out", splits="time")
    assert {split: info.records for split, info in dataset.records["row"].items()} == {"train": 5, "eval": 3, "test": 2}
    assert dataset.records["row"]["test"].positives == 2
    assert dataset.origin["files"] == {"train.csv": "train", "valid.csv": "eval", "test.csv": "test"}


def test_split_in_order_of_time_the_last_tenth_is_test(tmp_path):
    rows = [line(id=str(i), hour=f"1410{21 + i // 3:02d}00") for i in range(30)]
    folder = write_texts(tmp_path, train__csv=HEADER + "".join(rows))
    for chunk_bytes in (300, 1 << 20):
        out = tmp_path / f"out{chunk_bytes}"
        dataset = imported(folder, out, splits="time", chunk_bytes=chunk_bytes)
        ids = [int(row["request_id"]) for split in SPLITS for row in records_of(out, "row", split)]
        assert ids == list(range(30))
        assert [dataset.records["row"][split].records for split in SPLITS] == [24, 3, 3]
        assert dataset.records["row"]["test"].time_range == (utc(2014, 10, 30), utc(2014, 10, 30))
        assert dataset.origin["files"] == {"train.csv": "in order of time 8:1:1"}


def test_lines_out_of_order_are_refused_by_a_split_in_time_alone(tmp_path):
    text = HEADER + line() * 4 + line(hour="14102105") + line(hour="14102103")
    folder = write_texts(tmp_path, train__csv=text)
    with pytest.raises(InputError, match=r"line 7, field hour: received 14102103 after 14102105.*splits=random"):
        imported(folder, tmp_path / "out", splits="time")
    assert imported(folder, tmp_path / "out").records


BAD_LINES = {
    "label": (line(click="2"), "line 8, field click", "'2'"),
    "no label": (line(click=""), "line 8, field click", "''"),
    "key": (line(id="1.00001e+18"), "line 8, field id", "'1.00001e+18'"),
    "no key": (line(id=""), "line 8, field id", "''"),
    "no hour": (line(hour=""), "line 8, field hour", "''"),
    "hour 24": (line(hour="14102124"), "line 8, field hour", "'14102124'"),
    "30 February": (line(hour="14023000"), "line 8, field hour", "'14023000'"),
    "a date": (line(hour="2014-10-21"), "line 8, field hour", "'2014-10-21'"),
    "a word": (line(C14="many"), "line 8, field C14", "'many'"),
    "a fraction": (line(C21="79.0"), "line 8, field C21", "'79.0'"),
    "not hex": (line(device_ip="10.0.0.1"), "line 8, field device_ip", "'10.0.0.1'"),
    "few fields": ("1,0,14102100\n", "line 8", "3 fields"),
    "many fields": (line().removesuffix("\n") + ",1\n", "line 8", "25 fields"),
    "empty line": ("\n", "line 8", "1 fields"),
    "the header again": (HEADER, "line 8, field id", "'id'"),
}


@pytest.mark.parametrize("chunk_bytes", [300, 1 << 20])
@pytest.mark.parametrize("case", BAD_LINES)
def test_a_malformed_line_is_refused_with_line_field_and_value(tmp_path, case, chunk_bytes):
    bad, where, received = BAD_LINES[case]
    write_texts(tmp_path, train__csv=HEADER + line() * 6 + bad + line() * 6)
    refused_line("avazu", tmp_path, rf"train.csv, {where}", received, chunk_bytes=chunk_bytes)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "an empty directory; expected train.csv, or"),
        ({"train__csv": ""}, "an empty file"),
        ({"train__csv": HEADER}, "a header and no rows"),
        (
            {"train__csv": line() * 2},
            r"line 1: received '1000009418151094273' in column 1; expected the header id,click",
        ),
        ({"train__csv": HEADER.replace("C21", "C22") + line()}, "line 1: received 'C22' in column 24"),
        ({"train__csv": HEADER.replace(",", "\t") + line()}, "line 1: received 1 fields.*separated by commas"),
        ({"dev__csv": HEADER, "val__csv": HEADER}, "dev.csv and val.csv"),
    ],
)
def test_a_folder_without_usable_files_is_refused_before_anything_is_written(tmp_path, files, message):
    write_texts(tmp_path, **files)
    refused("avazu", tmp_path, message)


def test_line_ends_of_windows_are_no_part_of_a_field(tmp_path):
    folder = write_texts(tmp_path)
    (folder / "test.csv").write_bytes((HEADER + line() * 3).replace("\n", "\r\n").encode())
    imported(folder, tmp_path / "out")
    assert [row["C21"] for row in records_of(tmp_path / "out", "row", "test")] == [b"79"] * 3


def test_generated_files_have_avazus_shape_and_tails(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_avazu_like(tmp_path / name, 8000, seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()
    first, *rows = (tmp_path / "a").read_text().splitlines()
    assert first + "\n" == HEADER
    columns = dict(zip(NAMES, np.array([text.split(",") for text in rows]).T, strict=True))
    assert (columns["click"] == "1").mean() == pytest.approx(0.17, abs=0.03)
    assert len(set(columns["id"])) == 8000
    assert (columns["hour"][0], columns["hour"][-1]) == ("14102100", "14103023")
    assert sorted(columns["hour"]) == columns["hour"].tolist()
    assert len(set(columns["hour"])) == 240
    assert len(set(columns["device_ip"])) > 3500
    assert (columns["device_id"] == "a99f214a").mean() == pytest.approx(0.83, abs=0.02)
    assert (columns["C20"] == "-1").mean() == pytest.approx(0.47, abs=0.03)
    assert len(set(columns["banner_pos"])) == 7
