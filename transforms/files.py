"""Files that are whole or absent: written beside, then renamed. Paths are local."""

import contextlib
import glob
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from transforms.errors import InputError
from transforms.locks import check_unlocked, is_locked, locked

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


_INCOMPLETE = ".incomplete-"

PATTERN_CHARACTERS = "*?[\\"
"""What TensorFlow's file patterns give a meaning to."""


@contextlib.contextmanager
def replacing_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside `path`; on a clean exit it becomes `path`, else it is removed.

    What a killed run left behind under the same prefix is removed first.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}.tmp-"
    for stale in target.parent.glob(f"{glob.escape(prefix)}*"):
        if not _alive(stale.name.removeprefix(prefix).partition("-")[0]):
            stale.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f"{prefix}{os.getpid()}-")
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
def complete_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; on a clean exit it becomes `path`, else it is removed.

    For workers on several machines, where several may write the same file at once: `replacing_file` would take what
    another machine writes for a leftover. What killed workers leave is for `remove_incomplete`.

    Args:
      path: in a folder that exists; replaced if it exists.
    """
    temporary = path.with_name(f"{_INCOMPLETE}{path.name}-{uuid.uuid4().hex}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_incomplete(folder: Path) -> None:
    """Removes what killed workers left of `complete_file` in a folder and those in it; nobody may be writing."""
    for path in folder.rglob(f"{_INCOMPLETE}*"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def new_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary directory beside `path`; on a clean exit it becomes `path`, else it is removed.

    What a killed run left behind under the same prefix is removed first.

    Raises:
      FileExistsError: `path` exists and is not an empty directory.
      InputError: another process is writing it.
    """
    target = Path(os.path.abspath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists and is not empty")
    for other in target.parent.glob(f".{glob.escape(target.name)}.partial-*"):
        check_unlocked(other)
    remove_leftovers(target.parent, target.name)
    temporary = target.parent / f".{target.name}.partial-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with locked(temporary):
            yield temporary
        if target.exists():
            target.rmdir()
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: str | os.PathLike[str], name: str | None = None) -> None:
    """Removes unfinished directories that killed processes left in `folder`.

    Args:
      folder: where `new_directory` was used.
      name: only those that were to become `name`; None: all.
    """
    for stale in Path(folder).glob(f".{'*' if name is None else glob.escape(name)}.partial-*"):
        # On a shared file system its process may live on another machine.
        if not _alive(stale.name.rpartition("-")[2]) and not is_locked(stale):
            shutil.rmtree(stale, ignore_errors=True)


def check_local(path: str | os.PathLike[str], name: str) -> None:
    """Refuses a URL where a local path is expected: as a path it would name a folder `gs:` here.

    Args:
      path: as it was given.
      name: of the option that gave it, for the message.

    Raises:
      InputError: it is one.
    """
    # `Path` makes one slash of two.
    if _URL.match(os.fspath(path)) and not os.path.exists(path):
        fix = "copy it here; most commands take gs://, s3:// and hdfs:// URLs (docs/production.md)"
        raise InputError(f"{name} {path}", "a URL", "a path on this machine", fix)


def escaped(path: str | os.PathLike[str]) -> str:
    """A pattern for `tf.io.gfile.glob` that matches this path and no other."""
    return "".join(f"\\{character}" if character in PATTERN_CHARACTERS else character for character in os.fspath(path))


def check_folder(path: str | os.PathLike[str], name: str) -> None:
    """Looks whether a folder can be made or written to, and makes nothing.

    Args:
      path: the folder, there or not.
      name: of the option that gave it, for the message.

    Raises:
      InputError: it, or a folder above it, is a file or may not be written to; or it is a URL.
    """
    check_local(path, name)
    target = Path(os.path.abspath(path))
    nearest = next(folder for folder in (target, *target.parents) if os.path.lexists(folder))
    if not nearest.is_dir():
        raise InputError(
            f"{name} {path}", f"{nearest}, which is no folder", "a folder, there or not", f"give another path as {name}"
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        fix = f"give another path as {name}, or change its permissions"
        raise InputError(f"{name} {path}", f"{nearest}, where nothing may be written", "a folder to write to", fix)


def check_no_pattern(path: str | os.PathLike[str], name: str) -> None:
    """Refuses a path of a model or a checkpoint that TensorFlow, which restores variables by pattern, cannot read.

    Args:
      path: as given; what counts is the absolute path.
      name: of the option that gave it, for the message.

    Raises:
      InputError: the absolute path holds one of `PATTERN_CHARACTERS`.
    """
    absolute = os.path.abspath(path)
    special = " ".join(character for character in PATTERN_CHARACTERS if character in absolute)
    if special:
        expected = f"a path without {' '.join(PATTERN_CHARACTERS)}: TensorFlow and TFX take it for a file pattern"
        fix = f"rename the folder, or choose another {name}; data may stay in a folder of any name"
        raise InputError(f"{name} {path}", f"{special} in {absolute}", expected, fix)


def check_model_folder(path: str | os.PathLike[str], name: str) -> None:
    """As `check_folder`, for a folder that gets models or checkpoints.

    Raises:
      InputError: as `check_folder` and `check_no_pattern`.
    """
    check_no_pattern(path, name)
    check_folder(path, name)


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


def folder_sha256(path: str | os.PathLike[str]) -> str:
    """Sha256 of the names and contents of all files in a folder, independent of where it lies."""
    root = Path(path)
    lines = sorted(f"{file.relative_to(root)} {sha256_of(file)}" for file in root.rglob("*") if file.is_file())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Sha256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
