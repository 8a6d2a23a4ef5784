"""Files that are whole or absent: written beside, then renamed. Local and remote paths alike."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside `path`; on a clean exit it becomes `path`, else it is removed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; a server under another user must be able to read them.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary directory beside `path`; on a clean exit it becomes `path`, else it is removed.

    What a killed run left behind under the same prefix is removed first.

    Raises:
      FileExistsError: `path` exists and is not an empty directory.
    """
    target = Path(os.path.abspath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists and is not empty")
    prefix = f".{target.name}.partial-"
    for stale in target.parent.glob(f"{prefix}*"):
        if not _alive(stale.name.removeprefix(prefix)):
            shutil.rmtree(stale, ignore_errors=True)
    temporary = target.parent / f"{prefix}{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            target.rmdir()
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _alive(pid: str) -> bool:
    return pid.isdigit() and Path(f"/proc/{pid}").exists()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a whole text file or none."""
    with replacing_file(path) as temporary:
        temporary.write_text(text)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Sha256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
