"""docs/own_logs.md, word for word: its log is what its script makes, and its commands lead to a served answer."""

import csv
import json
import re
import shlex
import shutil
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from serving.server.server import LocalServer
from tests.helpers.command_line import consort
from tests.helpers.imported_records import all_records
from tests.helpers.source_tree import ROOT
from transforms.records import load_dataset

PAGE = (ROOT / "docs" / "own_logs.md").read_text()
FOLDER = ROOT / "docs" / "own_logs"

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("own") / "logs"
    shutil.copytree(FOLDER, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def test_the_page_shows_the_files(work: Path) -> None:
    for name in ("cookbook.yaml", "deepfm.yaml"):
        assert f"```yaml\n{(work / name).read_text()}```" in PAGE
    shown = re.findall(r"^(?:visit;|0;|\{).*", PAGE, re.MULTILINE)
    log = (work / "visits.csv").read_text().splitlines() + (work / "recipes.jsonl").read_text().splitlines()
    assert len(shown) == 4 and not set(shown) - set(log)


def test_the_script_makes_the_log(work: Path) -> None:
    names: dict[str, Any] = {"__name__": "make_log"}
    exec((work / "make_log.py").read_text(), names)
    before = [(work / name).read_bytes() for name in ("visits.csv", "recipes.jsonl")]
    names["main"]()
    assert [(work / name).read_bytes() for name in ("visits.csv", "recipes.jsonl")] == before


def test_the_commands_lead_to_a_served_answer(work: Path) -> None:
    commands = [shlex.split(line)[2:] for line in PAGE.splitlines() if line.startswith("$ consort")]
    assert [command[0] for command in commands] == ["data", "data", "train", "evaluate", "export", "serve", "query"]
    for command in commands[:5]:
        answer = consort(*command, *(["--json", "metrics.json"] if command[0] == "evaluate" else []))
        assert answer.code == 0, answer.err
    assert json.loads((work / "metrics.json").read_text())["metrics"]["auc"] > 0.6
    with LocalServer({"cookbook_deepfm": work / "served" / "cookbook_deepfm"}) as server:
        server.wait_ready(60)
        answer = consort(*commands[6], "--address", server.address)
    assert answer.code == 0 and "outputs.probability" in answer.out, answer.err


def test_histories_counts_and_joins_are_those_of_a_loop_over_the_rows(work: Path) -> None:
    if not (work / "data").exists():
        assert consort("data", "import", "cookbook.yaml", "--out", "data").code == 0
    expected = _by_hand(work)
    requests = all_records(work / "data", "request")
    assert sum(len(some) for some in requests.values()) == len(expected)
    for (request,) in requests.values():
        rows = expected[request["request_id"].decode()]
        assert request["item_id"].tolist() == [row["item_id"] for row in rows]
        assert request["cooked_before"].tolist() == rows[0]["cooked_before"]
        assert request["courses_before"].tolist() == rows[0]["courses_before"]
        for name in ("times_shown", "times_cooked", "minutes", "label", "exposed"):
            np.testing.assert_array_equal(request[name], [row[name] for row in rows], name)
        np.testing.assert_allclose(request["published"], [row["published"] for row in rows], rtol=1e-6)
    shown = all_records(work / "data", "row")
    for name, rows in expected.items():
        row_ids = [row["item_id"] for row in shown[name.encode()]]
        assert row_ids == [row["item_id"] for row in rows if row["exposed"]]


def _by_hand(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The requests of the log, computed row by row: each has the time of its first row."""
    recipes = {str(one["id"]): one for line in (folder / "recipes.jsonl").open() for one in [json.loads(line)]}
    zone, requests = ZoneInfo("Europe/Vienna"), defaultdict(list)
    for line in csv.DictReader((folder / "visits.csv").open(), delimiter=";"):
        time = datetime.strptime(line["opened"], "%d.%m.%Y %H:%M:%S").replace(tzinfo=zone).timestamp()
        requests[line["visit"]].append((int(time), line))
    cooked, shown, of_item = defaultdict(list), defaultdict(list), defaultdict(list)
    for rows in requests.values():
        for time, line in rows:
            if line["cooked"] == "1":
                cooked[line["visitor"]].append((time, line["recipe"]))
                of_item[line["recipe"]].append(time)
            if line["shown"] == "1":
                shown[line["recipe"]].append(time)
    result = {}
    for name, rows in requests.items():
        start, visitor = rows[0][0], rows[0][1]["visitor"]
        before = [recipe for time, recipe in sorted(cooked[visitor]) if time < start][-20:]
        result[name] = [
            {
                "item_id": line["recipe"].encode(),
                "label": float(line["cooked"]),
                "exposed": int(line["shown"]),
                "cooked_before": [recipe.encode() for recipe in before],
                "courses_before": [recipes[recipe]["course"].encode() for recipe in before],
                "times_shown": bisect_left(sorted(shown[line["recipe"]]), start - 3600),
                "times_cooked": bisect_left(sorted(of_item[line["recipe"]]), start - 3600),
                "minutes": recipes[line["recipe"]]["minutes"],
                "published": (start - _midnight(recipes[line["recipe"]]["published"], zone)) / 86400,
            }
            for _, line in rows
        ]
    return result


def _midnight(day: str, zone: ZoneInfo) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=zone).timestamp()


def test_the_dataset_is_the_same_with_two_workers_and_names_no_folder(work: Path) -> None:
    options = ("--beam-arg=--runner=FnApiRunner", "--beam-arg=--direct_num_workers=2")
    assert consort("data", "import", "cookbook.yaml", "--out", "again", *options).code == 0
    dataset = load_dataset(work / "again")
    assert dataset.sha256 == load_dataset(work / "data").sha256
    assert dataset.source == "cookbook" and dataset.origin["declaration"]["item_id"] == "recipe"
    assert dataset.origin["files"] == {"log": ["visits.csv"], "items": ["recipes.jsonl"]}
    assert str(work.parent) not in json.dumps(dataset.origin)
