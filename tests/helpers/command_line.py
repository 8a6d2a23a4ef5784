"""The command line for end-to-end tests: in this process, in one of its own, killed, or short of disk."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.source_tree import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PATIENCE_S = 300
# Python ignores SIGXFSZ, which else is deadly, and so does what replaces it. A `preexec_fn` could do the same, but runs
# between fork and exec, where a process with threads such as TensorFlow's and gRPC's may hang for ever.
_SHORT_OF_DISK = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Answer:
    """What a command came to."""

    code: int
    out: str
    err: str


def consort(*arguments: object) -> Answer:
    """Runs a command in this process."""
    from consort.__main__ import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch:
        # It changes logging and warnings for good, which other tests look at.
        patch.setattr("consort.cli.quiet.be_quiet", lambda: None)
        patch.setattr(sys, "argv", ["consort", *map(str, arguments)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as stopped:
                code = int(stopped.code or 0)
    return Answer(code, out.getvalue(), err.getvalue())


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Starts a command in a process group of its own."""
    return subprocess.Popen(
        _command(arguments),
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> Answer:
    """Waits for a command that was started."""
    _, err = process.communicate(timeout=PATIENCE_S)
    return Answer(process.returncode, "", err)


def kill_when(there: Callable[[], bool], folder: Path, *arguments: object) -> None:
    """Starts a command and ends it with SIGKILL as soon as `there` says so."""
    process = start(folder, *arguments)
    deadline = time.monotonic() + PATIENCE_S
    try:
        while not there():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{arguments} was not caught at work; its code is {process.poll()}: {finish(process).err}")
            time.sleep(0.001)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def run_short_of_disk(limit_bytes: int, folder: Path, *arguments: object) -> Answer:
    """Runs a command none of whose files may grow beyond a limit: writes fail as on a full disk."""
    done = subprocess.run(
        [sys.executable, "-c", _SHORT_OF_DISK, str(limit_bytes), *_command(arguments)],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def until(condition: Callable[..., bool], timeout_s: float = 20.0) -> None:
    """Waits until something in another thread or process has come about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, hidden ones too, with the content of files."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def _command(arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", "consort", *map(str, arguments)]
