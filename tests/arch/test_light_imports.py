"""Leaves and the client stay leaves: importing them brings in neither TensorFlow nor Beam, and is quick."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.helpers.source_tree import LEAVES, ROOMS, ROOT

HEAVY = (
    "tensorflow",
    "tf_keras",
    "keras",
    "apache_beam",
    "tfx",
    "tfx_bsl",
    "tensorflow_transform",
    "pandas",
    "pyarrow",
)
CLIENT = ("serving.client", "serving.client.json_inputs", "serving.protocol", "serving.tensors")
SERVER = ("serving.server.server", "serving.versions", "serving.contract", "consort.cli.serve", "consort.cli.query")
RUN_FILES = ("runs.config", "runs.tuning.config", "consort.config")
# Of processor time, so that a busy machine does not decide.
MAX_SECONDS = 1.5


@pytest.mark.parametrize(
    "name",
    [*ROOMS, *sorted(LEAVES), *RUN_FILES, "consort.__main__", "consort.doctor", *CLIENT, *SERVER],
)
def test_importing_it_brings_in_nothing_heavy(name: str) -> None:
    if find_spec(name) is None:
        pytest.fail(f"there is no module {name}; rename it here too")
    seconds, loaded = _import(name)
    assert loaded == [], f"import {name} brings in {', '.join(loaded)}"
    assert seconds < MAX_SECONDS, f"import {name} takes {seconds:.1f} s"


def _import(name: str) -> tuple[float, list[str]]:
    code = (
        "import json, sys, time; start = time.process_time(); "
        f"import {name}; print(json.dumps([time.process_time() - start, sorted(sys.modules)]))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    seconds, present = json.loads(done.stdout)
    return seconds, [module for module in HEAVY if module in present]
