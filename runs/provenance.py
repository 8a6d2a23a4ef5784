"""What made a run, as `run.json` records it; and which run an output folder belongs to."""

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from models.cotraining.external_inputs import ExternalInput
from runs.config import NOT_TRAINING, RunConfig
from runs.external_inputs import identities, reports
from transforms.errors import InputError
from transforms.files import write_text
from transforms.locks import this_command
from transforms.packages import PREFIX
from transforms.plain_text import parse_json

RUN_FILE, CONFIG_FILE, MODEL_DIR, CHECKPOINT_DIR = "run.json", "config.yaml", "model", "checkpoints"
"""In the folder of a run."""
CODE = ("transforms", "evaluation", "models", "serving", "runs", "tfx_pipeline")
"""Packages on which the result of a run depends."""

_PARTS = (
    "tensorflow",
    "tf-keras",
    "tfx",
    "tensorflow-transform",
    "tensorflow-model-analysis",
    "apache-beam",
    "numpy",
    "consort-recommenders",
)


@lru_cache
def code_version(*packages: str) -> str:
    """Sha256 over the Python sources of installed packages: changes when their code does.

    TFX sees only import paths, so this goes into the execution properties of every node whose code is ours.
    """
    digest = hashlib.sha256()
    for package in packages:
        root = Path(str(resources.files(f"{PREFIX}{package}")))
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(root)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Installed versions of the parts that decide a result."""
    result = {"python": platform.python_version()}
    for part in _PARTS:
        try:
            result[part] = importlib.metadata.version(part)
        except importlib.metadata.PackageNotFoundError:
            result[part] = "not installed"
    return result


def run_info(
    config: RunConfig, source: str, dataset_sha256: str, inputs: Sequence[ExternalInput] = ()
) -> dict[str, Any]:
    """Returns what is saved with every run and travels with its model.

    Args:
      config: the run.
      source, dataset_sha256: of its data.
      inputs: external inputs of its recipe, of `checked_inputs`.
    """
    reported = reports(inputs)
    return {
        "name": config.name,
        "seed": config.seed,
        "config": config.model_dump(mode="json"),
        "config_sha256": config.digest(),
        "source": source,
        "dataset_sha256": dataset_sha256,
        "code_sha256": code_version(*CODE),
        "versions": versions(),
        "command": this_command(),
        **identities(inputs),
        **({"recipe": reported} if reported else {}),
    }


def machine() -> dict[str, Any]:
    """Processor, cores usable, memory, versions, date."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "versions": versions(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def read_run(where: str, folder: str) -> tuple[dict[str, Any], RunConfig]:
    """What a run tells of itself, and its config.

    Args:
      where: key of the run file that names it.
      folder: of the run.

    Raises:
      InputError: it is the folder of no run.
    """
    try:
        run = dict(parse_json((Path(folder) / RUN_FILE).read_text()))
        return run, RunConfig.model_validate(run["config"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        fix = "name a folder that `consort train`, or for caches `consort online`, wrote"
        raise InputError(where, str(error), "a finished run", fix) from error


_SHOWN = 4


def run_identity(info: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what tells a run from another, of `run_info`: its config, its data and its external inputs."""
    return {key: value for key, value in info.items() if key.endswith("_sha256") and key != "code_sha256"}


def is_claimed(root: Path, file: str, *, identity: Mapping[str, Any], record: Mapping[str, Any], kind: str) -> bool:
    """Returns whether a folder belongs to this run or search already.

    Args:
      root: the folder.
      file: name of the JSON file in it that records whose it is.
      identity: keys and values that the file must hold.
      record: what the file would get, for messages: its `config` is compared with the file's.
      kind: `run` or `search`, for messages.

    Raises:
      InputError: it belongs to another one, or the file cannot be read.
    """
    path = root / file
    if not path.is_file():
        return False
    fix = "choose another --out, or delete this one"
    try:
        present = dict(parse_json(path.read_text()))
    except (TypeError, ValueError) as error:
        raise InputError(str(path), str(error), f"a {file} of ours", fix) from error
    for key, value in identity.items():
        if present.get(key) != value:
            differences = _differences(present.get("config"), record.get("config"))
            made_by = f"; this made it: {present['command']}" if "command" in present else ""
            what = {"dataset_sha256": "other data", "config_sha256": "other settings"}.get(
                key, f"another {key.removesuffix('_sha256')}"
            )
            received = f"other settings than those of the {kind} there: {differences}" if differences else what
            expected = f"the settings of that {kind}" if differences else f"what that {kind} was started with"
            raise InputError(str(root), received, expected, fix + made_by)
    return True


def _differences(there: Any, now: Any) -> str:
    """Returns the keys of the run file in which two runs differ, as `training.epochs 3, was 9`."""
    if not isinstance(there, Mapping) or not isinstance(now, Mapping):
        return ""
    one, other = dict(_flat(there)), dict(_flat(now))
    keys = [key for key in {**one, **other} if key.partition(".")[0] not in NOT_TRAINING]
    parts = [
        f"{key} {json.dumps(other.get(key))}, was {json.dumps(one.get(key))}"
        for key in keys
        if one.get(key) != other.get(key)
    ]
    more = f"; and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return "; ".join(parts[:_SHOWN]) + more


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def claim(root: Path, file: str, *, identity: Mapping[str, Any], record: Mapping[str, Any], kind: str) -> None:
    """Writes whose a folder is, unless it belongs to this run or search already.

    Args:
      root, file, identity, kind: as in `is_claimed`.
      record: what the file gets.

    Raises:
      InputError: it belongs to another one, or is in use.
    """
    if is_claimed(root, file, identity=identity, record=record, kind=kind):
        return
    # A hidden file is what one leaves that was killed while it wrote its first one.
    if root.exists() and any(not path.name.startswith(".") for path in root.iterdir()):
        raise InputError(str(root), "a folder in use", "a new or empty folder", "choose another --out")
    root.mkdir(parents=True, exist_ok=True)
    write_text(root / file, json.dumps(record, indent=2) + "\n")
