"""Click rates of users and of items as scores: what a table's models have to beat, beside the results of a dataset.

`python -m experiments.duet.rates DATA FOLDER` adds them to `FOLDER/duet.json`, and writes the page anew.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics import evaluate_requests
from experiments.duet.grid import DuetGrid
from experiments.duet.page import render
from experiments.grid import read_results
from experiments.runner import write_results
from runs.evaluate import LOGGED_SCORE, TRUTH
from runs.provenance import machine
from transforms.errors import InputError
from transforms.features import CANDIDATE, EXPOSED, ITEM_ID, LABEL, FeatureSet
from transforms.files import write_text
from transforms.input import parsed, serialized
from transforms.packages import PREFIX
from transforms.records import Dataset, load_dataset, shard_paths
from transforms.schema import parse_spec
from transforms.sources.registry import SOURCES, source_class

RESULTS_FILE = "duet.json"
PRIOR = 1.0
"""Shown items of the mean click rate, which each user and each item begins with."""
_READ_AT_ONCE = 512
_TOLERANCE = 1e-6
Columns = Mapping[str, np.ndarray]


def rates_of(data_dir: Path) -> dict[str, dict[str, float]]:
    """Returns metrics of the test requests by the click rates of the train split.

    The rate of a user or an item is (clicks + r) / (shown + 1), r the mean click rate.

    Args:
      data_dir: a dataset of requests.

    Returns:
      Metrics of `evaluate_requests` for `user_rate`, `item_rate` and `item_user_rate`, the mean of both.
    """
    dataset = load_dataset(data_dir)
    train, test = (_columns(dataset, data_dir, split) for split in ("train", "test"))
    shown = (train[CANDIDATE] == 1) & (train[EXPOSED] == 1)
    label, rows = train[LABEL][shown], np.nonzero(shown)[0]
    items = _rates(train[ITEM_ID][shown], label, test[ITEM_ID])
    users = _rates(train["user_id"][rows], label, test["user_id"])[:, np.newaxis] * np.ones(items.shape)
    scores = {"user_rate": users, "item_rate": items, "item_user_rate": (items + users) / 2}
    return {name: _measured(score, test) for name, score in scores.items()}


def _columns(dataset: Dataset, data_dir: Path, split: Any) -> dict[str, np.ndarray]:
    features: FeatureSet = dataset.feature_set
    extras = [name for name in (TRUTH, LOGGED_SCORE) if name in {column.name for column in features.columns}]
    names = ("user_id", ITEM_ID, LABEL, CANDIDATE, EXPOSED, *extras)
    files = [str(file) for file in shard_paths(data_dir, dataset, "request", split)]
    batches = list(parsed(serialized(files, _READ_AT_ONCE), parse_spec(features, "request", names)))
    return {name: np.concatenate([batch[name].numpy() for batch in batches]) for name in names}


def _rates(ids: np.ndarray, label: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    mean, (known, index) = label.mean(), np.unique(ids, return_inverse=True)
    rates = (np.bincount(index, label) + PRIOR * mean) / (np.bincount(index) + PRIOR)
    by_id = dict(zip(known.tolist(), rates.tolist(), strict=True))
    return np.array([by_id.get(one, mean) for one in wanted.ravel().tolist()]).reshape(wanted.shape)


def _measured(score: np.ndarray, test: Columns) -> dict[str, float]:
    masks = test[CANDIDATE] == 1, test[EXPOSED] == 1
    truth = test.get(TRUTH), test.get(LOGGED_SCORE)
    return evaluate_requests(score, *masks, test[LABEL], *truth, test["user_id"], resamples=0)


def import_command(dataset: Dataset) -> str:
    """Returns the command that makes a dataset, by its recorded origin."""
    if dataset.source not in SOURCES:
        return "consort data simulate --out DATA"
    options = {key: value for key, value in dataset.origin.get("options", {}).items() if value is not None}
    defaults = source_class(dataset.source).Options().model_dump(mode="json")
    changed = {key: value for key, value in options.items() if value != defaults.get(key)}
    texts = {key: ",".join(value) if isinstance(value, list) else value for key, value in changed.items()}
    arguments = "".join(f" --option {key}={value}" for key, value in texts.items())
    return f"consort data import {dataset.source} --input DIR --out DATA{arguments}"


def add_rates(data_dir: Path, folder: Path) -> dict[str, str]:
    """Adds the rates to the results of a grid on the same dataset, and returns its page with its plots.

    Raises:
      InputError: there are no results, or they are those of other requests.
    """
    results, rows, dataset = (
        read_results(DuetGrid, folder),
        rates_of(data_dir),
        load_dataset(data_dir),
    )
    _check_same(results, next(iter(rows.values())), str(data_dir))
    command = f"python -m {PREFIX}experiments.duet.rates DATA {folder}"
    made = {"command": command, "import": import_command(dataset), "dataset_sha256": dataset.sha256}
    results["rates"] = {**made, "machine": machine(), "rows": rows}
    cells = results.pop("cells")
    write_results(folder / RESULTS_FILE, {**results, "cells": cells})
    return render({**results, "cells": cells})


def _check_same(results: Mapping[str, Any], rates: Mapping[str, float], where: str) -> None:
    """Compares what does not depend on a model: the entropy of the clicks, the oracle and the logging policy."""
    constants = _constants(rates)
    for cell in results["cells"]:
        for key, value in _constants(cell["test"]["served"]).items():
            if abs(value - constants.get(key, np.inf)) > _TOLERANCE:
                received, expected = f"{key} {constants.get(key)}", f"{value}, as in cell {cell['cell']}"
                raise InputError(where, received, expected, "name the dataset that the table was made of")


def _constants(metrics: Mapping[str, float]) -> dict[str, float]:
    constants = {key: value for key, value in metrics.items() if key.startswith(("oracle_", "logging_"))}
    return {**constants, "entropy": metrics["logloss"] / metrics["ne"]} if "ne" in metrics else constants


def main(arguments: list[str]) -> None:
    """`DATA FOLDER`."""
    if len(arguments) != 2:
        raise InputError(
            "arguments", str(arguments), "DATA FOLDER", f"python -m {PREFIX}experiments.duet.rates DATA FOLDER"
        )
    folder = Path(arguments[1])
    for name, text in add_rates(Path(arguments[0]), folder).items():
        write_text(folder / name, text)


if __name__ == "__main__":
    main(sys.argv[1:])
