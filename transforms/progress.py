"""Progress of long steps on stderr: a line that changes on a terminal, a new line every ten seconds elsewhere."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

EVERY_S = 10.0
"""Seconds between two lines where stderr is not a terminal."""
_REDRAWN_EVERY_S = 0.5
_CLEAR = "\r\x1b[K"

Update: TypeAlias = Callable[[int, int | None], None]
"""Takes what is done, and all there is to do; None: not known."""

_LOCK = threading.RLock()
_SHOWN: "list[Status]" = []
_REPLACED: dict[str, str] = {}
_enabled = False


@contextlib.contextmanager
def enabled() -> Iterator[None]:
    """Makes `progress` and `clock` write, as the command line does; otherwise they are silent."""
    global _enabled
    before, _enabled = _enabled, True
    try:
        yield
    finally:
        _enabled = before


def replace_in_messages(path: str, name: str) -> None:
    """Makes messages and results name a folder as the user did: `s3://bucket/log`, and not where its copy lies."""
    _REPLACED[path] = name


def as_named(text: str) -> str:
    """Returns a text with the folders of `replace_in_messages` as the user named them."""
    for path in sorted(_REPLACED, key=len, reverse=True):
        text = text.replace(path, _REPLACED[path])
    return text


def say(text: str) -> None:
    """Writes a line that stays."""
    with _LOCK:
        clear = _CLEAR if _SHOWN and sys.stderr.isatty() else ""
        sys.stderr.write(f"{clear}{as_named(text)}\n")
        sys.stderr.flush()


class Status:
    """Shows a text that changes, while its `with` block runs; of several only the innermost one.

    Args:
      text: returns the text; called now and then, from another thread.
    """

    def __init__(self, text: Callable[[], str]):
        self._text, self._ended = text, threading.Event()

    def __enter__(self) -> "Status":
        with _LOCK:
            _SHOWN.append(self)
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        with _LOCK:
            _SHOWN.remove(self)
            if sys.stderr.isatty():
                sys.stderr.write(_CLEAR)
                sys.stderr.flush()

    def _show(self) -> None:
        while not self._ended.wait(_REDRAWN_EVERY_S if sys.stderr.isatty() else EVERY_S):
            with _LOCK:
                if _SHOWN[-1] is self:
                    start, end = (_CLEAR, "") if sys.stderr.isatty() else ("", "\n")
                    sys.stderr.write(f"{start}{self._text()}{end}")
                    sys.stderr.flush()


@contextlib.contextmanager
def progress(
    title: str, unit: str = "rows", poll: Callable[[], tuple[str, int, int | None]] | None = None
) -> Iterator[Update]:
    """Yields a function that takes what is done; shows it with the speed and the time left, and at the end the sum.

    Args:
      title: what is under way.
      unit: of what is counted.
      poll: returns the title of the phase under way, what is done in it and all there is to do; called now and then,
        where nobody calls the function.
    """
    counts: list[tuple[str, int, int | None]] = [(title, 0, None)]
    started = time.monotonic()
    first: dict[str, tuple[int, float]] = {}

    def text() -> str:
        phase, done, total = poll() if poll else counts[0]
        now = time.monotonic()
        if not done:
            return f"{phase}: {as_clock(now - started)}"
        # The time before the first ones, in which much is loaded, says nothing of the speed.
        before, since = first.setdefault(phase, (done, now))
        return progress_text(phase, unit, done, total, (done - before) / max(now - since, 1e-3))

    def update(done: int, total: int | None) -> None:
        counts[0] = title, done, total

    if not _enabled:
        yield update
        return
    with Status(text):
        yield update
        done = (poll() if poll else counts[0])[1]
    if done:
        seconds = time.monotonic() - started
        say(f"{title}: {done:,} {unit} in {as_clock(seconds)}")


@contextlib.contextmanager
def clock(title: str) -> Iterator[None]:
    """Shows how long a step is under way that nothing is known of but its begin.

    Args:
      title: what is under way.
    """
    started = time.monotonic()
    with Status(lambda: f"{title}: {as_clock(time.monotonic() - started)}") if _enabled else contextlib.nullcontext():
        yield


def progress_text(phase: str, unit: str, done: int, total: int | None, rate: float) -> str:
    """Returns a line such as `importing: 1,000 of 4,000 rows, 500 rows/s, 0:06 left`.

    Args:
      phase: what is under way.
      unit: of what is counted.
      done: what is done.
      total: all there is to do; None: not known.
      rate: units a second; 0: not known.
    """
    of = "" if total is None else f" of {total:,}"
    speed = f", {f'{rate:,.0f}' if rate >= 10 else f'{rate:.2g}'} {unit}/s" if rate else ""
    left = f", {as_clock(max(0, total - done) / rate)} left" if rate and total is not None else ""
    return f"{phase}: {done:,}{of} {unit}{speed}{left}"


def as_clock(seconds: float) -> str:
    """Returns a time as `minutes:seconds`, or `hours:minutes:seconds`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
