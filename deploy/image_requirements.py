"""Print the lock's entries that an image needs: without the tools of development, and with TensorFlow for CPUs.

Usage: python deploy/image_requirements.py requirements.lock pyproject.toml [--gpu]
"""

import re
import sys
import tomllib
from pathlib import Path

# The same release without CUDA's kernels, which are 370 MB of it.
TENSORFLOW_CPU = """tensorflow-cpu==2.16.2 \\
    --hash=sha256:c855cb6bf05d32dd5928086b03a5f6b4189b63c22b95e017703cbee4291023ca
"""


def normalized(name: str) -> str:
    """Returns a package's name as a lock has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> dict[str, str]:
    """Returns the text of each entry of a lock by its package."""
    parts = re.split(r"(?m)^(?=[A-Za-z0-9])", lock)
    return {normalized(re.split(r"[=\s\[]", part)[0]): part for part in parts if part.strip()}


def image_lock(lock: str, project: str, gpu: bool = False) -> str:
    """Returns the lock of an image.

    Args:
      lock: text of requirements.lock.
      project: text of pyproject.toml; what only its group `dev` names is left out.
      gpu: True to keep the TensorFlow with CUDA's kernels.
    """
    tools = {normalized(re.split(r"[=<>\s\[]", line)[0]) for line in tomllib.loads(project)["dependency-groups"]["dev"]}
    kept = {name: text for name, text in entries(lock).items() if name not in tools}
    if not gpu:
        kept["tensorflow"] = TENSORFLOW_CPU
    return "".join(kept.values())


if __name__ == "__main__":
    lock_file, project_file, *options = sys.argv[1:]
    sys.stdout.write(image_lock(Path(lock_file).read_text(), Path(project_file).read_text(), "--gpu" in options))
