"""What the image is made of: the lock without the tools of development."""

import importlib.util
import re

import pytest

from tests.helpers.source_tree import ROOT

_SPEC = importlib.util.spec_from_file_location("image_requirements", ROOT / "deploy" / "image_requirements.py")
assert _SPEC and _SPEC.loader
image = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(image)

PROJECT = '[dependency-groups]\ndev = ["pytest>=8,<9", "types-PyYAML", "ruff"]\n'
LOCK = "".join(
    f"{name}==1.0 \\\n    --hash=sha256:{name}\n" for name in ("numpy", "pytest", "tensorflow", "types-pyyaml")
)


def test_tools_are_left_out_and_tensorflow_is_for_cpus():
    names = list(image.entries(image.image_lock(LOCK, PROJECT)))
    assert names == ["numpy", "tensorflow-cpu"]


def test_a_gpu_image_keeps_tensorflow():
    assert list(image.entries(image.image_lock(LOCK, PROJECT, gpu=True))) == ["numpy", "tensorflow"]


@pytest.fixture(scope="module")
def lock():
    return (ROOT / "requirements.lock").read_text()


def test_every_entry_of_the_images_lock_has_a_hash(lock):
    text = image.image_lock(lock, (ROOT / "pyproject.toml").read_text())
    assert len(image.entries(text)) > 200
    assert all("--hash=sha256:" in entry and "://" not in entry for entry in image.entries(text).values())


def test_the_versions_of_the_image_are_those_of_the_lock(lock):
    tensorflow = re.search(r"^tensorflow==(\S+)", lock, re.M)
    beam = re.search(r"^apache-beam==(\S+)", lock, re.M)
    assert tensorflow and beam
    assert f"tensorflow-cpu=={tensorflow[1]} " in image.TENSORFLOW_CPU
    assert f"beam_python3.11_sdk:{beam[1]} " in (ROOT / "deploy" / "consort.Dockerfile").read_text()
