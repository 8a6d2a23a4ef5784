"""The versions of one model: found on disk, loaded beside each other, switched without a gap."""

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.protocol import ServingError
from serving.server.predict import Servable

_LOG = logging.getLogger(__name__)
_NUMBER = re.compile(r"[0-9]+", re.ASCII)
_LARGEST = 2**63 - 1

Policy = Literal["latest", "all"] | int | Sequence[int]
"""Which versions to serve: the highest, all, the N highest, or those listed."""


@dataclass
class Version:
    """What is known of one version.

    Args:
      number: its number.
      path: its directory.
      state: START, LOADING, AVAILABLE, UNLOADING or END.
      error: why loading failed; None without an error.
    """

    number: int
    path: Path
    state: str = "START"
    error: ServingError | None = None
    aspired: bool = True
    servable: Servable | None = None
    users: int = 0
    attempts: int = 0
    retry_at: float = 0.0


class ModelVersions:
    """Serves the aspired versions of a model and follows what happens in its base path.

    A new version is loaded while the old one answers; the old one goes when a new one is AVAILABLE. A version that
    fails to load ends with its error and stays ended until its directory goes and comes back.

    Args:
      name: the model's name.
      base: the directory that holds one directory per version, named by its number.
      load: loads (and warms up) a version's directory; raises ServingError.
      policy: which versions to serve.
      poll_s: seconds between two looks at `base`.
      load_retries: further attempts after a failed load; the version stays LOADING meanwhile.
      load_retry_s: seconds between two attempts.
    """

    def __init__(
        self,
        name: str,
        base: Path,
        load: Callable[[Path], Servable],
        policy: Policy = "latest",
        poll_s: float = 1.0,
        load_retries: int = 0,
        load_retry_s: float = 60.0,
    ):
        self.name, self.base, self._load, self._policy = name, base, load, policy
        self._poll_s, self._load_retries, self._load_retry_s = poll_s, load_retries, load_retry_s
        self._versions: dict[int, Version] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._polled = False
        self._thread = threading.Thread(target=self._follow, name=f"versions of {name}", daemon=True)

    def start(self) -> None:
        """Begins to look for versions."""
        self._thread.start()

    def stop(self) -> None:
        """Stops looking, waits for calls under way and unloads everything."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        for version in self._in_state("AVAILABLE"):
            self._unload(version)

    @contextlib.contextmanager
    def borrow(self, number: int | None) -> Iterator[tuple[int, Servable]]:
        """A version and its number, kept loaded for the length of the block.

        Args:
          number: which version; None means the highest that is AVAILABLE.

        Raises:
          ServingError: NOT_FOUND: it is not AVAILABLE.
        """
        with self._changed:
            numbers = [n for n, v in self._versions.items() if v.state == "AVAILABLE" and number in (None, n)]
            if not numbers:
                wanted = f"Latest({self.name})" if number is None else f"Specific({self.name}, {number})"
                raise ServingError("NOT_FOUND", f"Servable not found for request: {wanted}")
            version = self._versions[max(numbers)]
            version.users += 1
        try:
            yield version.number, version.servable  # type: ignore[misc]  # AVAILABLE: it is loaded
        finally:
            with self._changed:
                version.users -= 1
                self._changed.notify_all()

    def states(self) -> list[tuple[int, str, ServingError | None]]:
        """Number, state and load error of every version ever seen, highest first."""
        with self._changed:
            return [(n, v.state, v.error) for n, v in sorted(self._versions.items(), reverse=True)]

    def blocker(self) -> str | None:
        """Why the model is not ready, or None once every aspired version is AVAILABLE.

        Raises:
          ServingError: an aspired version has failed to load.
        """
        with self._changed:
            aspired = [version for version in self._versions.values() if version.aspired]
            if not self._polled:
                return f"{self.name}: has not looked into {self.base} yet"
            if not aspired:
                return f"{self.name}: there is no directory named by a version's number in {self.base}"
            for version in aspired:
                if version.state == "END" and version.error:
                    message = f"{self.name} version {version.number} failed to load: {version.error.details}"
                    raise ServingError(version.error.code, message)
                if version.state != "AVAILABLE":
                    return f"{self.name}: version {version.number} is {version.state}"
            return None

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                found = scan(self.base)
            except OSError as error:
                # As TensorFlow Serving: a base path out of reach changes nothing.
                _LOG.error("%s: cannot look for versions: %s", self.name, error)
                self._polled = True
            else:
                self._aspire(found)
                self._load_new()
                self._unload_old()
            self._stopping.wait(self._poll_s)

    def _aspire(self, found: dict[int, Path]) -> None:
        wanted = choose(found, self._policy)
        with self._changed:
            self._polled = True
            for number, version in self._versions.items():
                if version.aspired and number not in wanted:
                    version.aspired = False
                    if version.state in ("START", "LOADING"):
                        version.state = "END"
            for number in wanted:
                known = self._versions.get(number)
                if known is None or (not known.aspired and known.state == "END"):
                    self._versions[number] = Version(number, found[number])
                else:
                    known.aspired = True

    def _in_state(self, *states: str) -> list[Version]:
        with self._changed:
            found = [version for version in self._versions.values() if version.state in states]
        return sorted(found, key=lambda version: -version.number)

    def _load_new(self) -> None:
        for version in self._in_state("START", "LOADING"):
            if not self._stopping.is_set() and time.monotonic() >= version.retry_at:
                self._try_to_load(version)

    def _try_to_load(self, version: Version) -> None:
        self._set_state(version, "LOADING")
        version.attempts += 1
        start = time.monotonic()
        try:
            version.servable = self._load(version.path)
        except (ServingError, OSError, ValueError, MemoryError) as error:
            failure = error if isinstance(error, ServingError) else ServingError("INTERNAL", repr(error))
            _LOG.error("%s: version %d failed to load: %s", self.name, version.number, failure)
            version.retry_at = time.monotonic() + self._load_retry_s
            if version.attempts > self._load_retries:
                version.error = failure
                self._set_state(version, "END")
            return
        _LOG.info("%s: version %d is available after %.2f s", self.name, version.number, time.monotonic() - start)
        self._set_state(version, "AVAILABLE")

    def _unload_old(self) -> None:
        loaded = self._in_state("AVAILABLE")
        with self._changed:
            none_wanted = not any(version.aspired for version in self._versions.values())
        if none_wanted or any(version.aspired for version in loaded):
            for version in loaded:
                if not version.aspired:
                    self._unload(version)

    def _unload(self, version: Version) -> None:
        with self._changed:
            version.state = "UNLOADING"
            self._changed.wait_for(lambda: version.users == 0)
            servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
        self._set_state(version, "END")
        _LOG.info("%s: version %d is unloaded", self.name, version.number)

    def _set_state(self, version: Version, state: str) -> None:
        with self._changed:
            version.state = state
            self._changed.notify_all()


def scan(base: Path) -> dict[int, Path]:
    """The version directories in `base` by number; names that are no number are ignored.

    Raises:
      OSError: `base` cannot be read.
    """
    found: dict[int, Path] = {}
    for path in sorted(base.iterdir()):
        if not _NUMBER.fullmatch(path.name) or int(path.name) > _LARGEST or not path.is_dir():
            continue
        number = int(path.name)
        if number in found:
            _LOG.warning("%s and %s are the same version; serving the first", found[number].name, path.name)
            continue
        found[number] = path
    return found


def choose(found: dict[int, Path], policy: Policy) -> set[int]:
    """The versions that a policy serves.

    Raises:
      ValueError: no such policy.
    """
    newest_first = sorted(found, reverse=True)
    if policy == "all":
        return set(newest_first)
    if policy == "latest":
        return set(newest_first[:1])
    if isinstance(policy, int) and policy > 0:
        return set(newest_first[:policy])
    if isinstance(policy, Sequence) and not isinstance(policy, str):
        return set(newest_first) & set(policy)
    raise ValueError(f"versions: received {policy!r}; expected 'latest', 'all', a number above 0, or a list of numbers")
