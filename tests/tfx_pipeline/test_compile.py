import copy
import importlib
import json

import pytest
import yaml
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import write_toy
from tfx_pipeline.compile import check_spec, compile_pipeline, write_spec
from tfx_pipeline.entry_points import entry_points
from transforms.errors import InputError

REMOTE = ("gs://bucket/some data", "gs://bucket/tfx/")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compile") / "data"
    write_toy(folder)
    return folder


@pytest.fixture(scope="module")
def job(data):
    return compile_pipeline(small_config(), data, *REMOTE, "registry/consort:1", "vertex")


def test_every_path_of_the_job_is_remote(job, data):
    text = json.dumps(job)
    assert str(data) not in text and str(data.parent) not in text and "consort-compile" not in text
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://bucket/tfx/artifacts"
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    constants = {
        name: task["inputs"]["parameters"] for name, task in tasks.items() if "parameters" in task.get("inputs", ())
    }
    assert constants["ImportExampleGen"]["input_base"]["runtimeValue"]["constant"] == "gs://bucket/some data/row"
    trainer = json.loads(constants["Trainer"]["custom_config"]["runtimeValue"]["constant"])
    assert trainer["checkpoint_root"] == "gs://bucket/tfx/checkpoints"
    assert all(path.startswith("gs://bucket/some data/row/") for path in trainer["warmup_files"])


def test_every_node_runs_in_the_image_and_gates_are_never_cached(job):
    spec = job["pipelineSpec"]
    containers = [
        executor["container"] for executor in spec["deploymentSpec"]["executors"].values() if "container" in executor
    ]
    assert len(containers) == 10 and {container["image"] for container in containers} == {"registry/consort:1"}
    cached = {name: bool(task.get("cachingOptions")) for name, task in spec["root"]["dag"]["tasks"].items()}
    assert not cached["AnomalyGate"] and not cached["ModelGate"] and not cached["Pusher"] and cached["Transform"]


def test_the_order_of_the_nodes_is_kept(job):
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    assert "AnomalyGate" in tasks["Transform"]["dependentTasks"]
    assert "ModelGate" in tasks["Pusher"]["dependentTasks"]
    assert job["pipelineSpec"]["pipelineInfo"]["name"] == "toy-deepfm"


def test_a_spec_is_written_as_its_file_says(job, tmp_path):
    write_spec(job, tmp_path / "job.json")
    write_spec(job["pipelineSpec"], tmp_path / "spec.yaml")
    assert json.loads((tmp_path / "job.json").read_text()) == job
    assert yaml.safe_load((tmp_path / "spec.yaml").read_text()) == job["pipelineSpec"]


def test_the_job_fits_the_protocol_buffers_of_kubeflow_pipelines(job):
    json_format = importlib.import_module("google.protobuf.json_format")
    parsed = json_format.ParseDict(job, pipeline_spec_pb2.PipelineJob())
    assert parsed.runtime_config.gcs_output_directory == "gs://bucket/tfx/artifacts"
    spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    assert len(spec.root.dag.tasks) == 12 and len(spec.components) == 12
    with pytest.raises(json_format.ParseError, match="unknown"):
        json_format.ParseDict({**job["pipelineSpec"], "unknown": 1}, pipeline_spec_pb2.PipelineSpec())


def broken(job, change):
    changed = copy.deepcopy(job)
    change(changed["pipelineSpec"]["root"]["dag"]["tasks"]["Pusher"])
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda task: task["componentRef"].update(name="Nobody"), "no component"),
        (lambda task: task["dependentTasks"].append("Nobody"), "which is no task"),
        (lambda task: task["taskInfo"].update(name="/opt/somebody/x"), "local paths: /opt/somebody/x"),
        (lambda task: task["taskInfo"].update(name='{"inner": ["/opt/x"]}'), "local paths: /opt/x"),
    ],
)
def test_a_damaged_spec_is_refused(job, change, message):
    check_spec(job)
    with pytest.raises(Exception, match=message):
        check_spec(broken(job, change))


@pytest.mark.parametrize(
    ("uris", "message"),
    [
        (("/data", "gs://b/tfx"), "--data-uri"),
        (("gs://b/data", "root"), "--root"),
        (("s3://b/data", "gs://b/tfx"), "--data-uri.*vertex"),
        (("gs:/b/data", "gs://b/tfx"), "--data-uri"),
    ],
)
def test_paths_that_nodes_cannot_reach_are_refused(data, uris, message):
    with pytest.raises(InputError, match=message):
        compile_pipeline(small_config(), data, uris[0], uris[1], "image", "vertex")


def test_a_name_that_kubeflow_refuses_is_refused(data):
    with pytest.raises(InputError, match="^name"):
        compile_pipeline(small_config(name="a" * 200), data, *REMOTE, "image", "vertex")


def test_every_executor_is_among_the_entry_points_that_an_image_must_have(job):
    executors = job["pipelineSpec"]["deploymentSpec"]["executors"].values()
    arguments = [executor["container"]["args"] for executor in executors if "container" in executor]
    paths = [one[one.index("--executor_class_path") + 1] for one in arguments]
    assert {path for path in paths if not path.startswith("tfx.")} <= set(entry_points())
