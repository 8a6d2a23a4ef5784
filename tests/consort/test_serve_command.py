"""`consort serve` as a process: without TensorFlow's Python part, patient, with limits, and quick to end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from serving.client import PredictClient
from serving.protocol import ServingError
from serving.server.server import STOP_S
from tests.helpers.source_tree import ROOT
from tests.serving import toy_models

# At its end the process tells which of these it has imported.
SCRIPT = """
import atexit, sys
from consort.__main__ import main
heavy = ("tensorflow", "tf_keras", "keras", "pandas", "pyarrow", "apache_beam")
atexit.register(lambda: print("imported:", [name for name in heavy if name in sys.modules], flush=True))
main()
"""


def _start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "serve", *map(str, arguments), "--port", "0", "--poll-seconds", "0.05"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _address(process):
    line = process.stdout.readline()
    assert line.startswith("serving "), line + process.stderr.read()
    return line.split()[-1]


def _end(process):
    """Ends a server, and gives what it printed last."""
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=1.0 + STOP_S + 5.0)
    assert process.returncode == 0
    return said


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = toy_models.half_plus_two(tmp_path_factory.mktemp("exported") / "model")
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "contract.json").write_text(json.dumps({"contract_version": 1, "model": "half"}))
    return folder


def test_it_serves_without_tensorflow_in_python_and_ends_at_once(exported, tmp_path):
    for name in ("a", "b", "c"):
        shutil.copytree(exported, tmp_path / name / "1")
    process = _start(tmp_path, "--max-message-bytes", 1000)
    with PredictClient(_address(process)) as client:
        for name in ("a", "b", "c"):
            assert client.predict(name, {"x": [2.0]}).outputs["y"].tolist() == [3.0]
        with pytest.raises(ServingError, match="RESOURCE_EXHAUSTED"):
            client.predict("a", {"x": [0.0] * 1000})
    start = time.monotonic()
    assert _end(process).strip() == "imported: []"
    assert time.monotonic() - start < 1.0 + STOP_S


def test_it_waits_for_a_first_version_when_told_to(exported, tmp_path):
    process = _start(tmp_path, "--wait", 60)
    assert "waiting for a version in" in process.stderr.readline()
    shutil.copytree(exported, tmp_path / "later")
    (tmp_path / "later").rename(tmp_path / "7")
    with PredictClient(_address(process)) as client:
        assert client.predict("half", {"x": [2.0]}).version == 7
    _end(process)


def test_a_folder_without_a_version_is_refused_at_once_by_default(tmp_path):
    process = _start(tmp_path)
    _, said = process.communicate(timeout=60.0)
    assert process.returncode == 2
    assert "received an empty folder" in said


def test_a_version_that_never_comes_whole_is_named_at_the_end_of_the_time_to_load(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "1", ignore=shutil.ignore_patterns("variables"))
    process = _start(tmp_path, "--load-timeout", 0.5)
    _, said = process.communicate(timeout=60.0)
    assert process.returncode == 1
    assert "half version 1: still being copied: there is no variables/variables.index in" in said


def test_a_version_that_is_being_copied_leaves_name_and_flags_to_the_one_below(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "1")
    (tmp_path / "2").mkdir()
    process = _start(tmp_path)
    with PredictClient(_address(process)) as client:
        assert client.predict("half", {"x": [2.0]}).version == 1
    _end(process)
