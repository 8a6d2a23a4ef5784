"""Requests as arrays on disk, mapped into memory by every process that trains on them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments.duet.requests import Data, Requests
from transforms.features import SPLITS, ModelInput, Split
from transforms.files import new_directory, sha256_of, write_text

ABOUT = "about.json"
_FEATURE = "feature."


def save_data(folder: Path, data: Data) -> None:
    """Writes arrays into a new folder, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_directory(folder) as temporary:
        names = []
        for split, requests in data.splits.items():
            arrays = {name: value for name, value in vars(requests).items() if isinstance(value, np.ndarray)}
            arrays |= {_FEATURE + name: value for name, value in requests.features.items()}
            for name, value in arrays.items():
                names.append(f"{split}.{name}.npy")
                np.save(temporary / names[-1], value)
        digest = hashlib.sha256("\n".join(f"{name} {sha256_of(temporary / name)}" for name in sorted(names)).encode())
        told = {
            "inputs": [item.model_dump(mode="json") for item in data.inputs],
            "table_sizes": dict(data.table_sizes),
            "arrays": sorted(names),
            "sha256": digest.hexdigest(),
            "about": dict(data.about),
        }
        write_text(temporary / ABOUT, json.dumps(told, indent=1) + "\n")


def load_data(folder: Path) -> tuple[Data, str]:
    """The data of a folder, and the sha256 of its arrays; what is not asked for is not read."""
    told = json.loads((folder / ABOUT).read_text())
    inputs = tuple(ModelInput.model_validate(item) for item in told["inputs"])
    splits = {split: _load(folder, split, told["arrays"]) for split in SPLITS}
    return Data(inputs, told["table_sizes"], splits, told["about"]), told["sha256"]


def _load(folder: Path, split: Split, files: list[str]) -> Requests:
    arrays: dict[str, Any] = {}
    features = {}
    for file in files:
        if file.startswith(f"{split}."):
            name = file.removeprefix(f"{split}.").removesuffix(".npy")
            value = np.load(folder / file, mmap_mode="r" if (folder / file).stat().st_size > 4096 else None)
            if name.startswith(_FEATURE):
                features[name.removeprefix(_FEATURE)] = value
            else:
                arrays[name] = value
    return Requests(features=features, **arrays)
