"""Runs that begin with the caches of an earlier one, by the command line: `consort train`, then `consort online`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from serving.contract import read_contract
from serving.versions import versions_in
from tests.helpers.command_line import consort
from tests.helpers.toy_data import learnable_rows, toy_features
from transforms.batches import Batch
from transforms.features import Split
from transforms.spans import cut_spans
from transforms.writing import write_dataset

pytestmark = pytest.mark.e2e

_RUN = """
name: toy_towers
source: toy
model: {name: dssm, embedding_dim: 4, hidden_units: [8, 4]}
training: {batch_size: 64, learning_rate: 0.01}
recipe: {name: cs3}
"""
_DAY = 86400
_LONGER = 400 * 60
"""More than all rows of a part span."""


def _rows(split: Split, count: int, later: int) -> Batch:
    rows = learnable_rows(split, count, later)
    times: Any = rows.columns["timestamp"]
    return dataclasses.replace(rows, columns={**rows.columns, "timestamp": times + later * _LONGER})


def _write(folder: Path, first: int) -> None:
    splits: tuple[Split, ...] = ("train", "eval", "test")
    batches = [_rows(split, 300, first + place) for place, split in enumerate(splits)]
    write_dataset(batches, folder, "toy", toy_features(), {"seed": first})


def test_the_vectors_of_a_run_are_taken_over_by_the_next_ones(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(_RUN)
    _write(tmp_path / "log", 0)
    _write(tmp_path / "later", 3)
    cut_spans(tmp_path / "later", tmp_path / "stream", 1)

    def command(verb: str, out: str, source: str, *more: object) -> Any:
        data = {"train": "--data", "online": "--stream"}[verb]
        return consort(verb, tmp_path / "run.yaml", data, tmp_path / source, "--out", tmp_path / out, *more)

    assert command("train", "old", "log").code == 0
    run = json.loads((tmp_path / "old" / "run.json").read_text())
    cached = run["recipe"]["cached_ids"]
    old, served = f"recipe.options.caches_from={tmp_path / 'old'}", ("--serve", tmp_path / "served")
    for verb, source, report, more in (("train", "later", "run.json", ()), ("online", "stream", "online.json", served)):
        answer = command(verb, verb, source, "--set", old, *more)
        assert answer.code == 0, answer.err
        stores = json.loads((tmp_path / verb / report).read_text())["recipe"]["caches_from"]["stores"]
        # Both logs have all users and items.
        assert {name: row["carried"] for name, row in stores.items()} == cached
        assert answer.err.count("caches of") == 1 and f"cross_user {cached['cross_user']} carried" in answer.err
    _, version = versions_in(tmp_path / "served" / "toy_towers")[-1]
    assert read_contract(version)["run"]["recipe"]["caches_from"]["run"] == str(tmp_path / "old")

    # Neither do they begin with vectors of their own days or of later ones.
    for verb, source in (("train", "log"), ("online", "stream")):
        answer = command(verb, "wrong", source, "--set", f"recipe.options.caches_from={tmp_path / 'online'}")
        assert answer.code == 2 and "that have seen events up to" in answer.err and "Fix: begin" in answer.err
        assert not (tmp_path / "wrong").exists()
