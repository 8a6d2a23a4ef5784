"""The virtual environments of the peers: their place and their installation."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transforms.errors import ConsortError, InputError, MissingPart

DEFAULT_FOLDER = Path("~/.cache/consort/peers")
PEERS = ("deepctr", "fuxictr")
_STAMP = "installed"
_ERROR_CHARACTERS = 3000


@dataclass(frozen=True)
class Environments:
    """Folder with one virtual environment for each peer."""

    folder: Path

    @classmethod
    def at(cls, folder: Path | None) -> "Environments":
        """Returns the environments of a folder; None: the default one."""
        return cls((DEFAULT_FOLDER if folder is None else folder).expanduser().absolute())

    def python(self, peer: str) -> Path:
        """Returns the interpreter of a peer."""
        return self.folder / peer / "bin" / "python"

    def is_installed(self, peer: str) -> bool:
        """Returns True if it was built completely, with the packages that are pinned today."""
        stamp = self.folder / peer / _STAMP
        return stamp.is_file() and stamp.read_text() == _digest(peer)

    def missing(self, peers: Sequence[str] = PEERS) -> list[str]:
        """Returns those of the peers that are not installed."""
        return [peer for peer in peers if not self.is_installed(peer)]

    def require(self, peers: Sequence[str] = PEERS) -> None:
        """Raises an error if one of the peers is not installed.

        Raises:
          MissingPart: names those that are missing, and the line that installs them.
        """
        if missing := self.missing(peers):
            raise MissingPart(f"{' and '.join(missing)} in {self.folder}", f"consort bench peers --out {self.folder}")

    def install(self, say: Callable[[str], None]) -> dict[str, str]:
        """Builds the missing environments; returns each peer's interpreter.

        Raises:
          InputError: a file is where the folder should be.
          ConsortError: pip failed; the message ends with its last lines.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(str(self.folder), "a file", "a folder, there or not", "name another with --out")
        for peer in self.missing(PEERS):
            say(f"installing {peer} into {self.folder / peer}; this downloads up to some gigabytes")
            self._build(peer)
        return {peer: str(self.python(peer)) for peer in PEERS}

    def _build(self, peer: str) -> None:
        root = self.folder / peer
        root.mkdir(parents=True, exist_ok=True)
        (root / _STAMP).unlink(missing_ok=True)
        _run(peer, [sys.executable, "-m", "venv", "--clear", str(root)])
        pip = [str(self.python(peer)), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _run(peer, [*pip, "--requirement", str(requirements(peer))])
        (root / _STAMP).write_text(_digest(peer))


def requirements(peer: str) -> Path:
    """Returns the file that pins a peer's packages."""
    return Path(__file__).with_name(f"{peer}.txt")


def _digest(peer: str) -> str:
    return hashlib.sha256(requirements(peer).read_bytes()).hexdigest()


def _run(peer: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConsortError(
            f"{peer} could not be installed: {' '.join(command[1:])} ended with code {done.returncode}:\n"
            f"{(done.stderr or done.stdout)[-_ERROR_CHARACTERS:].strip()}"
        )
