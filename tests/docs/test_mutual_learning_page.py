"""What docs/mutual_learning.md shows, runs."""

import dataclasses
import json
import re
import shlex
from typing import Any

import pytest
import yaml

from consort.config import load_config
from runs.config import parse_config
from tests.helpers.command_line import consort
from tests.helpers.source_tree import ROOT

PAGE = (ROOT / "docs" / "mutual_learning.md").read_text()


def test_the_python_of_the_page_trains_a_group_and_gives_one_model():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(compile(code, "docs/mutual_learning.md", "exec"), names)
    for key in re.findall(r"`((?:loss|auc|logloss)/\w+)`", PAGE):
        assert key in names["history"], key
    assert names["history"]["auc/peer_0"][0] > 0.6
    served, group = names["served"], names["group"]
    logits = group(names["features"])["peer_0"].numpy()
    assert abs(served(names["features"]).numpy() - logits).max() < 1e-5


@pytest.mark.e2e
def test_the_commands_of_the_recipe_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)[0]
    commands = [shlex.split(line)[2:] for line in block.splitlines()]
    assert [command[0] for command in commands] == ["data", "train", "evaluate"]
    for command in commands:
        answer = consort(*command)
        assert answer.code == 0, answer.err
    recipe = json.loads((tmp_path / "together" / "run.json").read_text())["recipe"]
    assert [peer["model"] for peer in recipe["peers"]] == ["DeepFM", "DeepFM", "DCN"] and len(
        recipe["pretraining"]
    ) == 3
    assert float(re.findall(r"metrics\.auc +([\d.]+)", answer.out)[0]) > 0.6


def test_the_section_of_the_run_file_is_right_and_whole():
    from models.cotraining.base import build_recipe
    from models.cotraining.mutual_learning import MutualLearningRecipe

    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    section = parse_config({"name": "mine", "source": "toy", **yaml.safe_load(text)}).recipe
    built = build_recipe(section.name, **section.options)
    shown = set(section.options)
    assert {field.name for field in dataclasses.fields(MutualLearningRecipe)} - shown <= {"decay_epochs"}
    plain = MutualLearningRecipe()
    different = {name for name in shown if getattr(built, name) != getattr(plain, name) and name != "pretrained"}
    assert different == {"models"}


@pytest.mark.parametrize("name", ["criteo_mutual", "avazu_mutual", "simulated_ctr_mutual"])
def test_the_presets_of_the_page_are_there_and_their_recipes_are_right(name):
    from models.cotraining.base import build_recipe

    assert f"`{name}`" in PAGE
    config = load_config(name)
    recipe: Any = build_recipe(config.recipe.name, **config.recipe.options)
    assert recipe.mutual_weight == 1.0 and recipe.epochs == 1
    if name != "simulated_ctr_mutual":
        assert (config.training.batch_size, config.model.embedding_dim, recipe.num_peers) == (4000, 16, 4)
        assert config.model.hidden_units == (400, 200, 100) and config.training.decay_epochs == 3


def test_the_options_of_the_tables_command_are_those_of_the_page():
    shown = set(re.findall(r"(?<=[ `])(--[a-z-]+)", PAGE[PAGE.index("## The tables") :])) - {"--input"}
    answer = consort("table", "mutual", "--help")
    assert answer.code == 0 and all(option in answer.out for option in shown)
    assert {"--data", "--groups", "--render-only", "--workers"} <= shown
