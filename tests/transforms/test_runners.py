"""`--runner` and `--option` as Beam's options, and refusals before anything is sent; no cluster is needed."""

import json
import re
import socket
import time
from concurrent import futures

import grpc
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.portability.local_job_service import BeamJob, LocalJobServicer

from benchmarks.criteo_like import write_criteo_like
from transforms.beam.import_dataset import import_dataset
from transforms.beam.options import PartOptions, local_parts_folder, pipeline_options
from transforms.beam.runners import check_runner, runner_args
from transforms.beam.versions import differences, versions
from transforms.errors import InputError
from transforms.sources.criteo.schema import Criteo, CriteoOptions

GOOGLE = ("project=a-project", "region=r", "temp_location=gs://bucket/tmp", "image=i:1")


@pytest.mark.parametrize(
    ("runner", "options", "expected"),
    [
        (None, (), ("--runner=FnApiRunner",)),
        ("local", ("workers=1",), ("--runner=FnApiRunner",)),
        ("local", ("workers=2",), ("--direct_running_mode=multi_processing", "--direct_num_workers=2")),
        ("local", ("parts_folder=/shared",), ("--runner=FnApiRunner", "--parts_folder=/shared")),
        (
            "flink",
            ("job_endpoint=h:1", "worker_pool=h:2", "workers=4"),
            (
                "--runner=FlinkRunner",
                "--environment_type=EXTERNAL",
                "--environment_config=h:2",
                "--job_endpoint=h:1",
                "--parallelism=4",
            ),
        ),
        (
            "flink",
            ("object_reuse=true", "max_parallelism=9"),
            ("--runner=FlinkRunner", "--object_reuse=true", "--max_parallelism=9"),
        ),
        (
            "spark",
            ("job_server_jar=a.jar", "master=spark://h:7077", "image=i:1", "environment-type=DOCKER"),
            (
                "--runner=SparkRunner",
                "--spark_job_server_jar=a.jar",
                "--spark_master_url=spark://h:7077",
                "--sdk_container_image=i:1",
                "--environment_type=DOCKER",
            ),
        ),
    ],
)
def test_names_and_values_become_beams_options(runner, options, expected):
    assert runner_args(runner, options) == expected


def test_dataflow_takes_its_short_names_and_flags():
    options = ("workers=2", "max_workers=9", "worker_type=n2-standard-4", "autoscaling=THROUGHPUT_BASED")
    more = ("service_account=me@p", "upload_graph=true", "no_use_public_ips=true", "update=false")
    values = PipelineOptions(list(runner_args("dataflow", (*GOOGLE, *options, *more)))).get_all_options()
    expected = {
        "runner": "DataflowRunner",
        "project": "a-project",
        "region": "r",
        "num_workers": 2,
        "max_num_workers": 9,
        "machine_type": "n2-standard-4",
        "autoscaling_algorithm": "THROUGHPUT_BASED",
        "service_account_email": "me@p",
        "sdk_container_image": "i:1",
        "experiments": ["upload_graph"],
        "use_public_ips": False,
        "update": False,
    }
    assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("runner", "options", "message"),
    [
        ("flimk", (), "did you mean 'flink'"),
        ("local", ("workers",), "expected key=value"),
        ("local", ("direct_num_worker=2",), "did you mean 'direct_num_workers'"),
        ("flink", ("parallelism=many",), "parallelism: invalid int value"),
        ("flink", ("worker_pol=h:1",), "did you mean 'worker_pool'"),
        ("spark", ("number_of_execution_retries=3",), "received 'number_of_execution_retries'"),
        ("dataflow", ("region=r", "temp_location=gs://b/t"), "no project.*--option project=my-project"),
        ("dataflow", GOOGLE[:3], "no image of the workers.*has no TensorFlow, TFT or Consort"),
        ("dataflow", (*GOOGLE, "staging_location=/tmp"), "staging_location: received /tmp; expected a folder of a"),
        ("dataflow", (*GOOGLE, "project=My Project"), "Invalid Project ID .My Project."),
        ("dataflow", (*GOOGLE, "upload_grap=true"), "did you mean 'upload_graph'"),
        ("dataflow", (*GOOGLE, "update=yes"), "'yes'; expected true or false"),
    ],
)
def test_what_is_misspelled_or_missing_is_refused_with_the_fix(runner, options, message):
    with pytest.raises(InputError, match=message):
        runner_args(runner, options)


def refused(message: str, *options: str) -> None:
    """Fails unless a trial of Flink is refused within seconds."""
    started = time.monotonic()
    with pytest.raises(InputError, match=message):
        check_runner(runner_args("flink", options))
    assert time.monotonic() - started < 20


def test_a_job_server_that_is_not_up_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        refused(f"job server localhost:{port}: received no answer", f"job_endpoint=localhost:{port}")


def test_without_a_job_server_nothing_is_downloaded(tmp_path):
    refused("no job server; expected the address of one, or its jar")
    refused("job_server_jar: received", f"job_server_jar={tmp_path}/none.jar")


class _JobServer(beam_job_api_pb2_grpc.JobServiceServicer):
    """Knows its options, and never runs a job."""

    def DescribePipelineOptions(self, request, context):
        names = ("number_of_execution_retries", "execution_retry_delay", "checkpointing_interval")
        options = [beam_job_api_pb2.PipelineOptionDescriptor(name=name) for name in names]
        return beam_job_api_pb2.DescribePipelineOptionsResponse(options=options)


@pytest.fixture
def job_server():
    server = grpc.server(futures.ThreadPoolExecutor(2))
    beam_job_api_pb2_grpc.add_JobServiceServicer_to_server(_JobServer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"localhost:{port}"
    server.stop(None).wait()


def test_a_job_server_is_asked_for_the_options_that_it_knows(job_server):
    beam_args = (*runner_args("flink", (f"job_endpoint={job_server}",)), "--checkpointing_intervall=5")
    with pytest.raises(InputError, match="did you mean 'checkpointing_interval'"):
        check_runner(beam_args)


def test_a_pool_that_is_not_up_is_refused_before_a_job_is_sent(job_server):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        pool = f"localhost:{closed.getsockname()[1]}"
    refused(f"worker pool {pool}: received .*refused", f"job_endpoint={job_server}", f"worker_pool={pool}")


class _StuckJob(BeamJob):
    """A job that no worker ever takes up."""

    def run(self):
        self.set_state(beam_job_api_pb2.JobState.RUNNING)

    def cancel(self):
        self.set_state(beam_job_api_pb2.JobState.CANCELLED)


def test_a_trial_that_nobody_answers_is_cancelled_and_refused_in_time():
    server = LocalJobServicer(beam_job_type=_StuckJob)
    address = f"localhost:{server.start_grpc_server()}"
    options = (f"job_endpoint={address}", f"worker_pool={address}", "answer_seconds=2")
    try:
        refused("no answer to the trial job within .* s; its state is RUNNING; .*free slots.*answer_seconds", *options)
        (job,) = server._jobs.values()
        assert job.state == beam_job_api_pb2.JobState.CANCELLED
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("RuntimeError: the worker's numpy 1.2 differs from 1.0 of the launcher", "expected the versions.*install the"),
        ("ModuleNotFoundError: No module named 'transforms'", "No module named 'transforms'; expected the versions"),
        ("java.util.concurrent.TimeoutException: 30000 ms", "30000 ms; expected a worker that answers.*free slots"),
        ("x.NoResourceAvailableException: no slots", "expected a worker that answers in time"),
        ("java.io.IOException: disk full", "disk full; expected a job of one element.*logs of the job server"),
    ],
)
def test_the_refusal_says_why_the_trial_failed(monkeypatch, reason, message):
    def fail(pipeline):
        raise RuntimeError(f"Pipeline job failed in state FAILED: {reason}\n  at line 1")

    monkeypatch.setattr("apache_beam.Pipeline.run", fail)
    with pytest.raises(InputError, match=message) as refusal:
        check_runner(("--runner=PortableRunner", "--job_endpoint=embed"))
    assert ("the versions" in str(refusal.value)) == ("differs" in reason or "No module" in reason)


def test_a_worker_compares_its_versions_with_the_launchers():
    assert differences(json.dumps(versions())) == "same"
    expected = re.escape(f"the worker's numpy {np.__version__} differs from 1.0 of the launcher")
    with pytest.raises(RuntimeError, match=expected):
        differences(json.dumps({**versions(), "numpy": "1.0"}))


def test_paths_are_absolute_where_workers_have_another_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    write_criteo_like(tmp_path / "raw" / "train.txt", 90)
    paths = []

    class Recording(Criteo):
        """Notes the folder that it is to read."""

        def read(self, input_dir):
            paths.append(str(input_dir))
            return super().read(input_dir)

    source, portable = Recording(CriteoOptions()), ("--runner=PortableRunner", "--job_endpoint=embed")
    dataset = import_dataset(source, "raw", "new", (*portable, "--environment_type=LOOPBACK", "--parts_folder=parts"))
    assert import_dataset(source, "raw", "local").records == dataset.records
    assert paths == [str(tmp_path / "raw"), "raw"]
    options = pipeline_options((*portable, "--parts_folder=parts"))
    with local_parts_folder(options, str(tmp_path)) as folder:
        assert folder is None
    assert options.view_as(PartOptions).parts_folder == str(tmp_path / "parts")
