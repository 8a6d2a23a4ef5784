"""One run at a time in a folder: a lock that says who holds it, and that ends with the process, however it ends."""

import contextlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transforms.errors import InputError

LOCK_FILE, HOLDER_FILE = ".lock", ".lock.json"
"""In the locked folder while it is locked; a killed process leaves them behind, and they hold nobody up."""
# Who only looks whether a folder is locked holds the lock for a moment, which must not keep a run out.
_LOOK_S = 1.0


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str], patience_s: float = _LOOK_S) -> Iterator[None]:
    """Keeps other processes out of a folder, which is made if it is missing, until the block ends.

    Args:
      folder: local, or on a network file system whose locks hold between machines.
      patience_s: seconds to wait for another process to leave it.

    Raises:
      InputError: another process holds it; the message says which, where and since when.
    """
    # Imported where it is used: it loads asyncio, and the command line must answer at once.
    from filelock import FileLock, Timeout

    root = Path(os.path.abspath(folder))
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / LOCK_FILE, timeout=patience_s, poll_interval=0.02)
    try:
        lock.acquire()
    except Timeout as error:
        raise _in_use(folder, root) from error
    holder = root / HOLDER_FILE
    try:
        holder.write_text(json.dumps(this_process()))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def check_unlocked(folder: str | os.PathLike[str]) -> None:
    """Looks whether another process is at work in a folder, before anything else is done; makes nothing.

    Raises:
      InputError: one is.
    """
    if is_locked(folder):
        raise _in_use(folder, Path(folder))


def is_locked(folder: str | os.PathLike[str]) -> bool:
    """Whether a process, this one or another, holds the lock of a folder; makes nothing."""
    from filelock import FileLock, Timeout

    path = Path(os.path.abspath(folder)) / LOCK_FILE
    if not path.exists() or not os.access(path, os.W_OK):
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def this_command() -> str:
    """The command line of this process, as one would type it again; a package that was started by `-m` by its name."""
    program = Path(sys.argv[0])
    return shlex.join([program.parent.name if program.name == "__main__.py" else program.name, *sys.argv[1:]])


def this_process() -> dict[str, Any]:
    """Returns what a lock says of its holder: process, host, time and command."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": this_command(),
    }


def _in_use(folder: str | os.PathLike[str], root: Path) -> InputError:
    try:
        holder = json.loads((root / HOLDER_FILE).read_text())
        who = "process {pid} on {host} since {since}: {command}".format(**holder)
    except (OSError, ValueError, KeyError, TypeError):  # Written a moment after the lock is taken.
        who = "another process"
    fix = "wait until that run ends, or end it, or choose another folder"
    return InputError(str(folder), f"a folder that is in use by {who}", "a folder that no other run uses", fix)
