"""What object stores and HDFS have in common: URLs, objects, and the few things that are done with them.

Names are relative to the URL of a store, with `/` between folders. Every call ends within a minute or so when there is
no answer, and every failure is a `StoreError` that says what is wrong and how to mend it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from transforms.errors import InputError

_URL = re.compile(r"(gs|s3|hdfs)://([^/]+)(?:/+(.*))?", re.DOTALL)


class StoreError(InputError):
    """A store that cannot be used: it is not there, not to be reached, or does not allow what is asked."""


@dataclass(frozen=True)
class Entry:
    """An object of a store: its size in bytes, a tag that changes with its content, and its time in s since 1970."""

    size: int
    tag: str
    time_s: float


@dataclass(frozen=True)
class Url:
    """`scheme://bucket/key`; on HDFS the bucket is the name node. The key has no `/` at its ends."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    def parent(self) -> "Url | None":
        """Returns the folder that holds this one; None for a whole bucket."""
        return Url(self.scheme, self.bucket, self.key.rpartition("/")[0]) if self.key else None


def parse_url(text: str) -> Url | None:
    """Returns a URL of a store; None for anything else, which is a path.

    Raises:
      InputError: a URL of a store whose key has an empty part, `.` or `..`.
    """
    match = _URL.fullmatch(text)
    if match is None:
        return None
    key = (match[3] or "").rstrip("/")
    if key and any(part in ("", ".", "..") for part in key.split("/")):
        fix = "write each folder's name once, between single slashes"
        raise InputError(text, "a URL with an empty part, `.` or `..`", "names between slashes", fix)
    return Url(match[1], match[2], key)


class Store(Protocol):
    """The objects below a URL."""

    def look(self) -> None:
        """Makes a call that shows that it can be reached."""

    def list(self) -> dict[str, Entry]:
        """Returns all objects by name; the name `` is an object at the URL itself."""

    def get(self, name: str, path: Path) -> None:
        """Copies an object to a local file."""

    def put(self, path: Path, name: str) -> None:
        """Copies a local file to an object; what arrived is compared by size and checksum."""

    def read(self, name: str) -> bytes | None:
        """Returns the content of a small object; None if there is none."""

    def write(self, name: str, content: bytes) -> None:
        """Writes a small object."""

    def create(self, name: str, content: bytes) -> bool:
        """Writes a small object if there is none; returns True if it did."""

    def delete(self, name: str) -> None:
        """Removes an object, if it is there."""


def local_name(url: Url) -> str:
    """Returns a relative local path for a URL, in which no character has a meaning to a file pattern."""
    return quote(f"{url.scheme}/{url.bucket}/{url.key}".rstrip("/"), safe="/._-=+@,")


def below(key: str, objects: Mapping[str, Entry]) -> dict[str, Entry]:
    """Names objects relative to `key`, without placeholders of folders and objects that only begin with its name."""
    prefix, entries = f"{key}/" if key else "", {}
    for name, entry in objects.items():
        if name == key:
            entries[""] = entry
        elif name.startswith(prefix) and not name.endswith("/"):
            entries[name.removeprefix(prefix)] = entry
    return entries


def check_size(where: str, size: int, path: Path) -> None:
    """Compares the size of an object with that of the file that it was made of."""
    if size != path.stat().st_size:
        fix = "run the command again"
        raise StoreError(where, f"{size} bytes after writing", f"the {path.stat().st_size} bytes that were sent", fix)


def refusal(url: Url, received: str, fix: str, name: str = "") -> StoreError:
    """Returns the error of a store, or of one of its objects."""
    expected = "a bucket that can be reached and used" if url.scheme != "hdfs" else "a name node that can be reached"
    return StoreError(f"{url}/{name}" if name else str(url), received, expected, fix)
