"""`consort query --retrieve` and `consort index`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.retrieval.index_kinds import Hnsw
from serving.server.server import LocalServer
from tests.helpers.command_line import consort
from tests.helpers.served_towers import NAME, ToyTowers


@pytest.fixture(scope="module")
def address(towers: ToyTowers) -> Iterator[str]:
    with LocalServer({NAME: towers.base}) as server:
        server.wait_ready(120)
        yield server.address


def test_query_asks_for_the_best_items_of_logged_users(towers: ToyTowers, address: str, tmp_path: Path) -> None:
    told, common = tmp_path / "answer.json", ("--data", towers.folder / "data", "--count", 2, "--address", address)
    answer = consort("query", NAME, *common, "--retrieve", "--k", 3, "--json", told)
    assert answer.code == 0, answer.err
    outputs = json.loads(told.read_text())["outputs"]
    best = outputs["item_id"]
    assert [len(row) for row in best] == [3, 3] and all(one.startswith("i") for row in best for one in row)
    assert all(row == sorted(row, reverse=True) for row in outputs["score"])
    answer = consort("query", NAME, *common, "--retrieve", "--k", 2, "--exclude", best[0][0], "--json", told)
    assert answer.code == 0, answer.err
    assert json.loads(told.read_text())["outputs"]["item_id"][0] == best[0][1:]


def test_query_by_a_file_needs_neither_k_nor_ids_to_leave_out(towers: ToyTowers, address: str, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs.json"
    inputs.write_text(json.dumps({"user_id": ["u1"], "timestamp": [345600], "history": [["i3", "i4"]]}))
    common = ("query", NAME, "--inputs", inputs, "--address", address)
    answer = consort(*common, "--signature", "retrieve", "--k", 4)
    assert answer.code == 0, answer.err
    assert "item_id" in answer.out and "b'" not in answer.out
    assert consort(*common, "--retrieve").code == 0
    refused = consort(*common, "--retrieve", "--k", 21)
    assert refused.code == 1 and "expected 1 to 20" in refused.err


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--k", 3), "--k; expected --retrieve with it"), (("--retrieve", "--signature", "plain"), "one of them")],
)
def test_options_that_do_not_go_together_are_refused(options: tuple[Any, ...], said: str, towers: ToyTowers) -> None:
    answer = consort("query", NAME, "--data", towers.folder / "data", *options)
    assert answer.code == 2 and said in answer.err


def test_index_is_built_beside_the_version_and_tells_its_recall(towers: ToyTowers, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    answer = consort("index", towers.base, "--out", tmp_path / "index", "--queries", 20, "--json", told)
    assert answer.code == 0, answer.err
    assert "recall.value" in answer.out and (tmp_path / "index" / "index.faiss").is_file()
    assert json.loads(told.read_text()) == json.loads((tmp_path / "index" / "index.json").read_text())
    assert "date" in json.loads(told.read_text())["machine"]
    again = consort("index", towers.base, "--out", tmp_path / "index")
    assert again.code == 2 and "a new or empty folder" in again.err


def test_index_ends_with_4_below_the_recall_and_with_3_without_the_package(
    towers: ToyTowers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Hnsw.search
    monkeypatch.setattr(Hnsw, "search", lambda *args: (search(*args)[0] * 0, None))
    answer = consort("index", towers.base, "--out", tmp_path / "index", "--queries", 20, "--min-recall", 0.9)
    assert answer.code == 4 and "recall@20" in answer.err and "expected at least 0.9" in answer.err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    answer = consort("index", towers.base, "--out", tmp_path / "index", "--kind", "scann")
    assert answer.code == 3 and "pip install --no-deps scann==1.3.2" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_index_of_a_model_without_a_catalogue_is_refused(tmp_path: Path) -> None:
    answer = consort("index", tmp_path, "--out", tmp_path / "index")
    assert answer.code == 2 and "received an empty folder" in answer.err
