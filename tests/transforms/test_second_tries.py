"""What a worker writes while another does, and after one that was killed."""

import json
import os

import numpy as np
import pytest

from tests.helpers.toy_data import TRAIN, toy_features, write_toy
from transforms.beam.import_dataset import WriteShards
from transforms.errors import InputError
from transforms.files import complete_file
from transforms.records import load_dataset
from transforms.writing import new_dataset, write_serialized, write_shard


class _Watched(list):
    """Records during whose writing nothing may have their shard's name."""

    def __init__(self, records, folder):
        super().__init__(records)
        self.folder, self.seen = folder, []

    def __iter__(self):
        for record in super().__iter__():
            yield record
            self.seen.append([name for name in os.listdir(self.folder) if not name.startswith(".")])


def test_a_shard_has_its_name_only_when_it_is_complete(tmp_path):
    folder = tmp_path / "row" / "train"
    folder.mkdir(parents=True)
    watched = _Watched([b"a", b"b"], folder)
    write_serialized(tmp_path, "row", "train", "x", watched, np.array([1, 2]), 2, 1)
    assert watched.seen == [[], []]
    assert sorted(os.listdir(folder)) == ["x.tfrecord", "x.tfrecord.info.json"]


def test_a_dataset_is_the_same_after_a_killed_worker_and_a_second_try(tmp_path):
    write_toy(tmp_path / "once")
    with new_dataset(tmp_path / "twice", "toy", toy_features(), {}) as unfinished:
        folder = unfinished.directory / "row" / "train"
        folder.mkdir(parents=True)
        for killed in ("part.tfrecord", "part.tfrecord.info.json"):
            (folder / f".incomplete-{killed}-0").write_text("half")
        for _ in range(2):
            write_shard(unfinished.directory, "part", TRAIN, toy_features())
    assert sorted(os.listdir(tmp_path / "twice" / "row" / "train")) == ["data-00000-of-00001.tfrecord"]
    once, twice = (load_dataset(tmp_path / name).records["row"]["train"] for name in ("once", "twice"))
    assert once == twice


def test_a_failed_write_leaves_the_complete_file_of_another(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(OSError, match="disk"), complete_file(path) as slow:
        with complete_file(path) as quick:
            quick.write_text("complete")
        slow.write_text("ha")
        raise OSError("disk full")
    assert os.listdir(tmp_path) == ["a"] and path.read_text() == "complete"


def test_what_a_worker_reports_twice_is_there_once(tmp_path):
    writing, error = WriteShards(str(tmp_path), toy_features()), InputError("here", "this", "that", "do so")
    for _ in range(2):
        list(writing.process(("notice", "a notice")))
        with pytest.raises(InputError):
            next(writing.process(("error", error)))
    values = [json.loads(path.read_text()) for path in sorted(tmp_path.iterdir())]
    assert values == [["here", "this", "that", "do so"], "a notice"]
