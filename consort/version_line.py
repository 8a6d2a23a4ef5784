"""The lines of versions of TFX and TensorFlow, and which of them a system can have: the one place that knows.

`make` runs this file by each Python on PATH, with the standard library alone, until one prints a line and its lock:
`python -I consort/version_line.py [LINE]`.
"""

import platform
import sys
from typing import NamedTuple


class VersionLine(NamedTuple):
    """Versions that were released for each other, and what they need."""

    name: str
    """The version of TFX, and of the dependency group `line-NAME`."""
    tensorflow: str
    lock: str
    pythons: tuple[tuple[int, int], ...]
    glibc: tuple[int, int]
    """The oldest for which all wheels are built."""


# The best first.
LINES = (
    VersionLine("1.21", "2.21", "requirements-1.21.lock", ((3, 11), (3, 12), (3, 13)), (2, 39)),
    VersionLine("1.16", "2.16", "requirements.lock", ((3, 11),), (2, 28)),
)


def glibc_version() -> tuple[int, int] | None:
    """Returns the version of glibc that runs this Python; None where it is another library."""
    library, version = platform.libc_ver()
    numbers = version.split(".")
    return (int(numbers[0]), int(numbers[1])) if library == "glibc" and len(numbers) > 1 else None


def lines_for(python: tuple[int, int], glibc: tuple[int, int] | None) -> list[VersionLine]:
    """Returns the lines that run with a Python and a glibc, the best first."""
    return [line for line in LINES if python in line.pythons and glibc is not None and glibc >= line.glibc]


def reason(line: VersionLine, python: tuple[int, int], glibc: tuple[int, int]) -> str:
    """Returns why a system has this line: what it lacks for a newer one."""
    better = LINES[: LINES.index(line)]
    if not better:
        return "the newest"
    newest = better[0]
    if glibc < newest.glibc:
        return f"{newest.name} needs glibc {_dotted(newest.glibc)}"
    if python not in newest.pythons:
        return f"{newest.name} needs Python {_dotted(newest.pythons[0])} to {_dotted(newest.pythons[-1])}"
    return f"this system could have {newest.name}"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _main() -> int:
    wanted = sys.argv[1:]
    for line in lines_for(sys.version_info[:2], glibc_version()):
        if not wanted or line.name in wanted:
            sys.stdout.write(f"{line.name} {line.lock}\n")
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(_main())
