"""Folders whose names mean something to file patterns: they are names, wherever a path is given."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.movielens_like import write_movielens_like
from tests.helpers.toy_data import EVAL, TEST, TRAIN, toy_features, toy_rows, write_toy
from transforms.beam.import_dataset import import_dataset
from transforms.beam.transform_dataset import load_transform, transform_dataset, transformed_files
from transforms.errors import ConsortError, InputError
from transforms.features import SPLITS
from transforms.files import check_model_folder, check_no_pattern, escaped
from transforms.input import expand_patterns
from transforms.integrity import checked
from transforms.records import load_dataset
from transforms.sources.registry import get_source
from transforms.spans import cut_spans, files_of, spans_in

ODD, MEANT_BY_IT = "data [1] *?{a}", "data 1 xy{a}"
NAMES = [
    "data[1]",
    "data1",
    "a*b",
    "axb",
    "q?",
    "qq",
    "{a}",
    "a",
    "b\\c",
    "a b",
    "[",
    "]",
    "[]",
    "[!x]",
    "y",
    "%20",
    "#",
]


def write_other(folder: Path) -> None:
    """A dataset with other items than `write_toy` writes."""
    write_toy(folder, (toy_rows("train", [b"other"] * 9, [1.0] * 9, [[]] * 9), EVAL, TEST))


@pytest.mark.parametrize("name", NAMES)
def test_an_escaped_path_is_a_pattern_for_itself_alone(tmp_path, name):
    for other in NAMES:
        (tmp_path / other).mkdir()
        (tmp_path / other / "x.tfrecord").touch()
    expected = [str(tmp_path / name / "x.tfrecord")]
    assert tf.io.gfile.glob(f"{escaped(tmp_path / name)}/*.tfrecord") == expected
    assert expand_patterns([f"{tmp_path / name}/*"]) == expected


def test_what_is_transformed_is_the_named_folder_and_not_the_one_that_it_could_mean(tmp_path):
    dataset = write_toy(tmp_path / ODD)
    write_other(tmp_path / MEANT_BY_IT)
    transform_dataset(tmp_path / ODD, dataset, tmp_path / "out {a} b", toy_features(), "row", ("train", "eval", "test"))
    assert set(load_transform(tmp_path / "out {a} b").vocabulary_by_name("items")) == {b"a", b"b"}
    for split, rows in zip(SPLITS, (TRAIN, EVAL, TEST), strict=True):
        records = [record for file in transformed_files(tmp_path / "out {a} b", split) for record in read(file)]
        spec = load_transform(tmp_path / "out {a} b").transformed_feature_spec()
        label = np.asarray(rows.columns["label"])
        np.testing.assert_array_equal(tf.io.parse_example(records, spec)["label"], label)


def read(file: str) -> list[bytes]:
    return [record.numpy() for record in tf.data.TFRecordDataset(file)]


def test_other_records_than_the_datasets_are_not_trained_on(tmp_path):
    dataset = write_toy(tmp_path / "data")
    split = dataset.records["row"]["eval"]
    fewer = split.model_copy(update={"shards": (split.shards[0].model_copy(update={"records": 1}),)})
    claimed = dataset.model_copy(update={"records": {"row": {**dataset.records["row"], "eval": fewer}}})
    with pytest.raises(ConsortError, match="split 'eval': 2 records were transformed, and dataset.json names 1"):
        transform_dataset(tmp_path / "data", claimed, tmp_path / "out", toy_features(), "row")
    assert not (tmp_path / "out").exists()


def test_raw_files_are_imported_from_and_into_folders_of_any_name(tmp_path):
    for folder, users in ((ODD, 12), (MEANT_BY_IT, 30)):
        write_movielens_like(tmp_path / folder / "raw", users=users, films=40, rated=20)
    dataset = import_dataset(get_source("movielens"), tmp_path / ODD / "raw", tmp_path / ODD / "out")
    assert sum(info.records for info in dataset.records["row"].values()) == 12 * 20
    assert checked(tmp_path / ODD / "out", dataset, "row", ["train"]) == (dataset, [])
    assert sorted(os.listdir(tmp_path / ODD)) == ["out", "raw"]


def test_spans_are_cut_from_and_into_folders_of_any_name(tmp_path):
    write_toy(tmp_path / ODD / "data")
    write_other(tmp_path / MEANT_BY_IT / "data")
    cut_spans(tmp_path / ODD / "data", tmp_path / ODD / "stream", 3)
    spans = spans_in(tmp_path / ODD / "stream")
    records = [record for span in spans for file in files_of(span, load_dataset(span)) for record in read(file)]
    assert len(spans) == 3 and len(records) == 12 and not any(b"other" in record for record in records)


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?", "a\\b", "[1]/b"])
def test_a_folder_for_models_that_tensorflow_would_take_for_a_pattern_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"--out .*a path without \* \? \[ \\.*choose another --out"):
        check_model_folder(tmp_path / name, "--out")
    assert list(tmp_path.iterdir()) == []


def test_the_absolute_path_counts(tmp_path, monkeypatch):
    (tmp_path / "a[1]").mkdir()
    monkeypatch.chdir(tmp_path / "a[1]")
    with pytest.raises(InputError, match=r"received \[ in "):
        check_no_pattern("run", "--out")


def test_other_characters_are_fine(tmp_path):
    check_model_folder(tmp_path / "a b {c} ]%20#:é", "--out")
