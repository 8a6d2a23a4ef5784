"""Data in a folder of any name; models only where TensorFlow reads them back."""

import os

import pytest
from tfx.proto import example_gen_pb2

from runs.online.learn import OnlineSettings, learn_online
from runs.plan import make_plan
from runs.train import train_run
from serving.loading import Scorer
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import write_toy
from tfx_pipeline.components.record_nodes import NamedFolderDriver
from transforms.errors import InputError


def fingerprint(folder) -> str:
    splits = [example_gen_pb2.Input.Split(name="train", pattern="train/*.tfrecord")]
    processor = NamedFolderDriver(None).get_input_processor(splits, None, str(folder))
    return processor.get_input_fingerprint(*processor.resolve_span_and_version())


def test_the_cache_key_of_the_examples_is_of_the_named_folder(tmp_path):
    for name in ("data[1]", "data1"):
        write_toy(tmp_path / name)
    (shard,) = (tmp_path / "data[1]" / "row" / "train").iterdir()
    before = fingerprint(tmp_path / "data[1]" / "row")
    assert "num_files:1" in before
    os.utime(shard, (1, 1))
    assert fingerprint(tmp_path / "data[1]" / "row") != before
    assert fingerprint(tmp_path / "data1" / "row") == before


@pytest.mark.parametrize("name", ["root [1] x", "root*"])
def test_a_root_that_would_be_taken_for_a_pattern_is_refused_before_anything_is_written(tmp_path, name):
    write_toy(tmp_path / "data")
    for run in (make_plan, train_run):
        with pytest.raises(InputError, match="rename the folder"):
            run(small_config(), tmp_path / "data", tmp_path / name)
    settings = OnlineSettings()
    for out, serve in ((name, "serving"), ("run", name)):
        with pytest.raises(InputError, match="rename the folder"):
            learn_online(small_config(), tmp_path / "stream", tmp_path / out, tmp_path / serve, settings)
    assert os.listdir(tmp_path) == ["data"]


def test_a_model_in_such_a_folder_says_so(tmp_path):

    with pytest.raises(InputError, match="rename the folder"):
        Scorer(tmp_path / "model[1]")
