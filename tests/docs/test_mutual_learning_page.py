"""The commands and the Python of docs/mutual_learning.md run."""

import json
import re
import shlex

import pytest

from tests.helpers.command_line import consort
from tests.helpers.source_tree import ROOT

PAGE = (ROOT / "docs" / "mutual_learning.md").read_text()


def test_the_python_of_the_page_trains_a_group_and_gives_one_model():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(compile(code, "docs/mutual_learning.md", "exec"), names)
    assert {"loss/bce", "loss/mutual", "logloss/peer_0"} <= set(names["history"])
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
