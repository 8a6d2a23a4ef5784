"""What Dataflow would be sent can be read by workers that have the packages of the image and the wheel, and no others.

Both sides are processes of their own. The job is made by Dataflow's runner, which with `dry_run` sends nothing.
"""

import json
import os
import runpy
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy
import pytest

from tests.helpers.source_tree import ROOT

IMAGE = runpy.run_path(str(ROOT / "deploy" / "image_requirements.py"), run_name="image")
LAUNCHER = """
import sys
from functools import partial
from pathlib import Path
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from consort.runs import bulk
from consort.simulation.cascade_log import simulate
from consort.simulation.parameters import World
from consort.transforms.beam.import_dataset import import_dataset
from consort.transforms.beam.options import pipeline_options
from consort.transforms.beam.runners import runner_args
from consort.transforms.beam.transform_dataset import transform_dataset
from consort.transforms.sources.registry import get_source

run, name = DataflowRunner.run_pipeline, ""

def keep(self, *arguments, **options):
    result = run(self, *arguments, **options)
    Path(f"{name}.graph").write_bytes(self.proto_pipeline.SerializeToString())
    raise KeyboardInterrupt  # Nothing was sent, so that there is nothing to wait for.

DataflowRunner.run_pipeline = keep
options = {"project": "a-project", "region": "us-central1", "temp_location": "gs://bucket/temp", "image": "image"}
args = [*runner_args("dataflow", [f"{key}={value}" for key, value in options.items()]), "--dry_run=True"]
Path("raw").mkdir()
Path("raw", "train.txt").write_text("\\t".join(["1", *["3"] * 13, *["0a1b2c3d"] * 26]) + "\\n")
world = World(users=40, items=200, candidates=12, min_candidates=8, pool_size=40, ranked_items=8, exposed_items=4)
dataset = simulate("log", world, 20, 1)
features = dataset.feature_set
score = bulk._ScoreFile("model", features, "row", "work", "counts")
for name, work in {
    "import": lambda: import_dataset(get_source("criteo", {}), Path("raw"), Path("data"), args),
    "transform": lambda: transform_dataset("log", dataset, "transformed", features, "row", beam_args=args),
    "score": lambda: bulk._run(pipeline_options(args), score, {"scores": ["log/row/train/x.tfrecord"]}),
}.items():
    try:
        work()
    except KeyboardInterrupt:
        pass
"""
WORKER = """
import json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"{name} is not in the image")

MISSING = set(json.loads(sys.argv[1]))
sys.meta_path.insert(0, Missing())
from apache_beam.internal import pickler
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2 as api

read = {}
for name in sys.argv[2:]:
    pipeline = api.Pipeline.FromString(open(f"{name}.graph", "rb").read())
    read[name] = []
    for transform in pipeline.components.transforms.values():
        if transform.spec.urn == common_urns.primitives.PAR_DO.urn:
            payload = api.ParDoPayload.FromString(transform.spec.payload).do_fn.payload
        elif "combine" in transform.spec.urn and transform.spec.payload:
            payload = api.CombinePayload.FromString(transform.spec.payload).combine_fn.payload
        else:
            continue
        if payload and not payload.startswith(b"\\n"):
            function = pickler.loads(payload)
            read[name].append(type(function[0] if isinstance(function, tuple) else function).__name__)
print(json.dumps(read))
"""


def started(code: str, folder: Path, *arguments: str) -> str:
    # -S leaves out the editable install of the checkout, which would lend its packages.
    path = os.pathsep.join((str(folder / "installed"), str(Path(numpy.__file__).parents[1])))
    done = subprocess.run(
        [sys.executable, "-S", "-W", "ignore", "-c", code, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def read(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("job")
    wheel.extractall(folder / "installed")
    started(LAUNCHER, folder)
    lock = IMAGE["image_lock"]((ROOT / "requirements.lock").read_text(), (ROOT / "pyproject.toml").read_text())
    kept = {*IMAGE["entries"](lock), "tensorflow", "consort-recommenders"}
    others = [
        module
        for module, distributions in packages_distributions().items()
        if not any(IMAGE["normalized"](one) in kept for one in distributions)
    ]
    assert "pytest" in others and "tensorflow" not in others
    names: dict[str, list[str]] = json.loads(
        started(WORKER, folder, json.dumps(others), "import", "transform", "score")
    )
    return names


def test_every_function_of_a_job_can_be_read_by_a_worker(read: dict[str, list[str]]) -> None:
    assert {name: bool(functions) for name, functions in read.items()} == dict.fromkeys(
        ("import", "transform", "score"), True
    )
    assert {"_TransformFile", "_ScoreFile"} <= {one for functions in read.values() for one in functions}
