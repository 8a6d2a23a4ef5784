"""Folders and files that options name: local paths of any name, or `gs://`, `s3://` and `hdfs://` URLs.

A verb gets a local path. For a URL that is the path of a copy (`transforms.cloud`), made before the verb begins and, if
it is written, uploaded when the verb ends. For a model's folder whose name TensorFlow would take for a file pattern, it
is a link to the folder.
"""

import contextlib
import contextvars
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from typer.core import TyperCommand

from transforms.errors import InputError
from transforms.files import PATTERN_CHARACTERS, check_folder
from transforms.progress import replace_in_messages

_REMOTE = re.compile(r"(gs|s3|hdfs)://")


class _Place(Protocol):
    local: Path

    def check(self) -> None:
        """Looks whether it can be used."""

    def __enter__(self) -> Path: ...

    def __exit__(self, *_: object) -> None: ...


_NAMED: "contextvars.ContextVar[list[_Place]]" = contextvars.ContextVar("places")
_META = "consort.places"


class Command(TyperCommand):
    """A verb whose options may name places that are prepared before it runs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the command line, and keeps the places that it names."""
        named: list[_Place] = []
        ctx.meta[_META] = named
        token = _NAMED.set(named)
        try:
            return super().parse_args(ctx, args)
        finally:
            _NAMED.reset(token)

    def invoke(self, ctx: Any) -> Any:
        """Checks all places, makes the copies, runs the verb and uploads what it wrote."""
        places: list[_Place] = ctx.meta[_META]
        if not places:
            return super().invoke(ctx)
        with contextlib.ExitStack() as stack:
            for place in places:
                _check_runner(place, ctx.params.get("runner"))
                place.check()
                if release := getattr(place, "release", None):
                    stack.callback(release)
            for place in places:
                stack.enter_context(place)
            return super().invoke(ctx)


def read(text: str) -> Path:
    """Parses an option that names a dataset, or files, to read."""
    return _placed(text, lambda url: _copies().ReadCopy(url))


def read_model(text: str) -> Path:
    """Parses an option that names a model, a run or a pipeline's root to read."""
    return _placed(text, lambda url: _copies().ReadCopy(url), _Link)


def follow(text: str) -> Path:
    """Parses an option that names a folder in which more appears while the verb runs."""
    return _placed(text, lambda url: _copies().ReadCopy(url, follow=True), _Link)


def read_text(text: str) -> str:
    """Parses an argument that is a file, or perhaps something else that has a name."""
    return str(read(text)) if _REMOTE.match(text) else text


def write(text: str) -> Path:
    """Parses an option that names a folder to write a dataset or an index to."""
    return _placed(text, _working)


def write_model(text: str) -> Path:
    """Parses an option that names a folder to write a run or versions of models to."""
    return _placed(text, _working, lambda path: _Link(path, make=True))


def write_root(text: str) -> Path:
    """Parses an option that names the root of a pipeline, whose files name their own paths."""
    return _placed(text, lambda url: _working(url, keep=True), lambda path: _Link(path, make=True))


def write_file(text: str) -> Path:
    """Parses an option that names one file to write."""
    return _placed(text, _WrittenFile)


def _check_runner(place: _Place, runner: str | None) -> None:
    if runner == "dataflow" and (url := getattr(place, "url", None)) is not None:
        fix = "leave out --runner dataflow; flink and spark can be used if their workers see CONSORT_CACHE"
        raise InputError(str(url), "--runner dataflow", "workers that see the copy on this machine", fix)


def _copies() -> Any:
    # Imported for a URL only: the command line must answer at once.
    from transforms.cloud import copies

    return copies


def _working(url: Any, keep: bool = False) -> Any:
    from transforms.cloud.working import WorkingCopy

    if len(json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {}).get("worker", ())) > 1:
        fix = "give a folder on a shared file system, and copy it afterwards"
        raise InputError(str(url), "a URL in a run of several workers", "a folder that all workers see", fix)
    return WorkingCopy(url, keep)


def _placed(text: str, remote: Callable[[Any], _Place], link: Callable[[Path], _Place] | None = None) -> Path:
    if _REMOTE.match(text):
        from transforms.cloud.store import parse_url

        try:
            place = remote(parse_url(text))
        except InputError as error:  # Of a parser, typer would make a usage error of it.
            place = _Refused(error)
    elif link is not None and any(character in os.path.abspath(text) for character in PATTERN_CHARACTERS):
        place = link(Path(text))
    else:
        return Path(text)
    _NAMED.get().append(place)
    return place.local


class _Refused:
    """A place that cannot be used."""

    local = Path("refused")

    def __init__(self, error: InputError):
        self._error = error

    def check(self) -> None:
        """Raises the reason."""
        raise self._error

    def __enter__(self) -> Path:
        raise self._error

    def __exit__(self, *_: object) -> None:
        """Does nothing."""


class _Link:
    """A link without special characters to a local folder with some, at the same place in every run."""

    def __init__(self, path: Path, make: bool = False):
        from transforms.cloud.copies import cache_folder

        self._path, self._make = Path(os.path.abspath(path)), make
        name = re.sub(r"[^\w.=+-]", "_", self._path.name)
        self.local = cache_folder() / "names" / hashlib.sha256(os.fsencode(self._path)).hexdigest()[:24] / name
        replace_in_messages(str(self.local), str(path))

    def check(self) -> None:
        """Looks whether the folder can be written, if it will be."""
        if self._make:
            check_folder(self._path, "the folder")

    def __enter__(self) -> Path:
        if self._make:
            self._path.mkdir(parents=True, exist_ok=True)
        self.local.parent.mkdir(parents=True, exist_ok=True)
        if not self.local.is_symlink():
            with contextlib.suppress(FileExistsError):
                self.local.symlink_to(self._path)
        return self.local

    def __exit__(self, *_: object) -> None:
        if self._make:
            # A verb that wrote nothing leaves nothing.
            with contextlib.suppress(OSError):
                self._path.rmdir()


class _WrittenFile:
    """A file that is uploaded when the verb has written it."""

    def __init__(self, url: Any):
        from transforms.cloud.copies import cache_folder
        from transforms.cloud.store import local_name

        if url.parent() is None:
            raise InputError(str(url), "a bucket", "the URL of a file in it", "add the name of a file")
        self._url, self.local = url, cache_folder() / "files" / f"{os.getpid()}" / local_name(url)
        replace_in_messages(str(self.local), str(url))

    def check(self) -> None:
        """Writes an empty object beside the file and removes it."""
        from transforms.cloud.clients import open_store

        self._store, probe = open_store(self._url.parent()), f".consort.{os.getpid()}"
        self._store.write(probe, b"")
        self._store.delete(probe)

    def __enter__(self) -> Path:
        return self.local

    def __exit__(self, *_: object) -> None:
        if self.local.is_file():
            self._store.put(self.local, self._url.key.rpartition("/")[2])
            self.local.unlink()


def all_commands(app: Any) -> Iterator[Any]:
    """Yields the registered commands of an app and of the apps in it."""
    yield from app.registered_commands
    for group in app.registered_groups:
        yield from all_commands(group.typer_instance)
