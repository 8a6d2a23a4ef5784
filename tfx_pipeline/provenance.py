"""What made a run: seed, code, versions, data, command."""

import hashlib
import importlib.metadata
import platform
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consort.config import RunConfig
from transforms.locks import this_command
from transforms.packages import PREFIX

if TYPE_CHECKING:
    from serving.teacher import TeacherExport

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
    found = {"python": platform.python_version()}
    for part in _PARTS:
        try:
            found[part] = importlib.metadata.version(part)
        except importlib.metadata.PackageNotFoundError:
            found[part] = "not installed"
    return found


def run_info(
    config: RunConfig, source: str, dataset_sha256: str, teacher: "TeacherExport | None" = None
) -> dict[str, Any]:
    """What is saved with every run and travels with its model.

    Args:
      config: the run.
      source, dataset_sha256: of its data.
      teacher: that its recipe learns from, if there is one.
    """
    taught = {} if teacher is None else {"teacher_sha256": teacher.sha256, "recipe": {"teacher": teacher.told()}}
    return {
        "name": config.name,
        "seed": config.seed,
        "config": config.model_dump(mode="json"),
        "config_sha256": config.digest(),
        "source": source,
        "dataset_sha256": dataset_sha256,
        "code_sha256": code_version("transforms", "evaluation", "models", "serving", "tfx_pipeline"),
        "versions": versions(),
        "command": this_command(),
        **taught,
    }
