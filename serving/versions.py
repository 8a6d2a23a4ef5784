"""Version directories of a model: which folders are versions, the next number, publishing by rename, pruning."""

import functools
import logging
import os
import re
import shutil
import time
from pathlib import Path

from serving.contract import CONTRACT, read_contract
from transforms.errors import InputError
from transforms.files import check_local, new_directory, remove_leftovers
from transforms.graph_operations import check_saved_model
from transforms.places import kind_of

LARGEST_VERSION = 2**63 - 1
"""TF Serving holds a version's number in 64 bits and ignores a larger one."""

_LOG = logging.getLogger(__name__)
_NUMBER = re.compile(r"0*([0-9]{1,19})", re.ASCII)


def version_number(name: str) -> int | None:
    """Returns the version number in a folder's name; None for a name that TF Serving ignores.

    Leading zeros are ignored. Signs, spaces and digits of other scripts make a name without a number.
    """
    digits = _NUMBER.fullmatch(name)
    number = int(digits[1]) if digits else LARGEST_VERSION + 1
    return number if number <= LARGEST_VERSION else None


def scan(base: str | os.PathLike[str]) -> dict[int, Path]:
    """Returns the folders of `base` by version, rising; links to folders count, files do not.

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
    # Only once: a server scans every second.
    _LOG.warning("%s and %s are the same version; the second is ignored", taken, ignored)


SAVED_MODEL = "saved_model.pb"


def versions_in(base: str | os.PathLike[str]) -> list[tuple[int, Path]]:
    """Returns version numbers and directories under `base`, rising; none if there is no such folder."""
    return list(scan(base).items()) if Path(base).is_dir() else []


def publish(
    saved_model: str | os.PathLike[str],
    base: str | os.PathLike[str],
    keep: int | None = None,
    version: int | None = None,
) -> Path:
    """Copies a SavedModel to `base/<version>`: written beside under a name that no server looks at, then renamed.

    Args:
      saved_model: what to publish.
      base: a model's base path.
      keep: number of versions to keep, the highest ones; None keeps all.
      version: its number; None: `next_version`.

    Returns:
      The new version's directory.

    Raises:
      FileExistsError: there is a version of that number.
      InputError: the graph holds an operation that touches files, the network, Python or compiled code.
      ValueError: a number that no server takes for a version.
    """
    check_saved_model(saved_model)
    version = next_version(base) if version is None else version
    if not 0 <= version <= LARGEST_VERSION:
        raise ValueError(f"version: received {version}; expected a number from 0 to {LARGEST_VERSION}")
    target = Path(base) / str(version)
    if (same := dict(versions_in(base)).get(version, target)) != target:
        raise FileExistsError(f"{same} is version {version} already")
    # Each version has another name, so nothing else would remove what a killed publication left.
    remove_leftovers(base)
    for doomed in Path(base).glob(".*.removed"):
        _remove(doomed)
    with new_directory(target) as temporary:
        shutil.copytree(saved_model, temporary, dirs_exist_ok=True)
    for _, old in versions_in(base)[: -keep if keep else 0]:
        # Renamed first, so that a polling server never sees half a version.
        doomed = old.with_name(f".{old.name}.removed")
        os.rename(old, doomed)
        _remove(doomed)
    return target


def _remove(version: Path) -> None:
    # Of a link only the link: what it points to was put there by somebody else.
    if version.is_symlink():
        version.unlink(missing_ok=True)
    else:
        shutil.rmtree(version, ignore_errors=True)


def next_version(base: str | os.PathLike[str]) -> int:
    """Returns the time in seconds, or one more than the highest version under `base`.

    Raises:
      InputError: the highest is the largest that servers know.
    """
    existing = versions_in(base)
    highest = existing[-1][0] if existing else -1
    if highest == LARGEST_VERSION:
        fix = "rename that folder, or publish into another one"
        raise InputError(str(existing[-1][1]), "the largest version number there is", "room for a higher one", fix)
    return max(int(time.time()), highest + 1)


def model_name(saved_model: str | os.PathLike[str]) -> str:
    """Returns the serving name in an exported model's contract."""
    return str(read_contract(saved_model)["model"])


def newest_with_contract(base: str | os.PathLike[str]) -> Path:
    """Returns the newest version that has a contract; a newer one may still be copied. Without any the newest.

    Args:
      base: a base path with a version in it.
    """
    folders = [folder for _, folder in reversed(versions_in(base))]
    return next((folder for folder in folders if (folder / CONTRACT).is_file()), folders[0])


def model_bases(directory: str | os.PathLike[str], expected: str = "versions of exported models") -> dict[str, Path]:
    """Returns base paths by model name: `directory` itself, or those in it, or those in its `serving` folder.

    Args:
      directory: where to look.
      expected: what should be there, for the message.

    Raises:
      InputError: there are none.
    """
    check_local(directory, "model")
    root = Path(directory)
    if versions_in(root):
        return {model_name(newest_with_contract(root)): root}
    for folder in (root, root / "serving"):
        if folder.is_dir():
            bases = {path.name: path for path in sorted(folder.iterdir()) if versions_in(path)}
            if bases:
                return bases
    kind = kind_of(root)
    fix = _FIXES.get(kind, "make versions with `consort export` or `consort pipeline run`").format(root)
    raise InputError(str(directory), kind, expected, fix)


_FIXES = {
    "no such file or folder": "correct the path",
    "a file": "name a folder",
    "a dataset": "name a model, and the dataset with --data",
    "a finished run": "export it first: consort export {} --out SERVING",
    "an exported model": "publish it as a version: consort export {} --out SERVING",
    "a run that has not ended": "start the command of the run again; it continues, and exports the model",
    "the root of a pipeline": "it has pushed nothing; its folder `reports` has the reasons",
    "a search of `consort tune`": "train its best.yaml: consort train {}/best.yaml",
}
"""What to do about a folder without versions, by what it is."""


def find_saved_model(directory: str | os.PathLike[str]) -> Path:
    """Returns the SavedModel that a directory stands for: itself, a run's `model`, or the newest version below it.

    Raises:
      InputError: there is none, or there are several models.
    """
    root = Path(directory)
    for candidate in (root, root / "model"):
        if (candidate / SAVED_MODEL).is_file():
            return candidate
    expected = "a finished run, an exported model, or the root of a pipeline with one model"
    bases = model_bases(root, expected)
    if len(bases) > 1:
        raise InputError(str(directory), f"models {', '.join(bases)}", expected, "name one model's folder")
    return versions_in(next(iter(bases.values())))[-1][1]
