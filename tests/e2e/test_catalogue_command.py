"""Recall over the whole catalogue by the command line: once after training, and of what was exported."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import consort
from tests.helpers.toy_data import write_learnable
from transforms.records import load_dataset

pytestmark = pytest.mark.e2e

_RUN = """
name: toy_towers
source: toy
model: {name: %s, embedding_dim: 4, hidden_units: [8, 4]}
training: {batch_size: 64, learning_rate: 0.01}
recipe: {name: %s}
"""


@pytest.mark.parametrize(("model", "recipe"), [("dssm", "cs3"), ("int_tower", "single")])
def test_training_and_evaluation_tell_the_same_recall(tmp_path: Path, model: str, recipe: str) -> None:
    (tmp_path / "run.yaml").write_text(_RUN % (model, recipe))
    write_learnable(tmp_path / "log")
    trained = consort("train", tmp_path / "run.yaml", "--data", tmp_path / "log", "--out", tmp_path / "run")
    assert trained.code == 0, trained.err
    told = json.loads((tmp_path / "run" / "run.json").read_text())["retrieval"]
    lines = dict(line.split(maxsplit=1) for line in trained.out.splitlines())
    assert float(lines["retrieval.catalogue_recall@10"]) == pytest.approx(told["catalogue_recall@10"], rel=1e-5)
    assert lines["retrieval.split"] == told.pop("split") == "eval"
    assert told["items"] == 20 and told["not_in_catalogue"] == 0 and 0 < told["catalogue_recall@10"] < 1

    for split in ("eval", "test"):
        out = tmp_path / f"{split}.json"
        command = ("evaluate", tmp_path / "run", "--data", tmp_path / "log", "--split", split, "--resamples", 0)
        evaluated = consort(*command, "--json", out)
        assert evaluated.code == 0, evaluated.err
        found: dict[str, Any] = json.loads(out.read_text())["retrieval"]
        assert "retrieval.catalogue_recall@1 " in evaluated.out
        dataset = load_dataset(tmp_path / "log")
        assert found["clicks"] == dataset.records["row"][split].positives
        if split == "eval":
            assert found == pytest.approx(told, abs=1e-6)


def test_a_model_without_towers_has_no_catalogue(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(_RUN % ("deepfm", "single"))
    write_learnable(tmp_path / "log")
    trained = consort("train", tmp_path / "run.yaml", "--data", tmp_path / "log", "--out", tmp_path / "run")
    assert trained.code == 0 and "retrieval" not in trained.out
    assert "retrieval" not in json.loads((tmp_path / "run" / "run.json").read_text())
    evaluated = consort("evaluate", tmp_path / "run", "--data", tmp_path / "log", "--resamples", 0)
    assert evaluated.code == 0 and "retrieval" not in evaluated.out
