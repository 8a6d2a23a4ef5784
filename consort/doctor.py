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

from consort.version_line import LINES, VersionLine, glibc_version, lines_for, reason

Status = Literal["ok", "warn", "fail"]

ROOT = Path(__file__).resolve().parents[1]
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
    "boto3": ("folders on s3://", "pip install --no-deps boto3 botocore s3transfer jmespath"),
    "faiss": ("approximate index on CPU", "pip install --no-deps faiss-cpu==1.15.1"),
    "scann": ("approximate index by ScaNN", "pip install --no-deps scann==1.3.2, with NumPy 2 scann==1.4.2"),
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
    glibc, installed, python = glibc_version(), installed_versions(), sys.version_info[:3]
    line, checked = check_line(installed.get("tfx"), python, glibc)
    checks = [check_python(python, glibc), check_platform(platform.system(), platform.machine(), glibc), checked]
    checks += check_packages(locked_versions(ROOT / line.lock), declared_ranges(line), installed)
    checks += check_tensorflow(*_run_probe())
    checks += check_optional()
    checks += check_resources(Path.cwd())
    return checks


def check_python(version: tuple[int, int, int], glibc: tuple[int, int] | None) -> Check:
    """Checks for a Python for which every compiled part of a line of versions has a wheel that this glibc can load."""
    found = ".".join(map(str, version))
    pythons = sorted({python for line in LINES for python in line.pythons if glibc and glibc >= line.glibc})
    if version[:2] in pythons or not pythons:
        return Check("python", "ok", found)
    names = " or ".join(f"{major}.{minor}" for major, minor in pythons)
    return Check("python", "fail", found, f"install Python {names} and run `make setup` with it first on PATH")


def check_line(
    installed: str | None, version: tuple[int, int, int], glibc: tuple[int, int] | None
) -> tuple[VersionLine, Check]:
    """Finds the line of versions that is installed, or that belongs here, and says why it is this one.

    Args:
      installed: version of TFX in this environment.
      version: of Python.
      glibc: of this system.
    """
    possible = lines_for(version[:2], glibc)
    for line in LINES:
        if installed is not None and installed.startswith(f"{line.name}."):
            found = f"{line.name}: TFX {line.name}, TensorFlow {line.tensorflow}"
            why = reason(line, version[:2], glibc) if glibc else "without glibc"
            if line in possible:
                return line, Check("version line", "ok", f"{found} ({why})")
            return line, Check("version line", "fail", f"{found}, which this system cannot have ({why})", REINSTALL)
    line = possible[0] if possible else LINES[-1]
    received = f"TFX {installed}" if installed else "no TFX"
    return line, Check("version line", "fail", f"{received}; {line.name} is the line for this system", REINSTALL)


def check_platform(system: str, machine: str, glibc: tuple[int, int] | None) -> Check:
    """Checks for Linux on x86-64 with glibc, for which the wheels of the lock are built."""
    libc = f"glibc {glibc[0]}.{glibc[1]}" if glibc else "no glibc"
    found = f"{system} {machine}, {libc}"
    if system != "Linux" or machine != "x86_64":
        return Check("platform", "fail", found, "use Linux on x86-64, e.g. a container of debian:12")
    least = min(line.glibc for line in LINES)
    if glibc is None or glibc < least:
        return Check("platform", "fail", found, f"use a distribution with glibc {'.'.join(map(str, least))} or newer")
    return Check("platform", "ok", found)


def check_packages(
    locked: Mapping[str, str], ranges: Mapping[str, Requirement], installed: Mapping[str, str]
) -> list[Check]:
    """Compares the installed packages with the lock of the line, or with the wheel's ranges where there is no lock.

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
        checks.append(
            _optional(name, present, installed.get(name) or installed.get(f"{name}-cpu", "present"), purpose, fix)
        )
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


def locked_versions(lock: Path) -> dict[str, str]:
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


def declared_ranges(line: VersionLine) -> dict[str, Requirement]:
    """Returns the project's requirements of a line: from pyproject.toml in a checkout, else from the wheel."""
    pyproject = ROOT / "pyproject.toml"
    if pyproject.is_file():
        import tomllib

        values = tomllib.loads(pyproject.read_text())
        texts = [*values["project"]["dependencies"], *values["dependency-groups"][f"line-{line.name}"]]
    else:
        try:
            texts = importlib.metadata.requires("consort-recommenders") or []
        except importlib.metadata.PackageNotFoundError:
            texts = []
    ranges: dict[str, Requirement] = {}
    for each in (Requirement(text) for text in texts):
        if each.marker is None:
            ranges.setdefault(canonicalize_name(each.name), each).specifier &= each.specifier
    return ranges


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
