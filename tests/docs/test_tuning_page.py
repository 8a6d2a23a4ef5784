"""The commands and the run file of docs/tuning.md work, and give what the page says."""

import json
import re
import shlex

import pytest
import yaml

from consort.config import load_config
from runs.config import parse_config
from tests.helpers.command_line import consort
from tests.helpers.source_tree import ROOT

PAGE = (ROOT / "docs" / "tuning.md").read_text()


@pytest.mark.e2e
def test_the_commands_run_and_the_best_run_trains_to_the_best_trials_score(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line)[2:] for line in PAGE.splitlines() if line.startswith("$ consort")]
    assert [command[0] for command in commands] == ["data", "tune", "train", "evaluate"]
    for command in commands:
        answer = consort(*command)
        assert answer.code == 0, answer.err
    found = json.loads((tmp_path / "found.json").read_text())
    metrics = found["trials"][found["best"]["trial"]]["metrics"]
    assert found["best"]["score"] == metrics["eval_logloss"] == min(trial["score"] for trial in found["trials"])
    trained = json.loads((tmp_path / "best.json").read_text())["metrics"]
    assert metrics["eval_logloss"] == pytest.approx(trained["logloss"], abs=1e-4)
    assert metrics["eval_auc"] == pytest.approx(trained["auc"], abs=1e-4)


def test_the_pages_run_file_is_right():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    tuning = parse_config({"name": "mine", "source": "toy", **yaml.safe_load(text)}).tuning
    assert len(tuning.space) == 3 and tuning.memory_gb == 4


def test_the_override_on_the_page_is_right():
    (override,) = re.findall(r"--set '([^']+)'", PAGE)
    assert "model.dropout" in load_config("simulated_deepfm", (override,)).tuning.space


def test_the_page_names_every_key_of_the_section():
    from runs.tuning.config import TuningConfig

    assert [key for key in TuningConfig.model_fields if not re.search(rf"\b{key}\b", PAGE)] == []
