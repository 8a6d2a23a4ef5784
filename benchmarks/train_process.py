"""Workers as child processes: started, ordered to take steps, and waited for with a time limit."""

import json
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import benchmarks
from benchmarks.peers.task import Task
from transforms.errors import ConsortError
from transforms.packages import PREFIX

START_PATIENCE_S = 600.0
"""Time limit for a worker to get ready: imports, data, tables, compilation."""

STEPS_PATIENCE_S = 600.0
_ERROR_CHARACTERS = 4000
_ROOM = Path(benchmarks.__file__).parent


class Worker:
    """One contender in a separate process, which trains on command.

    Args:
      name: for messages.
      python: the interpreter of its environment.
      module: the module to run, which calls `benchmarks.peers.worker.serve`.
      task: what it trains.
      path: of its modules, the only PYTHONPATH of the process.

    Raises:
      ConsortError: it ended or did not answer; the message ends with its stderr.
    """

    def __init__(self, name: str, python: Path, module: str, task: Task, path: Path):
        self.name = name
        self.about: dict[str, Any] = {}
        with ExitStack() as stack:
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            self._open = stack.pop_all()
        # Not its stdout, on which libraries print, some of them while they are imported.
        self._pipe, theirs = os.pipe()
        self._open.callback(os.close, self._pipe)
        self._answers = b""
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", "-m", module, str(theirs)],
            stdin=subprocess.PIPE,
            stdout=self._errors,
            stderr=self._errors,
            pass_fds=[theirs],
            env=environment(path, task.threads),
        )
        os.close(theirs)
        self._send(task.to_json())

    def wait_until_ready(self, patience_s: float = START_PATIENCE_S) -> None:
        """Waits until it has compiled and taken its first steps."""
        self.about = self._answer("getting ready", patience_s)["ready"]

    def run(self, steps: int, patience_s: float = STEPS_PATIENCE_S) -> dict[str, float]:
        """Takes steps and returns their `seconds`, the last `loss`, and `peak_gb` of memory so far."""
        self._send(json.dumps({"steps": steps}))
        return self._answer(f"{steps} steps", patience_s)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        with suppress(BrokenPipeError):  # Input that a process that had ended did not read.
            self._input.close()
        self._open.close()

    @property
    def _input(self) -> IO[bytes]:
        return cast(IO[bytes], self._process.stdin)

    def _send(self, line: str) -> None:
        try:
            self._input.write(line.encode() + b"\n")
            self._input.flush()
        except BrokenPipeError:
            self._died("sending a command")

    def _answer(self, during: str, patience_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + patience_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while b"\n" not in self._answers:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise ConsortError(f"{self.name} gave no answer within {patience_s:g} s, {during}{self._stderr()}")
                read = os.read(self._pipe, 1 << 16)
                if not read:
                    self._died(during)
                self._answers += read
        line, _, self._answers = self._answers.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _died(self, during: str) -> None:
        code = self._process.wait()
        raise ConsortError(f"{self.name} ended with code {code} during {during}{self._stderr()}")

    def _stderr(self) -> str:
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        return f"; it wrote:\n{text[-_ERROR_CHARACTERS:]}" if text else "; it wrote nothing on stderr"


def consort_path() -> Path:
    """Returns where a worker of Consort finds its modules."""
    return _ROOM.parents[PREFIX.count(".")]


@contextmanager
def peer_path() -> Iterator[Path]:
    """Yields a folder with the peers' workers alone: beside an installed Consort are packages of other versions."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, *PREFIX.split("."), "benchmarks")
        shutil.copytree(_ROOM / "peers", package / "peers", ignore=shutil.ignore_patterns("__pycache__", "*.txt"))
        for parent in (package, *package.parents[: PREFIX.count(".")]):
            (parent / "__init__.py").touch()
        yield Path(folder)


def environment(path: Path, threads: int) -> dict[str, str]:
    """Returns the environment of a child process with a module path, a number of threads and no accelerator."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # OpenMP and MKL read theirs before a library's call can set the number.
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**inherited, **counts, "PYTHONPATH": str(path), "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": "-1"}
