"""The commands of docs/cs3.md run."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from serving.versions import versions_in
from tests.helpers.command_line import consort
from tests.helpers.source_tree import ROOT

PAGE = (ROOT / "docs" / "cs3.md").read_text()
_CONSOLE = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
_BLOCKS = [[shlex.split(line)[1:] for line in block.splitlines()] for block in _CONSOLE]
_SMALLER = {"3000": "150", "4": "2"}

pytestmark = pytest.mark.usefixtures("eagerly", "each_transform_once")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of the page ran, on a smaller log; the pipeline has a test of its own."""
    folder = tmp_path_factory.mktemp("cs3")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        first, pipeline, stream, teaching, anew = _BLOCKS
        assert [command[1] for command in pipeline] == ["pipeline"]
        for command in (*first, *stream, *teaching, *anew):
            _run(command)
    return folder


def _run(command: list[str]) -> None:
    if command[0] != "consort":
        subprocess.run(command, check=True)
        return
    answer = consort(*(_SMALLER.get(part, part) for part in command[1:]))
    assert answer.code == 0, answer.err


@pytest.mark.e2e
def test_the_run_reports_losses_caches_and_retrieval(folder: Path) -> None:
    run = json.loads((folder / "run" / "run.json").read_text())
    row = run["training"]["history"][-1]
    assert {"auc/towers", "logloss/ranker"} <= set(row)
    assert all(count > 0 for count in run["recipe"]["cached_ids"].values())
    assert run["retrieval"]["split"] == "eval" and 0 < run["retrieval"]["catalogue_recall@100"] <= 1
    assert 0 < run["retrieval"]["true_value@10"] < run["retrieval"]["oracle_true_value@10"]
    assert set(run["recipe"]["cached_ids"]) == {"cross_user", "cross_item", "cascade_user", "cascade_item"}


@pytest.mark.e2e
def test_the_winner_of_mutual_learning_taught_the_towers(folder: Path) -> None:
    run = json.loads((folder / "taught" / "run.json").read_text())
    row, teacher = run["training"]["history"][-1], run["recipe"]["teacher"]
    assert "logloss/towers" in row and not [name for name in row if "ranker" in name]
    assert (teacher["model"], teacher["path"]) == ("simulated_mutual", str(folder / "ranker" / "model"))
    assert set(teacher) == {"path", "model", "version", "sha256", "hidden_width", "columns"}


@pytest.mark.e2e
def test_the_model_can_be_asked_for_scores_vectors_and_items(folder: Path) -> None:
    contract = json.loads((folder / "run" / "model" / "assets.extra" / "contract.json").read_text())
    assert {"serving_default", "user_embedding", "item_embedding", "retrieve"} <= set(contract["signatures"])


@pytest.mark.e2e
def test_the_stream_was_learned_from_and_each_span_was_pushed(folder: Path) -> None:
    report = json.loads((folder / "online" / "online.json").read_text())
    assert [row["span"] for row in report["spans"]] == ["span-00001", "span-00002"]
    assert report["events"] == sum(row["events"] for row in report["spans"]) > 1000
    assert {"duplicates", "late", "dropped"} <= set(report["spans"][0])
    versions = versions_in(folder / "served" / "simulated_cs3_online")
    assert len(versions) == 2
    contracts = [json.loads((path / "assets.extra" / "contract.json").read_text()) for _, path in versions]
    assert contracts[0]["run"]["events"] < contracts[1]["run"]["events"] == report["events"]


@pytest.mark.e2e
def test_the_same_command_has_nothing_to_do_when_all_is_learned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    before = versions_in(folder / "served" / "simulated_cs3_online")
    answer = consort(*_BLOCKS[2][1][1:])
    assert answer.code == 0 and versions_in(folder / "served" / "simulated_cs3_online") == before


@pytest.mark.e2e
def test_a_run_anew_began_with_the_caches_of_the_earlier_one(folder: Path) -> None:
    reported = json.loads((folder / "anew" / "online.json").read_text())["recipe"]["caches_from"]
    assert reported["run"] == "earlier" and set(reported["stores"]["cross_user"]) == {"carried", "dropped", "new"}
    # Its ids are hashed.
    assert all(row["carried"] > 0 and row["dropped"] == 0 for row in reported["stores"].values())
