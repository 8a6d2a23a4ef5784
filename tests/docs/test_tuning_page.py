"""The commands of docs/tuning.md run."""

import json
import shlex

import pytest

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
