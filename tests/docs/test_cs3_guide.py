"""What docs/cs3.md shows, runs; its tables name what is there."""

import dataclasses
import importlib
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from consort.config import load_config
from models.cotraining.cs3 import CS3Recipe
from models.registry import MODELS
from runs.config import parse_config
from runs.online.learn import REMEMBERED
from serving.versions import versions_in
from tests.helpers.command_line import consort
from tests.helpers.source_tree import ROOT

PAGE = (ROOT / "docs" / "cs3.md").read_text()
_CONSOLE = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
_BLOCKS = [[shlex.split(line)[1:] for line in block.splitlines()] for block in _CONSOLE]
_SMALLER = {"3000": "400", "4": "2"}


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
def test_the_run_tells_what_the_page_says(folder: Path) -> None:
    run = json.loads((folder / "run" / "run.json").read_text())
    row = run["training"]["history"][-1]
    told = PAGE.split("The history in `run.json`")[1].split("\n\n")[0]
    for key in re.findall(r"`((?:loss|logloss|auc)/\w+)`", told):
        assert key in row or key == "loss/auxiliary", key
    assert {"auc/peer_0", "logloss/peer_1"} <= set(row)
    assert all(count > 0 for count in run["recipe"]["written_ids"].values())
    assert run["retrieval"]["split"] == "eval" and 0 < run["retrieval"]["catalogue_recall@100"] <= 1
    assert set(run["recipe"]["written_ids"]) == {"cross_user", "cross_item", "cascade_user", "cascade_item"}


@pytest.mark.e2e
def test_the_winner_of_mutual_learning_taught_the_towers(folder: Path) -> None:
    run = json.loads((folder / "taught" / "run.json").read_text())
    row, teacher = run["training"]["history"][-1], run["recipe"]["teacher"]
    assert "logloss/peer_0" in row and not [name for name in row if "ranker" in name or "peer_1" in name]
    assert (teacher["model"], teacher["path"]) == ("simulated_mutual", str(folder / "ranker" / "model"))
    section = PAGE.split("## A ranker of an earlier run as teacher")[1].split("\n## ")[0]
    told = section.split("`run.json` tells its")[1].split(".")[0]
    assert all(name in told for name in ("path", "name", "version", "sha256", "width", "columns"))
    assert set(teacher) == {"path", "model", "version", "sha256", "hidden_width", "columns"}


def test_the_page_tells_of_all_rankers_that_can_teach_what_they_do_teach() -> None:
    section = PAGE.split("## A ranker of an earlier run as teacher")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in re.findall(r"^\|.*", section, re.M)[2:]]
    told = {name for cell in rows for name in re.findall(r"`(\w+)`", cell)}
    serving = (ROOT / "docs" / "serving.md").read_text()
    (row,) = re.findall(r"^\| `last_hidden`.*", serving, re.M)
    able = {name for name, path in MODELS.items() if _class_of(path).has_hidden}
    assert told == able == {name for name in re.findall(r"`(\w+)`", row) if name in MODELS}


def _class_of(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.e2e
def test_the_model_has_the_signatures_of_the_page(folder: Path) -> None:
    contract = json.loads((folder / "run" / "model" / "assets.extra" / "contract.json").read_text())
    told = PAGE.split("Its signatures are")[1].split("which answers")[0]
    names = set(re.findall(r"`(\w+)`", told))
    assert len(names) == 4 and names <= set(contract["signatures"])


@pytest.mark.e2e
def test_the_stream_was_learned_from_and_each_span_was_pushed(folder: Path) -> None:
    report = json.loads((folder / "online" / "online.json").read_text())
    assert [row["span"] for row in report["spans"]] == ["span-00001", "span-00002"]
    assert report["events"] == sum(row["events"] for row in report["spans"]) > 3000
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
    told = json.loads((folder / "anew" / "online.json").read_text())["recipe"]["caches_from"]
    assert told["run"] == "earlier" and set(told["stores"]["cross_user"]) == {"carried", "dropped", "new"}
    # Its ids are hashed.
    assert all(row["carried"] > 0 and row["dropped"] == 0 for row in told["stores"].values())


def test_what_a_stream_costs_is_that_of_the_committed_run() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "online.json").read_text())
    told = " ".join(PAGE.split("## What a stream costs")[1].split())
    assert f"{found['answers']:,} answers of {found['versions_answered']} versions, {found['failed']} failed" in told
    assert f"p50 {found['p50_ms']:.1f} ms and p99 {found['p99_ms']:.1f} ms" in told
    assert f"{found['memory_mb_early']:,.0f} MB early and {found['memory_mb_late']:,.0f} MB late" in told
    assert found["spans"] == found["versions_answered"] == 20 and not found["failures"]


def test_options_and_their_defaults_are_those_of_the_recipe() -> None:
    section = PAGE.split("## Options\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*", section, re.M)[2:]]
    found: dict[str, str] = {}
    for names, defaults, _ in rows:
        own, values = re.findall(r"`([^`]+)`", names), re.findall(r"`([^`]+)`", defaults)
        found |= dict(zip(own, values * len(own) if len(values) == 1 else values, strict=False))
    assert found == {
        field.name: yaml.safe_dump(field.default).splitlines()[0] for field in dataclasses.fields(CS3Recipe)
    }


def test_the_run_file_is_right() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    config = parse_config(yaml.safe_load(text))
    assert CS3Recipe(**config.recipe.options).alpha == 0.9
    assert config.model.options["cycle_adaptive"] == ["user"]


@pytest.mark.parametrize("name", ["simulated_cs3", "simulated_cs3_online"])
def test_presets_of_the_page_train_two_towers(name: str) -> None:
    config: Any = load_config(name)
    assert name in PAGE and config.recipe.name == "cs3" and config.model.name in MODELS
    assert config.training.epochs == 1


def test_as_many_events_are_remembered_as_the_page_says() -> None:
    assert f"among the last {REMEMBERED:,}" in PAGE
