"""The versions of one model: found on disk, loaded beside each other, switched without a gap."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.protocol import ServingError
from serving.server.saved_model_files import State, age_s, folder_state
from serving.server.servable import Servable
from serving.versions import scan

_LOG = logging.getLogger(__name__)
_LONGEST_SETTLING_S = 1.0
_PATIENCE = 5
"""A version that cannot be loaded ends once its folder has not changed for so many times the time of settling."""
_REMEMBERED = 8
"""Versions that were unloaded and are still listed."""

Policy = Literal["latest", "all"] | int | Sequence[int]
"""Which versions to serve: the highest, all, the N highest, or those listed."""


@dataclass
class Version:
    """What is known of one version.

    Args:
      number: its number.
      path: its directory.
      state: START, LOADING, AVAILABLE, UNLOADING or END.
      error: why loading failed, or what loading waits for; None without an error.
      folder: what was in the directory when loading began; None before.
      seen: what was in it at the last look, and since when, by the monotonic clock.
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
    folder: State | None = None
    seen: tuple[State, float] = ((), 0.0)

    def still_s(self) -> float:
        """For how many seconds the directory has not changed, as far as is known."""
        state, since = self.seen
        return max(age_s(state, time.time()), time.monotonic() - since)

    def look(self) -> None:
        """Looks into the directory."""
        state = folder_state(self.path)
        if not self.seen[1] or state != self.seen[0]:
            self.seen = state, time.monotonic()


class ModelVersions:
    """Serves the aspired versions of a model and follows what happens in its base path.

    A new version is loaded while the old one answers; the old one goes when a new one is AVAILABLE. A version is loaded
    when its directory is complete and has stopped changing; one that fails to load ends with its error, and is loaded
    again when its directory changes. A version that is not complete is in START, and the policy chooses without it.

    Args:
      name: the model's name.
      base: the directory that holds one directory per version, named by its number.
      load: loads (and warms up) a version's directory; raises ServingError.
      policy: which versions to serve.
      poll_s: seconds between two looks at `base`.
      load_retries: further attempts after a failed load; the version stays LOADING meanwhile.
      load_retry_s: seconds between two attempts.
      missing: names what a version's directory lacks, or None; the default never misses anything.
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
        missing: Callable[[Path], str | None] = lambda _: None,
    ):
        self.name, self.base, self._load, self._policy, self._missing = name, base, load, policy, missing
        self._poll_s, self._load_retries, self._load_retry_s = poll_s, load_retries, load_retry_s
        self._settling_s = min(poll_s, _LONGEST_SETTLING_S)
        self._versions: dict[int, Version] = {}
        self._incomplete: dict[int, ServingError] = {}
        self._changed = threading.Condition()
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._polled = self._retired = False
        self._thread = threading.Thread(target=self._follow, name=f"versions of {name}", daemon=True)

    def start(self) -> None:
        """Begins to look for versions."""
        self._thread.start()

    def configure(self, base: Path, policy: Policy) -> None:
        """Follows this base path by this policy from now on; a version that is loaded already stays as it is."""
        with self._changed:
            self.base, self._policy = base, policy
        self._wake.set()

    def retire(self) -> None:
        """Unloads all versions when their calls have ended, and looks for no more; returns at once."""
        self._retired = True
        self._wake.set()

    def begin_to_stop(self) -> None:
        """Looks for no more versions; returns at once."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        self._wake.set()

    def stop(self, timeout_s: float = 60.0) -> bool:
        """Ends the calls under way and unloads everything.

        Args:
          timeout_s: what is not done then is left as it is.

        Returns:
          Whether all is unloaded; a load cannot be interrupted, nor can an operation.
        """
        deadline = time.monotonic() + timeout_s
        self.begin_to_stop()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        ended = [self._end(version, deadline) for version in self._in_state("AVAILABLE", "UNLOADING")]
        return all(ended) and (not self._thread.is_alive())

    def _end(self, version: Version, deadline: float) -> bool:
        with self._changed:
            version.state = "UNLOADING"
            if version.users and version.servable is not None:
                version.servable.interrupt()
            free = self._changed.wait_for(lambda: not version.users, max(0.0, deadline - time.monotonic()))
        if free:
            self._close(version)
        else:
            _LOG.error("%s: version %d is still in use", self.name, version.number)
        return free

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
                servable = f"Latest({self.name})" if number is None else f"Specific({self.name}, {number})"
                raise ServingError("NOT_FOUND", f"Servable not found for request: {servable}")
            version = self._versions[max(numbers)]
            version.users += 1
        try:
            yield version.number, version.servable  # type: ignore[misc]  # AVAILABLE: it is loaded
        finally:
            with self._changed:
                version.users -= 1
                self._changed.notify_all()

    def states(self) -> list[tuple[int, str, ServingError | None]]:
        """Number, state and error of the aspired versions and of the last unloaded, highest first."""
        with self._changed:
            known = {number: (version.state, version.error) for number, version in self._versions.items()}
            waiting = {number: ("START", error) for number, error in self._incomplete.items()}
        return [(number, *state) for number, state in sorted((known | waiting).items(), reverse=True)]

    def is_available(self, number: int) -> bool:
        """Returns True if a version is serving."""
        with self._changed:
            return number in self._versions and self._versions[number].state == "AVAILABLE"

    def blocker(self, retrying: bool = True) -> str | None:
        """Why the model is not ready, or None once every aspired version is AVAILABLE.

        Args:
          retrying: a version that failed and is going to be tried again is only waited for; False takes it for failed
            where its directory has stopped changing.

        Raises:
          ServingError: an aspired version has failed to load.
        """
        with self._changed:
            aspired = [version for version in self._versions.values() if version.aspired]
            if not self._polled:
                return f"{self.name}: has not looked into {self.base} yet"
            if not aspired and self._incomplete:
                return "; ".join(f"{self.name} version {n}: {e.details}" for n, e in self._incomplete.items())
            if not aspired:
                return f"{self.name}: there is no directory named by a version's number in {self.base}"
            for version in aspired:
                if version.error and (version.state == "END" or (not retrying and self._is_still(version))):
                    message = f"{self.name} version {version.number} failed to load: {version.error.details}"
                    raise ServingError(version.error.code, message)
                if version.state != "AVAILABLE":
                    why = f", after {version.error.details}" if version.error else ""
                    return f"{self.name}: version {version.number} is {version.state}{why}"
            return None

    def _follow(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                folders = {} if self._retired else scan(self.base)
            except OSError as error:
                # As TensorFlow Serving: a base path out of reach changes nothing.
                _LOG.error("%s: cannot look for versions: %s", self.name, error)
                self._polled = True
            else:
                self._aspire(folders)
                self._load_new()
                self._unload_old()
                self._forget()
            if self._retired and not self._in_state("START", "LOADING", "AVAILABLE", "UNLOADING"):
                return
            self._wake.wait(self._settling_s if self._in_state("START", "LOADING") else self._poll_s)

    def _aspire(self, folders: dict[int, Path]) -> None:
        self._begin_anew(folders)
        folders, incomplete = dict(folders), {}
        while lacking := {n: part for n in choose(folders, self._policy) if (part := self._lacks(n, folders[n]))}:
            for number, part in lacking.items():
                message = f"still being copied: there is no {part} in {folders.pop(number)}"
                incomplete[number] = ServingError("UNAVAILABLE", message)
        chosen = choose(folders, self._policy)
        with self._changed:
            self._polled = True
            self._incomplete = incomplete
            for number, version in self._versions.items():
                if version.aspired and number not in chosen:
                    version.aspired = False
                    if version.state in ("START", "LOADING"):
                        version.state = "END"
            for number in chosen:
                known = self._versions.get(number)
                if known is None or (not known.aspired and known.state == "END"):
                    self._versions[number] = Version(number, folders[number])
                else:
                    known.aspired = True

    def _begin_anew(self, folders: dict[int, Path]) -> None:
        """Forgets the versions whose loading has failed and whose directories have changed since."""
        for version in self._in_state("START", "LOADING", "END"):
            path = folders.get(version.number)
            if version.aspired and version.folder is not None and path and folder_state(path) != version.folder:
                with self._changed:
                    del self._versions[version.number]

    def _lacks(self, number: int, path: Path) -> str | None:
        known = self._versions.get(number)
        # What is loaded stays loaded, whatever becomes of its files.
        return None if known and (known.aspired or known.servable) else self._missing(path)

    def _in_state(self, *states: str) -> list[Version]:
        with self._changed:
            versions = [version for version in self._versions.values() if version.state in states]
        return sorted(versions, key=lambda version: -version.number)

    def _load_new(self) -> None:
        for version in self._in_state("START", "LOADING"):
            if self._stopping.is_set():
                return
            version.look()
            if version.seen[0] == version.folder and version.state == "START":
                self._give_up_when_still(version)
            elif version.still_s() >= self._settling_s and time.monotonic() >= version.retry_at:
                version.folder = version.seen[0]
                self._try_to_load(version)

    def _is_still(self, version: Version) -> bool:
        return version.still_s() >= _PATIENCE * self._settling_s

    def _give_up_when_still(self, version: Version) -> None:
        if self._is_still(version):
            self._set_state(version, "END")

    def _try_to_load(self, version: Version) -> None:
        self._set_state(version, "LOADING")
        version.attempts += 1
        start = time.monotonic()
        try:
            version.servable = self._load(version.path)
            if folder_state(version.path) != version.folder:
                version.servable.close()
                version.servable, version.folder = None, None
                raise ServingError("UNAVAILABLE", "still being copied: its files changed while it was loaded")
        except (ServingError, OSError, ValueError, MemoryError) as error:
            self._note_failure(version, error if isinstance(error, ServingError) else _unforeseen(error))
            return
        version.error = None
        _LOG.info("%s: version %d is available after %.2f s", self.name, version.number, time.monotonic() - start)
        self._set_state(version, "AVAILABLE")

    def _note_failure(self, version: Version, error: ServingError) -> None:
        _LOG.error("%s: version %d failed to load: %s", self.name, version.number, error)
        version.error, version.retry_at = error, time.monotonic() + self._load_retry_s
        if version.attempts > self._load_retries or version.folder is None:
            version.retry_at = 0.0
            self._set_state(version, "START")
            if version.folder is not None:
                self._give_up_when_still(version)

    def _unload_old(self) -> None:
        loaded = self._in_state("AVAILABLE")
        with self._changed:
            none_aspired = not any(version.aspired for version in self._versions.values())
        if none_aspired or any(version.aspired for version in loaded):
            for version in loaded:
                if not version.aspired:
                    self._unload(version)

    def _unload(self, version: Version) -> None:
        with self._changed:
            version.state = "UNLOADING"
            self._changed.wait_for(lambda: not version.users or self._stopping.is_set())
            if version.users:
                return
        self._close(version)

    def _close(self, version: Version) -> None:
        servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
        self._set_state(version, "END")
        _LOG.info("%s: version %d is unloaded", self.name, version.number)

    def _forget(self) -> None:
        # A model that is pushed every hour would list thousands.
        with self._changed:
            ended = sorted(n for n, version in self._versions.items() if version.state == "END" and not version.aspired)
            for number in ended[:-_REMEMBERED]:
                del self._versions[number]

    def _set_state(self, version: Version, state: str) -> None:
        with self._changed:
            version.state = state
            self._changed.notify_all()


def _unforeseen(error: Exception) -> ServingError:
    return ServingError("INTERNAL", repr(error))


def choose(folders: dict[int, Path], policy: Policy) -> set[int]:
    """The versions that a policy serves.

    Raises:
      ValueError: no such policy.
    """
    newest_first = sorted(folders, reverse=True)
    if policy == "all":
        return set(newest_first)
    if policy == "latest":
        return set(newest_first[:1])
    if isinstance(policy, int) and policy > 0:
        return set(newest_first[:policy])
    if isinstance(policy, Sequence) and not isinstance(policy, str):
        return set(newest_first) & set(policy)
    raise ValueError(f"versions: received {policy!r}; expected 'latest', 'all', a number above 0, or a list of numbers")
