"""Nodes of a compiled pipeline as a container starts them: paths are URIs of a bucket that is mounted as a folder."""

import json

import pytest
from tfx.types import artifact_utils, standard_artifacts

from serving.versions import versions_in
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import write_toy
from tfx_pipeline.compile import compile_pipeline
from tfx_pipeline.components.executors import PublishVersion
from tfx_pipeline.components.record_nodes import CopyShards
from transforms.mounts import MOUNT_VARIABLE


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    folder = tmp_path / "bucket"
    write_toy(folder / "data")
    monkeypatch.setenv(MOUNT_VARIABLE, str(tmp_path))
    return folder


@pytest.fixture
def constants(bucket):
    job = compile_pipeline(small_config(), bucket / "data", "gs://bucket/data", "gs://bucket/tfx", "image", "vertex")
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]

    def of(task):
        parameters = tasks[task]["inputs"]["parameters"]
        return {name: value["runtimeValue"]["constant"] for name, value in parameters.items()}

    return of


def artifact(kind, uri):
    result = kind()
    result.uri = uri
    return result


def test_the_shards_are_copied_within_the_bucket(bucket, constants):
    examples = artifact(standard_artifacts.Examples, "gs://bucket/tfx/artifacts/examples")
    CopyShards().Do({}, {"examples": [examples]}, constants("ImportExampleGen"))
    assert artifact_utils.decode_split_names(examples.split_names) == ["train", "eval", "test"]
    original = sorted((bucket / "data" / "row" / "train").iterdir())
    copied = sorted((bucket / "tfx" / "artifacts" / "examples" / "Split-train").iterdir())
    assert [path.read_bytes() for path in copied] == [path.read_bytes() for path in original]


def test_a_blessed_model_is_published_in_the_bucket(bucket, constants):
    folder = bucket / "tfx" / "artifacts" / "model" / "Format-Serving"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    blessing = artifact(standard_artifacts.ModelBlessing, "gs://bucket/tfx/artifacts/blessing")
    blessing.set_int_custom_property("blessed", 1)
    model = artifact(standard_artifacts.Model, "gs://bucket/tfx/artifacts/model")
    pushed = artifact(standard_artifacts.PushedModel, "gs://bucket/tfx/artifacts/pushed")
    properties = constants("Pusher")
    PublishVersion().Do({"model": [model], "model_blessing": [blessing]}, {"pushed_model": [pushed]}, properties)
    destination = json.loads(properties["push_destination"])["filesystem"]["base_directory"]
    assert destination == "gs://bucket/tfx/serving/toy_deepfm"
    (version,) = versions_in(bucket / "tfx" / "serving" / "toy_deepfm")
    assert (version[1] / "saved_model.pb").read_bytes() == b"graph"
