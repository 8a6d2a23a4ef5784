"""Click rates as scores: counted by hand from the records, and added to the results of the same requests alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from evaluation.pointwise import auc
from experiments.duet.grid import DuetGrid
from experiments.duet.rates import add_rates, import_command, rates_of
from experiments.grid import read_results
from experiments.runner import write_results
from simulation.cascade_log import simulate
from simulation.parameters import World
from tests.helpers.command_line import consort
from transforms.errors import InputError
from transforms.records import load_dataset, shard_paths
from transforms.schema import parse_spec

_WORLD = World(users=30, items=60, candidates=20, min_candidates=12, ranked_items=10, exposed_items=4)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "data"
    simulate(folder, _WORLD, 300, 3)
    return folder


def _records(log: Path, split: Any) -> dict[str, np.ndarray]:
    dataset = load_dataset(log)
    files = shard_paths(log, dataset, "request", split)
    parsed = tf.io.parse_example(list(tf.data.TFRecordDataset(files)), parse_spec(dataset.feature_set, "request"))
    return {name: value.numpy() for name, value in parsed.items() if not isinstance(value, tf.RaggedTensor)}


def test_rates_are_those_that_a_loop_counts(log: Path) -> None:
    train, test = _records(log, "train"), _records(log, "test")
    shown: dict[tuple[str, bytes], list[float]] = {}
    for request, place in np.argwhere((train["candidate"] == 1) & (train["exposed"] == 1)):
        for key in (("item", train["item_id"][request, place]), ("user", train["user_id"][request])):
            shown.setdefault(key, []).append(float(train["label"][request, place]))
    every = np.concatenate([labels for (kind, _), labels in shown.items() if kind == "user"])

    def rate(kind: str, one: bytes) -> float:
        labels = shown.get((kind, one), [])
        return float((sum(labels) + every.mean()) / (len(labels) + 1))

    places = np.argwhere((test["candidate"] == 1) & (test["exposed"] == 1))
    label = np.array([test["label"][request, place] for request, place in places])
    item = np.array([rate("item", test["item_id"][request, place]) for request, place in places])
    user = np.array([rate("user", test["user_id"][request]) for request, _ in places])
    rates = rates_of(log)
    for name, score in (("item_rate", item), ("user_rate", user), ("item_user_rate", item + user)):
        assert rates[name]["auc"] == pytest.approx(auc(label, score), abs=1e-9), name
    assert rates["item_rate"]["auc_unexposed"] != rates["user_rate"]["auc_unexposed"]


def _results(log: Path, folder: Path, **changed: float) -> None:
    served = {**rates_of(log)["user_rate"], **changed}
    cell = {"cell": "default-1-single", "variant": "default", "method": "single", "seed": 1, "tried": False,
            "learning_rate": 0.001, "best_epoch": 2, "cpu_seconds": 1.0, "data_sha256": "0" * 64,
            "test": {"served": served}}  # fmt: skip
    machine = {"processor": "P", "cores": 2, "versions": {"tensorflow": "2.16.2"}}
    contexts = [{"command": "consort table duet", "date": "2026-01-01", "machine": machine}]
    grid = {"name": "made_up", "source": "simulator", "main": ["single"]}
    write_results(folder / "duet.json", {"grid": grid, "contexts": contexts, "cells": [cell]})


def test_rates_are_added_to_the_results_of_the_same_requests(log: Path, tmp_path: Path) -> None:
    _results(log, tmp_path)
    pages = add_rates(log, tmp_path)
    rates = read_results(DuetGrid, tmp_path)["rates"]
    assert rates["rows"] == rates_of(log) and rates["dataset_sha256"] == load_dataset(log).sha256
    assert "| ours | item + user click rate (no model) | 1 |" in pages["duet.md"]
    (tmp_path / "other").mkdir()
    _results(log, tmp_path / "other", oracle_auc=0.5)
    with pytest.raises(InputError, match="name the dataset that the table was made of"):
        add_rates(log, tmp_path / "other")


def test_the_command_of_an_import_tells_the_options_that_are_not_the_usual_ones(tmp_path: Path) -> None:
    rows = ["user,joke,rating,user_complete"]
    random = np.random.default_rng(0)
    rows += [f"{user},{joke},{random.uniform(-10, 10):.2f},1" for user in range(40) for joke in range(100)]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "ratings.csv").write_text("\n".join(rows) + "\n")
    options = ("--option", "records=request", "--option", "bias_strength=2.5")
    done = consort("data", "import", "ratings_matrix", "--input", tmp_path / "raw", "--out", tmp_path / "d", *options)
    assert done.code == 0, done.err
    expected = "consort data import ratings_matrix --input DIR --out DATA --option bias_strength=2.5"
    assert import_command(load_dataset(tmp_path / "d")) == f"{expected} --option records=request"
