"""Which folders of a base path are versions of a model: one rule, for everything that reads or writes them."""

import functools
import logging
import os
import re
from pathlib import Path

LARGEST_VERSION = 2**63 - 1
"""TF Serving holds a version's number in 64 bits and ignores a larger one."""

_LOG = logging.getLogger(__name__)
_NUMBER = re.compile(r"0*([0-9]{1,19})", re.ASCII)


def version_number(name: str) -> int | None:
    """The version that a folder of this name is; None for a name that TF Serving ignores.

    Leading zeros count for nothing. Signs, spaces and digits of other scripts make no number here.
    """
    digits = _NUMBER.fullmatch(name)
    number = int(digits[1]) if digits else LARGEST_VERSION + 1
    return number if number <= LARGEST_VERSION else None


def scan(base: str | os.PathLike[str]) -> dict[int, Path]:
    """Folders of `base` by version, rising; links to folders count, files do not.

    Of two folders with one number the last by name is the version, as in TF Serving.

    Raises:
      OSError: `base` cannot be read.
    """
    folders: dict[int, Path] = {}
    for path in sorted(Path(base).iterdir()):
        number = version_number(path.name)
        if number is None or not path.is_dir():
            continue
        if number in folders:
            _warn_of_two(path, folders[number])
        folders[number] = path
    return dict(sorted(folders.items()))


@functools.lru_cache(maxsize=256)
def _warn_of_two(taken: Path, ignored: Path) -> None:
    # Once: a server looks every second.
    _LOG.warning("%s and %s are the same version; the second is ignored", taken, ignored)
