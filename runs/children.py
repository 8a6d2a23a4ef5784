"""Child processes that end with their parent and that may not take more than their share."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from transforms.errors import ConsortError

_POLL_S = 0.1
_PR_SET_PDEATHSIG = 1
_MAX_REASON = 500


class Children:
    """Runs child processes, several at once from as many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def run(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        memory_gb: float | None = None,
        timeout_s: float | None = None,
    ) -> str | None:
        """Runs a command to its end; None if that was a good one, else what went wrong.

        Args:
          command: program and arguments.
          log: gets what it prints.
          environment: on top of this process's own.
          memory_gb: it is killed when it takes more main memory; None is no limit.
          timeout_s: it is killed when it takes longer; None is no limit.

        Raises:
          ConsortError: `close` was called.
        """
        with open(log, "wb") as output:
            process = self._start(command, output.fileno(), environment)
            started = time.monotonic()
            try:
                while not _ended(process):
                    used = peak_gb(process.pid)
                    if memory_gb is not None and used is not None and used > memory_gb:
                        return f"took {used:.2f} GB of memory; tuning.memory_gb allows {memory_gb:g}"
                    if timeout_s is not None and time.monotonic() - started > timeout_s:
                        return f"took more than {timeout_s:g} s; tuning.timeout_s allows no more"
            finally:
                self._end(process)
        if self._closed:
            raise ConsortError("the search was stopped; the same command goes on with it")
        return None if process.returncode == 0 else _why(process.returncode, log)

    def close(self) -> None:
        """Kills those that run, and starts no more."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.kill()

    def _start(self, command: Sequence[str], output: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise ConsortError("the search was stopped; the same command goes on with it")
            # In a session of its own: Ctrl-C reaches the parent alone, which ends its children itself.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
            self._running.add(process)
            return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        with self._lock:
            self._running.discard(process)


def module_command(module: str, *arguments: str) -> list[str]:
    """Runs a module of ours in a new interpreter; `die_with` takes the last argument, this process's id."""
    # -P: what lies in the working directory must not hide our packages.
    return [sys.executable, "-P", "-m", module, *arguments, str(os.getpid())]


def import_environment() -> dict[str, str]:
    """Lets a new interpreter import what this one can."""
    return {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}


def die_with(parent: int) -> None:
    """Ends this process when its parent ends, however that may be; and spares the parent when memory is short.

    Args:
      parent: its process id; if it is gone already, this process ends now.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def peak_gb(pid: int) -> float | None:
    """The most main memory that a process has taken so far; None if it is gone or the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e9
    return None


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _why(code: int, log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = f": {lines[-1][:_MAX_REASON]}" if lines else ""
    if code >= 0:
        return f"ended with code {code}{last}"
    if code == -signal.SIGKILL:
        return "was killed (SIGKILL), as the system does when memory is short"
    return f"ended by signal {signal.Signals(-code).name}{last}"
