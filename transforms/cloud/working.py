"""Working copies on this machine of folders in object stores that a command writes.

A working copy is uploaded every half minute, so that a machine that is lost costs little, and at its end. What marks a
folder as complete is uploaded after the rest, and the marker, which names all files with their checksums, last of all:
a reader sees what was there before, or everything.
"""

import hashlib
import json
import os
import shutil
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from transforms.cloud.clients import open_store
from transforms.cloud.copies import (
    CACHE_VARIABLE,
    MARKER,
    cache_folder,
    download,
    in_order,
    is_private,
    objects_with,
    set_time,
    stat_of,
    state_folder,
)
from transforms.cloud.store import Store, StoreError, Url, local_name
from transforms.errors import ConsortError, InputError
from transforms.files import sha256_of, write_text
from transforms.locks import this_process
from transforms.progress import replace_in_messages, say

LOCK = ".consort.lock"
"""In a folder of a store while a command writes it; who holds it renews it every 20 seconds."""
UPLOAD_EVERY_S = 30.0
"""Seconds between two uploads of a working copy."""
_BEAT_S, _STALE_S = 20.0, 120.0
# Written to all the time: they are uploaded at the end.
_VOLATILE = ("events.out.tfevents", "metadata.sqlite")
_METADATA = "metadata.sqlite"


class WorkingCopy:
    """A working copy of a folder; as a context manager its path, and on exit, however it comes, it is uploaded.

    Args:
      url: the folder, there or not.
      keep: leave the copy here at the end, because its files name their own path (the root of a pipeline).
    """

    def __init__(self, url: Url, keep: bool = False):
        self.url, self.local, self._keep = url, cache_folder() / "work" / local_name(url), keep
        self._state = state_folder("work", url)
        self._sent: dict[str, list[Any]] = {}
        self._marker = ""
        # Until a first upload ends: its objects, which the marker names so that they can be removed if it is cut short.
        self._first: set[str] | None = set()
        self._there: set[str] = set()
        self._holder, self._held = uuid.uuid4().hex, False
        self._nested: list[str] = []
        self._ended, self._released, self._uploading = threading.Event(), threading.Event(), threading.Lock()
        replace_in_messages(str(self.local), str(url))

    def check(self) -> None:
        """Takes the lock of the folder, which shows that it can be written.

        Raises:
          InputError: the store cannot be used, or another command writes this folder.
        """
        self._store: Store = open_store(self.url)
        content = self._lock_content()
        if self._store.create(LOCK, content):
            self._hold()
            return
        holder = json.loads(self._store.read(LOCK) or b"{}")
        if not _is_gone(holder):
            who = "process {pid} on {host} since {since}: {command}".format_map({**_NOBODY, **holder})
            fix = f"wait until that command ends; one that was killed holds it for another {_STALE_S:.0f} s"
            raise InputError(
                str(self.url), f"a folder that is in use by {who}", "one that no other command writes", fix
            )
        self._store.write(LOCK, content)
        time.sleep(1.0)
        if self._store.read(LOCK) != content:
            raise InputError(
                str(self.url), "a folder that another command began to write", "one that is free", "try again"
            )
        self._hold()

    def release(self) -> None:
        """Gives the lock back, if it is held."""
        self._released.set()
        if self._held:
            self._held = False
            self._store.delete(LOCK)

    def _hold(self) -> None:
        self._held = True
        threading.Thread(target=self._renew_until_released, daemon=True).start()

    def _renew_until_released(self) -> None:
        while not self._released.wait(_BEAT_S):
            try:
                holder = json.loads(self._store.read(LOCK) or b"{}").get("holder", self._holder)
                self._held = holder == self._holder
                if not self._held:
                    return
                self._store.write(LOCK, self._lock_content())
            except (ConsortError, OSError) as error:
                say(f"warning: the lock of {self.url} was not renewed: {error}")

    def __enter__(self) -> Path:
        self._begin()
        threading.Thread(target=self._upload_until_closed, daemon=True).start()
        return self.local

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        try:
            with self._uploading:
                self.upload(final=True)
        except (StoreError, OSError) as error:
            where = f"what was written is kept in {cache_folder()}, and the same command uploads it"
            raise ConsortError(f"the upload to {self.url} failed: {error}\n{where}") from error
        self.release()
        if not self._keep:
            self._become_read_copy()

    def _begin(self) -> None:
        """Brings the working copy up to date, or finishes an upload that was cut short."""
        marker = self._store.read(MARKER)
        content = json.loads(marker or b"{}")
        record = self._state / "sent.json"
        known = json.loads(record.read_text()) if record.is_file() else {}
        if self.local.is_dir() and known.get("marker", "-") == _digest(marker):
            self._sent, self._marker = known["files"], known["marker"]
            self._first = None if content.get("state") == "complete" else {*content.get("files", ())}
            self._there = self._sent.keys() - (self._first or set())
            self.upload(final=True)
            return
        self._put_aside(known)
        shutil.rmtree(self._state, ignore_errors=True)
        self._state.mkdir(parents=True)
        if content.get("state") == "partial":
            say(f"warning: removing what an upload that was cut short left in {self.url}")
            in_order([*content["files"]], self._store.delete)
            self._store.delete(MARKER)
            content, marker = {}, None
        self._nested = [name for name in self._store.list() if name.endswith(f"/{MARKER}")]
        objects, expected = objects_with(self._store, content.get("files", {}))
        if "" in objects:
            raise InputError(str(self.url), "a file", "a folder, there or not", "give another URL")
        here = str(self.local)
        if _METADATA in objects and content.get("folder", here) != here:
            base = content["folder"].partition("/work/")[0]
            fix = f"set {CACHE_VARIABLE}={base}; a pipeline's metadata names the paths of its artifacts"
            raise InputError(str(self.url), f"a root that was written from {content['folder']}", here, fix)
        download(self._store, self.url, objects, expected, self.local, self._state)
        self._sent = {
            name: [*stat_of(self.local / name), expected[name][1] if name in expected else sha256_of(self.local / name)]
            for name in objects
        }
        self._marker = _digest(marker)
        self._first = None if marker else set()
        self._there = {*objects}
        self._save()

    def _put_aside(self, known: dict[str, Any]) -> None:
        """Removes a working copy of an earlier state; what was never uploaded is moved beside all copies."""
        sent = known.get("files", {})
        if any(sent.get(name, [])[:2] != stat for name, stat in self._files().items()):
            aside = cache_folder() / "aside" / f"{time.time_ns()}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            os.rename(self.local, aside)
            say(f"warning: {self.url} was written from elsewhere; what was not uploaded from here is now in {aside}")
        shutil.rmtree(self.local, ignore_errors=True)

    def _upload_until_closed(self) -> None:
        while not self._ended.wait(UPLOAD_EVERY_S):
            try:
                with self._uploading:
                    if not self._ended.is_set():
                        self.upload(final=False)
            except (ConsortError, OSError) as error:
                say(f"warning: {self.url} was not written, and will be tried again: {error}")

    def upload(self, final: bool) -> None:
        """Makes the folder in the store equal to the working copy.

        Args:
          final: nothing is written to the copy any more. Before, files that change all the time are left out, and the
            marker is written only if no file changed while it was sent.
        """
        if not self._held:
            fix = "end one of the two commands, and run the other again"
            raise StoreError(str(self.url), "a folder that another command took over", "the lock to be held", fix)
        files = {name: stat for name, stat in self._files().items() if final or not _is_volatile(name)}
        changed = [name for name, stat in files.items() if self._sent.get(name, [])[:2] != stat]
        gone = [name for name in self._sent if name not in files and (final or not _is_volatile(name))]
        if not changed and not gone:
            return
        if self._first is not None and (not self._marker or {*changed} - self._there - self._first):
            # What others put there before stays if this upload is cut short.
            self._first |= {*changed} - self._there
            self._write_marker("partial", dict.fromkeys(self._first, None))
        say(f"uploading {len(changed)} files, {sum(files[name][0] for name in changed) / 1e6:.1f} MB, to {self.url}")
        torn: list[str] = []

        def put(name: str) -> None:
            path = self.local / name
            try:
                sha256 = sha256_of(path)
                self._store.put(path, name)
                is_torn = stat_of(path) != files[name]
            except FileNotFoundError:
                is_torn = True
            if is_torn:
                torn.append(name)
                self._sent.pop(name, None)
            else:
                self._sent[name] = [*files[name], sha256]

        in_order(changed, put)
        if torn:
            if final:
                raise StoreError(
                    f"{self.url}/{torn[0]}", "a file that changed", "files at rest", "run the command again"
                )
            return
        for name in gone:
            del self._sent[name]
        self._write_marker("complete", {name: [size, sha256] for name, (size, _, sha256) in self._sent.items()})
        self._first = None
        # This marker speaks for all folders, also those that other commands wrote.
        in_order([*gone, *self._nested], self._store.delete)
        self._nested = []

    def _files(self) -> dict[str, list[int]]:
        files = {}
        for folder, _, names in os.walk(self.local):
            for name in names:
                path = Path(folder, name)
                relative = path.relative_to(self.local).as_posix()
                if is_private(relative):
                    continue
                try:
                    files[relative] = stat_of(path)
                except FileNotFoundError:
                    continue
        return files

    def _write_marker(self, state: str, files: dict[str, Any]) -> None:
        content = json.dumps({"state": state, "folder": str(self.local), "files": files}, sort_keys=True).encode()
        self._store.write(MARKER, content)
        self._marker = _digest(content)
        self._save()

    def _save(self) -> None:
        write_text(self._state / "sent.json", json.dumps({"marker": self._marker, "files": self._sent}))

    def _lock_content(self) -> bytes:
        return json.dumps({**this_process(), "holder": self._holder, "beat": time.time()}).encode()

    def _become_read_copy(self) -> None:
        """Leaves what was written for the commands that read it next, unless there is an older copy."""
        target = cache_folder() / "read" / local_name(self.url)
        shutil.rmtree(self._state, ignore_errors=True)
        if target.exists() or not self.local.is_dir():
            shutil.rmtree(self.local, ignore_errors=True)
            return
        objects = self._store.list()
        record = {}
        for name in self._sent.keys() & objects.keys():
            set_time(self.local / name, objects[name])
            record[name] = [objects[name].tag, *stat_of(self.local / name)]
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(self.local, target)
        write_text(state_folder("read", self.url) / "files.json", json.dumps(record))


_NOBODY = dict.fromkeys(("pid", "host", "since", "command"), "unknown")


def _is_gone(holder: dict[str, Any]) -> bool:
    """Returns True if the holder of a lock has ended: it has not renewed it, or was a process of this machine."""
    if time.time() - float(holder.get("beat", 0.0)) > _STALE_S:
        return True
    here = holder.get("host") == socket.gethostname()
    return here and (holder.get("pid") == os.getpid() or not Path(f"/proc/{holder.get('pid')}").exists())


def _is_volatile(name: str) -> bool:
    return name.rpartition("/")[2].startswith(_VOLATILE)


def _digest(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()
