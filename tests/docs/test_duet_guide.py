"""The commands and the Python of docs/duet.md run."""

import itertools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consort.config import load_config
from models.cotraining.entire_space import EntireSpaceRecipe
from tests.helpers.command_line import consort
from tests.helpers.source_tree import ROOT

PAGE = (ROOT / "docs" / "duet.md").read_text()
_CONSOLE = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
_BLOCKS = [[shlex.split(line)[2:] for line in block.splitlines()] for block in _CONSOLE]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("duet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert [command[0] for command in _BLOCKS[0]] == ["data", "train", "evaluate"]
        assert _BLOCKS[0][0][2:4] == ["--requests", "5000"]
        for command in _BLOCKS[0]:
            small = ["300" if part == "5000" else part for part in command]
            small += ["--set", "training.epochs=1"] if command[0] == "train" else []
            answer = consort(*small)
            assert answer.code == 0, answer.err
    return folder, json.loads((folder / "metrics.json").read_text())["metrics"]


@pytest.mark.e2e
def test_the_commands_train_a_pair_and_measure_one_of_it(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, metrics = trained
    assert {"oracle_auc_unexposed", "logging_auc_unexposed", "recall@10", "ndcg@10"} <= set(metrics)
    recipe = json.loads((folder / "run" / "run.json").read_text())["recipe"]
    assert [peer["model"] for peer in recipe["peers"]] == ["SetRanker"] * 2 and recipe["best_peer"] in (0, 1)
    assert isinstance(recipe["warnings"], list)


@pytest.mark.e2e
def test_the_history_has_the_terms_of_the_loss_and_the_monitors(trained: tuple[Path, dict[str, Any]]) -> None:
    row = json.loads((trained[0] / "run" / "run.json").read_text())["training"]["history"][-1]
    for key in ("loss", "loss/bce", "loss/consistency", "logloss/peer_0", "auc/peer_1", "agreement", "disagreement"):
        assert key in row and f"eval_{key}" in row, key


@pytest.mark.e2e
def test_the_baseline_of_the_page_is_a_run_that_the_data_takes(trained: tuple[Path, dict[str, Any]]) -> None:
    from runs.building import recipe_of
    from runs.plan import check_model
    from transforms.records import load_dataset

    ((_, preset, *parts),) = _BLOCKS[2]
    settings = tuple(value for option, value in itertools.pairwise(parts) if option == "--set")
    config, recipe = load_config(preset, settings), EntireSpaceRecipe("dr")
    assert recipe_of(config) == recipe
    check_model(config, load_dataset(trained[0] / "log").feature_set)


def test_the_python_of_the_page_trains_a_pair_and_gives_one_model() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/duet.md", "exec"), names)
    assert names["logits"].shape == (400, 30) and np.isfinite(names["history"]["loss"]).all()
    np.testing.assert_allclose(names["logits"], names["pair"](names["features"])["peer_0"], atol=1e-5)
