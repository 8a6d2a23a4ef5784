"""What must be the same on the launcher and on Beam's workers."""

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path

_PACKAGES = ("apache-beam", "tensorflow", "tensorflow-transform", "tfx-bsl", "pyarrow", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that read pickled code and data, and a hash of these sources."""
    sources = hashlib.sha256()
    root = Path(__file__).parents[1]
    for file in sorted(root.rglob("*.py")):
        sources.update(str(file.relative_to(root)).encode() + file.read_bytes())
    python = ".".join(platform.python_version_tuple()[:2])
    installed = {}
    for name in _PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "not installed"
    return {"Python": python, **installed, "Consort's sources": sources.hexdigest()[:12]}


def differences(expected: str) -> str:
    """Compares the versions of a worker.

    Args:
      expected: those of the launcher, as JSON.

    Raises:
      RuntimeError: one differs.
    """
    here = versions()
    different = [
        f"{name} {here.get(name)} differs from {version}"
        for name, version in json.loads(expected).items()
        if here.get(name) != version
    ]
    if different:
        raise RuntimeError(f"the worker's {'; '.join(different)} of the launcher")
    return "same"
