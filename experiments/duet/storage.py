"""Requests as arrays on disk, mapped into memory by every process that trains on them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.array_folder import load_splits, save_splits
from experiments.duet.requests import Data, Requests
from transforms.features import ModelInput

_FEATURE = "feature."


def save_data(folder: Path, data: Data) -> None:
    """Writes arrays into a new folder, whole or not at all."""
    told = {
        "inputs": [item.model_dump(mode="json") for item in data.inputs],
        "table_sizes": dict(data.table_sizes),
        "about": dict(data.about),
    }
    save_splits(folder, {split: _arrays(requests) for split, requests in data.splits.items()}, told)


def load_data(folder: Path) -> tuple[Data, str]:
    """The data of a folder, and the sha256 of its arrays; what is not asked for is not read."""
    splits, told = load_splits(folder)
    inputs = tuple(ModelInput.model_validate(item) for item in told["inputs"])
    requests = {split: _requests(arrays) for split, arrays in splits.items()}
    return Data(inputs, told["table_sizes"], requests, told["about"]), told["sha256"]


def _arrays(requests: Requests) -> dict[str, np.ndarray]:
    found = {name: value for name, value in vars(requests).items() if isinstance(value, np.ndarray)}
    return found | {_FEATURE + name: value for name, value in requests.features.items()}


def _requests(arrays: Mapping[str, np.ndarray]) -> Requests:
    own: dict[str, Any] = {name: value for name, value in arrays.items() if not name.startswith(_FEATURE)}
    features = {name.removeprefix(_FEATURE): value for name, value in arrays.items() if name not in own}
    return Requests(features=features, **own)
