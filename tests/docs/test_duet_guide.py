"""What docs/duet.md shows, runs; its tables name what is there."""

import dataclasses
import inspect
import itertools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from consort.config import load_config
from models.cotraining.base import build_recipe
from models.cotraining.duet import COLLAPSE, DIVERGENCE, LEAST_DEGREE, DuetRecipe
from models.cotraining.entire_space import METHODS, EntireSpaceRecipe
from models.preranking.set_ranker import SetRanker
from runs.config import parse_config
from tests.helpers.command_line import consort
from tests.helpers.set_batches import INPUTS, SIZES
from tests.helpers.source_tree import ROOT

PAGE = (ROOT / "docs" / "duet.md").read_text()
_CONSOLE = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
_BLOCKS = [[shlex.split(line)[2:] for line in block.splitlines()] for block in _CONSOLE]


def _rows(heading: str, table: int = 0) -> list[list[str]]:
    """Cells of a table under a heading, without its first two lines."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    tables = [part.splitlines() for part in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[table][2:]]


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
    told = PAGE[PAGE.index("`evaluate` tells") :].split("[metrics.md]")[0]
    keys = set(re.findall(r"`(\w+)`", told)) - {"evaluate"}
    assert len(keys) == 7 and keys <= set(metrics)
    assert {"oracle_auc_unexposed", "logging_auc_unexposed", "recall@10", "ndcg@10"} <= set(metrics)
    recipe = json.loads((folder / "run" / "run.json").read_text())["recipe"]
    assert [peer["model"] for peer in recipe["peers"]] == ["SetRanker"] * 2 and recipe["best_peer"] in (0, 1)
    assert isinstance(recipe["warnings"], list)


@pytest.mark.e2e
def test_the_history_has_what_the_page_says(trained: tuple[Path, dict[str, Any]]) -> None:
    row = json.loads((trained[0] / "run" / "run.json").read_text())["training"]["history"][-1]
    shown = re.findall(r"`([\w/]+)`", " ".join(cells[0] for cells in _rows("What to watch")))
    assert len(shown) >= 10
    for key in set(shown) - {"loss/stage"}:
        assert key in row, key
        assert key.startswith("degree") or f"eval_{key}" in row, key


@pytest.mark.e2e
def test_the_baseline_of_the_page_is_a_run_that_the_data_takes(trained: tuple[Path, dict[str, Any]]) -> None:
    from runs.building import recipe_of
    from runs.plan import check_model
    from transforms.records import load_dataset

    ((_, preset, *parts),) = _BLOCKS[2]
    settings = tuple(value for option, value in itertools.pairwise(parts) if option == "--set")
    config, recipe = load_config(preset, settings), EntireSpaceRecipe("dr")
    assert recipe_of(config) == recipe
    check_model(config, load_dataset(trained[0] / "log").feature_set, "")


def test_the_commands_of_the_pipeline_are_right() -> None:
    assert [command[:2] for command in _BLOCKS[1]] == [["pipeline", "run"], ["serve", "root"]]
    answer = consort("pipeline", "run", "--help")
    assert answer.code == 0 and {"--data", "--root"} <= set(re.findall(r"--\w+", answer.out))
    assert len(_BLOCKS) == 3


def test_options_and_their_defaults_are_those_of_the_recipe() -> None:
    shown = {cells[0].strip("`"): cells[2].strip("`") for cells in _rows("Options")}
    fields = {field.name: field.default for field in dataclasses.fields(DuetRecipe)}
    assert set(shown) == set(fields)
    for name, default in fields.items():
        if name != "models":
            assert str(default).lower() == shown[name].lower(), name


@pytest.mark.parametrize("option", ["consistency_schedule", "consistency_support", "average"])
def test_values_of_the_page_are_all_that_there_are(option: str) -> None:
    from models.preranking.set_ranker import SetRanker

    (row,) = [cells for cells in _rows("Options") if cells[0] == f"`{option}`"]
    values = re.findall(r"`(\w+)`", row[1])
    assert len(values) >= 2
    for value in values:
        build_recipe("duet", **{option: value}).check([SetRanker(INPUTS, SIZES)])
    with pytest.raises(ValueError, match=f"expected one of {', '.join(values)}"):
        build_recipe("duet", **{option: "other"}).check([SetRanker(INPUTS, SIZES)])


def test_the_run_file_is_right() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    config = parse_config(yaml.safe_load(text))
    recipe: Any = build_recipe(config.recipe.name, **config.recipe.options)
    assert (recipe.average, recipe.warmup_steps, recipe.consistency_steps) == ("group_mean", 100, 200)


@pytest.mark.parametrize("name", ["simulated_duet", "simulated_duet_stages", "ebnerd_duet"])
def test_presets_of_the_page_are_there(name: str) -> None:
    assert f"`{name}`" in [cells[0] for cells in _rows("By the command line")]
    config = load_config(name)
    recipe: Any = build_recipe(config.recipe.name, **config.recipe.options)
    assert recipe.consistency_weight == 0.1 and config.record == "request"
    assert (recipe.stage_weight > 0) == (name == "simulated_duet_stages")


def test_methods_of_the_page_are_those_of_the_recipe() -> None:
    rows = {cells[0].strip("`"): " ".join(cells[1:]) for cells in _rows("Baselines")}
    assert list(rows) == list(METHODS)
    for name, text in rows.items():
        named = set(re.findall(r"`(\w+)`", text)) - {"all", "stage_weight", "stages"}
        assert named <= set(METHODS[name].options), name


def test_bounds_of_the_warnings_are_those_of_the_code() -> None:
    bounds = [float(re.findall(r"(?:above|below) ([\d.]+)", cells[1])[0]) for cells in _rows("What to watch", 1)]
    assert bounds == [COLLAPSE, DIVERGENCE, LEAST_DEGREE]


def test_what_can_be_set_where_the_paper_is_silent_exists() -> None:
    known = {field.name for field in dataclasses.fields(DuetRecipe)} | set(inspect.signature(SetRanker).parameters)
    named = {name for cells in _rows("Where the paper is silent") for name in re.findall(r"`(\w+)`", cells[2])}
    assert len(named) >= 14 and named - {"training"} <= known


def test_the_python_of_the_page_trains_a_pair_and_gives_one_model() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/duet.md", "exec"), names)
    assert names["logits"].shape == (400, 30) and np.isfinite(names["history"]["loss"]).all()
    np.testing.assert_allclose(names["logits"], names["pair"](names["features"])["peer_0"], atol=1e-5)
