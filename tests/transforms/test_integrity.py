from pathlib import Path

import pytest
import tensorflow as tf

from tests.helpers.toy_data import write_toy
from transforms.errors import InputError
from transforms.features import SPLITS
from transforms.integrity import checked, count_records
from transforms.records import shard_paths


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data", write_toy(tmp_path / "data")


def shard(data, split="train") -> Path:
    return Path(shard_paths(data[0], data[1], "row", split)[0])


def test_untouched_shards_pass_and_change_nothing(data):
    folder, dataset = data
    assert checked(folder, dataset, "row", SPLITS) == (dataset, [])


@pytest.mark.parametrize("place", [3, 20, -2])
def test_a_flipped_byte_is_refused_and_the_file_named(data, place):
    path = shard(data)
    content = bytearray(path.read_bytes())
    content[place] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path.name}, after record \d+: received a damaged record"):
        checked(data[0], data[1], "row", SPLITS)


def test_a_file_cut_off_is_refused(data):
    path = shard(data)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="after record 5"):
        checked(data[0], data[1], "row", SPLITS)


def test_sound_but_changed_shards_are_told_and_the_hash_follows_the_content(data):
    folder, dataset = data
    path = shard(data)
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records[:4]:
            writer.write(record)
    found, changed = checked(folder, dataset, "row", SPLITS)
    assert changed == [str(path)]
    assert found.records["row"]["train"].records == 4 and found.sha256 != dataset.sha256
    assert found.records["row"]["test"] == dataset.records["row"]["test"]


def test_counting(data):
    assert count_records(str(shard(data))) == 6
