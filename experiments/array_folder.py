"""Arrays of the splits on disk, mapped into memory by every process that trains on them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from transforms.features import SPLITS, Split
from transforms.files import new_directory, sha256_of, write_text

ABOUT = "about.json"
_MAPPED_FROM_BYTES = 4096
Arrays = dict[str, np.ndarray]


def save_splits(folder: Path, splits: Mapping[Split, Mapping[str, np.ndarray]], told: Mapping[str, Any]) -> None:
    """Writes arrays into a new folder, whole or not at all.

    Args:
      folder: to be made.
      splits: arrays by name, of each split.
      told: what else a reader must know; gets the arrays' names and the sha256 of all of them.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_directory(folder) as temporary:
        names = []
        for split, arrays in splits.items():
            for name, value in arrays.items():
                names.append(f"{split}.{name}.npy")
                np.save(temporary / names[-1], value)
        digest = hashlib.sha256("\n".join(f"{name} {sha256_of(temporary / name)}" for name in sorted(names)).encode())
        about = {**told, "arrays": sorted(names), "sha256": digest.hexdigest()}
        write_text(temporary / ABOUT, json.dumps(about, indent=1) + "\n")


def load_splits(folder: Path) -> tuple[dict[Split, Arrays], dict[str, Any]]:
    """The arrays of a folder by split and name, and what was told of them; what is not asked for is not read."""
    told = json.loads((folder / ABOUT).read_text())
    splits: dict[Split, Arrays] = {split: {} for split in SPLITS}
    for file in told["arrays"]:
        split, _, name = file.removesuffix(".npy").partition(".")
        is_large = (folder / file).stat().st_size > _MAPPED_FROM_BYTES
        splits[split][name] = np.load(folder / file, mmap_mode="r" if is_large else None)
    return splits, told
