"""The checks of `consort doctor`: what is installed, what will not work, and how to fix it."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Status = Literal["ok", "warn", "fail"]

ROOT = Path(__file__).resolve().parents[1]
PYTHON = (3, 11)
MIN_GLIBC = (2, 17)
"""Minimum version for the wheels of the lock (manylinux2014)."""
MIN_DISK_GB, MIN_SHM_GB, MIN_MEMORY_GB = 5.0, 0.25, 4.0
REINSTALL = "run `make setup`; without make: docs/install.md"
# Named one by one: a wrong version of one of these is a known break. The others are counted.
KEY_PACKAGES = (
    "tensorflow",
    "tf-keras",
    "tensorflow-recommenders",
    "tfx",
    "tfx-bsl",
    "tensorflow-transform",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "ml-metadata",
    "apache-beam",
    "keras-tuner",
    "tensorflow-serving-api",
    "grpcio",
    "protobuf",
    "pyarrow",
    "numpy",
)
# Optional modules: what each is for, and how to get it.
OPTIONAL_MODULES = {
    "hnswlib": ("approximate index on CPU", "pip install --no-deps hnswlib==0.8.0 (compiles; needs g++)"),
    "scann": ("approximate index by ScaNN", "pip install --no-deps scann==1.3.2"),
}
OPTIONAL_PROGRAMS = {
    "tensorflow_model_server": (
        "serving the exported models in production",
        "copy it out of the image tensorflow/serving",
    ),
    "uv": ("`make lock`, and a faster `make setup`", "pipx install uv"),
}
# Runs in a child: a TensorFlow that does not suit the processor kills its process, and must not kill the doctor.
_PROBE = """
import json, warnings
warnings.simplefilter("ignore")
import consort
import tensorflow as tf
import tf_keras
print(json.dumps({
    "tensorflow": tf.__version__,
    "one_keras": tf.keras.layers.Layer is tf_keras.layers.Layer,
    "keras": tf_keras.__version__,
    "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
}))
"""


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Args:
      name: what was looked at.
      status: `ok`; `warn`: something optional is missing or slow; `fail`: Consort will not work.
      found: what is there.
      fix: what to do; empty where nothing is to be done.
    """

    name: str
    status: Status
    found: str
    fix: str = ""


def diagnose() -> list[Check]:
    """Runs all checks. Takes some seconds, because TensorFlow is imported in a child process."""
    checks = [check_python(sys.version_info[:3]), check_platform(platform.system(), platform.machine(), _glibc())]
    checks += check_packages(locked_versions(), declared_ranges(), installed_versions())
    checks += check_tensorflow(*_run_probe())
    checks += check_optional()
    checks += check_resources(Path.cwd())
    return checks


def check_python(version: tuple[int, int, int]) -> Check:
    """Checks for Python 3.11, the newest for which every compiled part of TFX 1.16 has a wheel."""
    found = ".".join(map(str, version))
    if version[:2] == PYTHON:
        return Check("python", "ok", found)
    return Check("python", "fail", found, "install Python 3.11 and run `make setup` with it first on PATH")


def check_platform(system: str, machine: str, glibc: tuple[int, int] | None) -> Check:
    """Checks for Linux on x86-64 with glibc, for which the wheels of the lock are built."""
    libc = f"glibc {glibc[0]}.{glibc[1]}" if glibc else "no glibc"
    found = f"{system} {machine}, {libc}"
    if system != "Linux" or machine != "x86_64":
        return Check("platform", "fail", found, "use Linux on x86-64, e.g. a container of debian:12")
    if glibc is None or glibc < MIN_GLIBC:
        return Check(
            "platform", "fail", found, f"use a distribution with glibc {'.'.join(map(str, MIN_GLIBC))} or newer"
        )
    return Check("platform", "ok", found)


def check_packages(
    locked: Mapping[str, str], ranges: Mapping[str, Requirement], installed: Mapping[str, str]
) -> list[Check]:
    """Compares the installed packages with requirements.lock, or with the wheel's ranges where there is no lock.

    Args:
      locked: pinned version of each package for this machine; empty without a lock.
      ranges: the project's declared requirements.
      installed: versions in this environment.
    """
    checks = [_check_package(name, locked.get(name), ranges.get(name), installed.get(name)) for name in KEY_PACKAGES]
    others = {name: version for name, version in locked.items() if name not in KEY_PACKAGES}
    differing = sorted(name for name, version in others.items() if installed.get(name) != version)
    if differing:
        shown = ", ".join(f"{name} {installed.get(name, 'missing')} (locked {others[name]})" for name in differing[:5])
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        checks.append(Check("other packages", "warn", f"not as locked: {shown}{more}", REINSTALL))
    elif others:
        checks.append(Check("other packages", "ok", f"{len(others)} as locked"))
    return checks


def check_tensorflow(facts: Mapping[str, Any] | None, trouble: str) -> list[Check]:
    """Checks the result of the probe: TensorFlow imports, there is one Keras, and there is a GPU or not.

    Args:
      facts: the probe's answer; None where it died.
      trouble: why it died.
    """
    if facts is None:
        return [Check("tensorflow import", "fail", trouble, REINSTALL)]
    checks = [Check("tensorflow import", "ok", f"TensorFlow {facts['tensorflow']}")]
    keras = f"tf_keras {facts['keras']}"
    if facts["one_keras"] and str(facts["keras"]).startswith("2."):
        checks.append(Check("one keras", "ok", f"tf.keras is {keras}"))
    else:
        checks.append(
            Check("one keras", "fail", f"tf.keras is not {keras}", "unset TF_USE_LEGACY_KERAS, or set it to 1")
        )
    if facts["gpus"]:
        checks.append(Check("gpu", "ok", ", ".join(facts["gpus"])))
    elif shutil.which("nvidia-smi"):
        fix = "install the `gpu` extra: CUDA libraries for this TensorFlow (docs/install.md)"
        checks.append(Check("gpu", "warn", "a driver, but TensorFlow sees no device: training runs on CPU", fix))
    else:
        checks.append(Check("gpu", "warn", "none: training runs on CPU", "none needed; a GPU speeds up large models"))
    return checks


def check_optional() -> list[Check]:
    """Checks for optional packages and programs."""
    checks = []
    installed = installed_versions()
    for name, (purpose, fix) in OPTIONAL_MODULES.items():
        present = importlib.util.find_spec(name) is not None
        checks.append(_optional(name, present, installed.get(name, "present"), purpose, fix))
    for name, (purpose, fix) in OPTIONAL_PROGRAMS.items():
        path = shutil.which(name)
        checks.append(_optional(name, path is not None, str(path), purpose, fix))
    return checks


def check_resources(folder: Path) -> list[Check]:
    """Checks the free disk space of `folder`, shared memory and free memory."""
    shm = _free_gb(Path("/dev/shm"))
    memory = _available_memory_gb(Path("/proc/meminfo"))
    return [
        _at_least(
            "disk space", _free_gb(folder), MIN_DISK_GB, f"free {MIN_DISK_GB:g} GB, or pass --out on a larger disk"
        ),
        _at_least("/dev/shm", shm, MIN_SHM_GB, "in Docker: --shm-size=1g"),
        _at_least(
            "free memory",
            memory,
            MIN_MEMORY_GB,
            "close other programs, or train with a smaller batch_size and smaller tables",
        ),
    ]


def locked_versions(lock: Path = ROOT / "requirements.lock") -> dict[str, str]:
    """Returns the pins of the lock that apply here; empty where there is no lock (an installed wheel)."""
    if not lock.is_file():
        return {}
    lines = (line.split(" \\")[0] for line in lock.read_text().splitlines() if re.match(r"[A-Za-z0-9]", line))
    pins = [Requirement(line) for line in lines]
    return {
        canonicalize_name(pin.name): str(next(iter(pin.specifier)).version)
        for pin in pins
        if pin.marker is None or pin.marker.evaluate()
    }


def declared_ranges() -> dict[str, Requirement]:
    """Returns the project's requirements: from pyproject.toml in a checkout, else from the installed wheel."""
    pyproject = ROOT / "pyproject.toml"
    if pyproject.is_file():
        import tomllib

        values = tomllib.loads(pyproject.read_text())
        texts = [*values["project"]["dependencies"], *values["dependency-groups"]["pipeline"]]
    else:
        try:
            texts = importlib.metadata.requires("consort-recommenders") or []
        except importlib.metadata.PackageNotFoundError:
            texts = []
    requirements = [Requirement(text) for text in texts]
    return {canonicalize_name(each.name): each for each in requirements if each.marker is None}


def installed_versions() -> dict[str, str]:
    """Returns the version of every installed package by name."""
    found = ((each.metadata["Name"], each.version) for each in importlib.metadata.distributions())
    # A removal that was cut short leaves a folder without metadata.
    return {canonicalize_name(name): version for name, version in found if name}


def _check_package(name: str, locked: str | None, declared: Requirement | None, installed: str | None) -> Check:
    wanted = f"{locked} is locked" if locked else str(declared.specifier) if declared else "any"
    if installed is None:
        return Check(name, "fail", f"missing; {wanted}", REINSTALL)
    if declared is not None and not declared.specifier.contains(installed, prereleases=True):
        return Check(name, "fail", f"{installed}; {declared.specifier} is needed", REINSTALL)
    if locked is not None and installed != locked:
        return Check(name, "warn", f"{installed}; {locked} is locked and tested", REINSTALL)
    return Check(name, "ok", installed)


def _run_probe() -> tuple[dict[str, Any] | None, str]:
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    except subprocess.TimeoutExpired:
        return None, "no answer within 3 minutes"
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return None, f"died of {name}" + ("; this processor lacks AVX" if name == "SIGILL" else "")
    if done.returncode > 0:
        return None, (done.stderr.strip().splitlines() or ["no message"])[-1]
    facts: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return facts, ""


def _optional(name: str, present: bool, found: str, purpose: str, fix: str) -> Check:
    return Check(name, "ok", found) if present else Check(name, "warn", f"missing; optional, for {purpose}", fix)


def _at_least(name: str, gigabytes: float | None, least: float, fix: str) -> Check:
    if gigabytes is None:
        return Check(name, "warn", "cannot be read", "none needed if runs work")
    status: Status = "ok" if gigabytes >= least else "warn"
    return Check(name, status, f"{gigabytes:.1f} GB free", "" if status == "ok" else fix)


def _glibc() -> tuple[int, int] | None:
    library, version = platform.libc_ver()
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if library == "glibc" and match else None


def _free_gb(folder: Path) -> float | None:
    try:
        return shutil.disk_usage(folder).free / 1e9
    except OSError:
        return None


def _available_memory_gb(meminfo: Path) -> float | None:
    try:
        match = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
    except OSError:
        return None
    return int(match[1]) * 1024 / 1e9 if match else None
