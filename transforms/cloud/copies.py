"""Copies on this machine of what is read from object stores; and what copies that are written have in common with them.

TensorFlow, TFX and the metadata's database need files on a disk, which can be renamed and locked. A copy is brought up
to date before it is used. Where a folder was written by Consort, a marker names all its files with their checksums: it
was written last, and nothing that differs from it is taken.
"""

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from transforms.cloud.clients import open_store
from transforms.cloud.store import Entry, Store, StoreError, Url, local_name
from transforms.errors import ConsortError, InputError
from transforms.files import replacing_file, sha256_of, write_text
from transforms.locks import locked
from transforms.progress import replace_in_messages, say

CACHE_VARIABLE = "CONSORT_CACHE"
"""Environment variable: the folder of all copies; default `~/.cache/consort`."""
MARKER = ".consort.json"
"""In a folder of a store: the sizes and checksums of its files, once all of them are there."""
FOLLOW_EVERY_S = 5.0
"""Seconds between two looks for what is new in a folder that is followed."""
_THREADS = 8
_TRIES, _BETWEEN_TRIES_S = 3, 2.0
_LAST = {"saved_model.pb": 1, "dataset.json": 1, "run.json": 2}
"""Files whose presence shows a reader that the rest is there."""


def cache_folder() -> Path:
    """Returns the folder of all copies."""
    return Path(os.path.abspath(os.path.expanduser(os.environ.get(CACHE_VARIABLE) or "~/.cache/consort")))


def state_folder(kind: str, url: Url) -> Path:
    """Returns where a copy's lock and its record of what was copied are kept."""
    return cache_folder() / "state" / f"{kind}-{hashlib.sha256(str(url).encode()).hexdigest()[:24]}"


class ReadCopy:
    """A copy of a folder or file that is only read.

    Args:
      url: what is copied.
      follow: keep the copy up to date while it is open; then nothing need be there yet.
    """

    def __init__(self, url: Url, follow: bool = False):
        self.url, self.local, self._follow = url, cache_folder() / "read" / local_name(url), follow
        self._ended = threading.Event()
        self._state = state_folder("read", url)
        replace_in_messages(str(self.local), str(url))

    def check(self) -> None:
        """Looks whether there is something that can be read; copies nothing.

        Raises:
          InputError: nothing is there, an upload that has not ended, or the store cannot be used.
        """
        self._store = open_store(self.url)
        if not self._finished()[0] and not self._follow:
            raise InputError(str(self.url), "nothing", "a file, or a folder with files in it", "correct the URL")

    def __enter__(self) -> Path:
        self._refresh()
        if self._follow:
            self.local.mkdir(parents=True, exist_ok=True)
            threading.Thread(target=self._refresh_until_closed, daemon=True).start()
        return self.local

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _refresh(self) -> None:
        with locked(self._state, patience_s=3600.0):
            for rest in reversed(range(_TRIES)):
                objects, expected = self._finished()
                try:
                    download(self._store, self.url, objects, expected, self.local, self._state)
                    return
                except StoreError:
                    # Its writer may be at work; that ends with another marker.
                    if not rest:
                        raise
                    time.sleep(_BETWEEN_TRIES_S)

    def _refresh_until_closed(self) -> None:
        while not self._ended.wait(FOLLOW_EVERY_S):
            try:
                self._refresh()
            except (ConsortError, OSError) as error:
                say(f"warning: {self.url} was not looked at: {error}")

    def _finished(self) -> tuple[dict[str, Entry], dict[str, Any]]:
        """Returns the objects, without those of uploads that have not ended, and what the markers say of them."""
        expected: dict[str, Any] = {}
        folder: Url | None = self.url
        while folder is not None:
            marker = read_marker(self._store if folder == self.url else open_store(folder, look=False))
            if marker and marker["state"] == "partial":
                if self._follow:
                    return {}, {}
                fix = "wait until the command that writes it has ended, or run that command again"
                raise InputError(str(folder), "an upload that has not ended", "a folder that is complete", fix)
            if marker:
                inner = self.url.key.removeprefix(folder.key).lstrip("/")
                expected = {n: v for n, v in marker["files"].items() if not inner or f"{n}/".startswith(f"{inner}/")}
                expected = {name.removeprefix(inner).lstrip("/"): one for name, one in expected.items()}
                break
            folder = folder.parent()
        return objects_with(self._store, expected)


def objects_with(store: Store, expected: Mapping[str, Any]) -> tuple[dict[str, Entry], dict[str, Any]]:
    """Returns the objects of a store, without those of uploads below it that have not ended, and their checksums.

    Args:
      store: the store.
      expected: size and sha256 by name, from a marker at or above the store; a marker below it, which was written
        later, speaks for its own folder.
    """
    objects, expected = store.list(), dict(expected)
    for name in sorted(name for name in objects if name.endswith(f"/{MARKER}")):
        folder, marker = name.removesuffix(MARKER), json.loads(store.read(name) or b"{}")
        expected = {one: value for one, value in expected.items() if not one.startswith(folder)}
        if marker.get("state") == "complete":
            expected |= {f"{folder}{one}": value for one, value in marker["files"].items()}
        else:
            objects = {one: entry for one, entry in objects.items() if not one.startswith(folder)}
    return {name: one for name, one in objects.items() if not is_private(name)}, expected


def read_marker(store: Store) -> dict[str, Any] | None:
    """Returns the content of a folder's marker; None if there is none."""
    content = store.read(MARKER)
    return None if content is None else dict(json.loads(content))


def is_private(name: str) -> bool:
    """Returns True for files of this machine alone: locks, and what is not finished; TFX's `.system` is not private."""
    return any(part.startswith(".") and part not in (".system", ".", "..") for part in name.split("/"))


def in_order(names: Iterable[str], do: Callable[[str], None]) -> None:
    """Calls a function for each name, several at a time; last for the files that show that a folder is complete.

    The first of these is `variables.index` and what is like it, which names data beside it.
    """
    ranks: dict[int, list[str]] = {}
    for name in sorted(names):
        rank = _LAST.get(name.rpartition("/")[2], -1 if name.endswith(".index") else -2)
        ranks.setdefault(rank, []).append(name)
    with ThreadPoolExecutor(_THREADS) as pool:
        for rank in sorted(ranks):
            list(pool.map(do, ranks[rank]))


def download(
    store: Store, url: Url, objects: Mapping[str, Entry], expected: Mapping[str, Any], local: Path, state: Path
) -> None:
    """Makes a local folder, or file, equal to what stands at a URL; what is there already is not copied again.

    Args:
      store: the store at `url`.
      url: of the store, for messages.
      objects: what is copied, by name; the name `` is a single file.
      expected: size and sha256 by name, from the marker; they may be of fewer names.
      local: the folder or file.
      state: folder of the record of what was copied; files that were copied before and are gone are removed.

    Raises:
      InputError: no room on the disk, or names that cannot be files side by side.
      StoreError: an object that is missing, or whose content is not what the marker says.
    """
    record = state / "files.json"
    before = json.loads(record.read_text()) if record.is_file() else {}
    if missing := sorted(name for name in expected if name not in objects):
        received = f"no {missing[0]}" + (f", and {len(missing) - 1} more that are missing" if missing[1:] else "")
        raise StoreError(str(url), received, f"the files that {MARKER} names", "run the command that writes it again")
    for name in objects:
        if name and any(part in ("", ".", "..") for part in name.split("/")):
            raise InputError(f"{url}/{name}", "a name that is no file's", "names between slashes", "rename the object")
    wanted = [name for name, one in objects.items() if not _is_copied(local / name, one, before.get(name))]
    _check_room(sum(objects[name].size for name in wanted), local, url)
    for name in before.keys() - objects.keys():
        (local / name).unlink(missing_ok=True)

    def get(name: str) -> None:
        path = local / name
        with replacing_file(path) as temporary:
            store.get(name, temporary)
            if name in expected and [temporary.stat().st_size, sha256_of(temporary)] != expected[name]:
                fix = "wait until the command that writes it has ended, or run that command again"
                raise StoreError(f"{url}/{name}", "another content", f"what {MARKER} says of it", fix)
            set_time(temporary, objects[name])
        after[name] = [objects[name].tag, *stat_of(path)]

    after = {name: before[name] for name in objects if name not in wanted}
    if wanted:
        say(f"copying {len(wanted)} files, {sum(objects[name].size for name in wanted) / 1e6:.1f} MB, of {url}")
    try:
        in_order(wanted, get)
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        fix = "rename one of them; on a disk a name is either a file or a folder"
        raise InputError(str(url), f"{error.filename}, both a file and a folder", "one of the two", fix) from error
    finally:
        write_text(record, json.dumps(after))


def set_time(path: Path, one: Entry) -> None:
    """Gives a copy the time of its object, by which TFX knows on every machine that its input is the same."""
    os.utime(path, (one.time_s, one.time_s))


def stat_of(path: Path) -> list[int]:
    """Returns size and time of change of a file."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _is_copied(path: Path, one: Entry, before: list[Any] | None) -> bool:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return before is not None and [one.tag, *stat_of(path)] == before
    return False


def _check_room(size: int, local: Path, url: Url) -> None:
    nearest = next(folder for folder in (local, *local.parents) if folder.is_dir())
    free = shutil.disk_usage(nearest).free
    if size > free:
        fix = f"free space, or name a folder on a larger disk by {CACHE_VARIABLE}"
        raise InputError(
            str(url), f"{size / 1e9:.1f} GB to copy", f"at most the {free / 1e9:.1f} GB free in {nearest}", fix
        )
