"""Locks of folders, held by processes of their own, because a lock is kept from other processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.source_tree import ROOT
from transforms.errors import InputError
from transforms.files import new_directory
from transforms.locks import check_unlocked, is_locked, locked

HOLD = """
import sys, time
from pathlib import Path
from transforms.files import new_directory
from transforms.locks import locked
hold = {"locked": locked, "new_directory": new_directory}[sys.argv[1]]
with hold(sys.argv[2]):
    Path(sys.argv[3]).touch()
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """Another process that holds the lock of `run`."""
    yield from held(tmp_path, "locked", "run")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """Another process that writes the new directory `out`."""
    yield from held(tmp_path, "new_directory", "out")


def held(tmp_path: Path, how: str, name: str) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-c", HOLD, how, str(tmp_path / name), str(tmp_path / "there")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "there").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_at_once_and_told_who_holds_the_folder(
    tmp_path: Path, holder: subprocess.Popen
) -> None:
    started = time.monotonic()
    whose = f"in use by process {holder.pid} on .* since 20.*-c locked"
    with pytest.raises(InputError, match=whose) as refused, locked(tmp_path / "run"):
        pass
    assert time.monotonic() - started < 5 and refused.value.exit_code == 2
    with pytest.raises(InputError, match=f"process {holder.pid}"):
        check_unlocked(tmp_path / "run")


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path, holder: subprocess.Popen) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    check_unlocked(tmp_path / "run")
    with locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / ".lock.json").read_text())["pid"] == os.getpid()


def test_a_folder_that_was_locked_keeps_no_trace_and_looking_makes_none(tmp_path: Path) -> None:
    check_unlocked(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    for _ in range(2):
        with locked(tmp_path / "run"):
            assert is_locked(tmp_path / "run")
        assert list((tmp_path / "run").iterdir()) == [] and not is_locked(tmp_path / "run")


def test_a_lock_ends_with_an_error_in_its_block(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk"), locked(tmp_path):
        raise OSError("disk full")
    assert not is_locked(tmp_path) and list(tmp_path.iterdir()) == []


def test_whoever_waits_gets_the_lock_when_it_is_free(tmp_path: Path, holder: subprocess.Popen) -> None:
    holder.kill()
    with locked(tmp_path / "run", patience_s=30):
        pass


def test_two_processes_do_not_write_the_same_new_directory(tmp_path: Path, writer: subprocess.Popen) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=f"in use by process {writer.pid}"), new_directory(tmp_path / "out"):
        pass
    assert sorted(tmp_path.iterdir()) == before
    with new_directory(tmp_path / "another"):
        pass


def test_a_whole_directory_holds_no_lock(tmp_path: Path) -> None:
    with new_directory(tmp_path / "out") as temporary:
        (temporary / "x").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x"]
