"""`consort data simulate`: the world decides what is simulated, and in which unit its size is told."""

import json
import re
from pathlib import Path

import pytest

from tests.helpers.command_line import consort


def test_world_ctr_gives_a_log_of_rows(tmp_path: Path) -> None:
    out = tmp_path / "log"
    answer = consort(
        "data", "simulate", "--world", "ctr", "--rows", 2000, "--seed", 3, "--out", out, "--json", tmp_path / "a.json"
    )
    assert answer.code == 0, answer.err
    written = json.loads((tmp_path / "a.json").read_text())
    assert written["source"] == "ctr_simulator"
    assert list(written["records"]) == ["row"]
    assert sum(split["records"] for split in written["records"]["row"].values()) == 2000
    assert 0.7 < written["notes"]["row"]["train"]["oracle_auc"] < 0.9
    assert written["rows_per_s"] > 0
    described = consort("data", "describe", out, "--verify", "--json", tmp_path / "b.json")
    assert described.code == 0
    assert json.loads((tmp_path / "b.json").read_text())["never_inputs"] == ["true_click_probability"]


def test_a_world_file_of_ones_own_says_by_its_kind_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("kind: ctr\nclick_rate: 0.5\n")
    answer = consort("data", "simulate", "--world", file, "--rows", 100, "--out", tmp_path / "log")
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "log" / "dataset.json").read_text())["origin"]["world"]["click_rate"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--world", "ctr", "--requests", 5), "--requests: received 5.*pass --rows instead"),
        (("--rows", 5), "--rows: received 5.*pass --requests instead"),
        (("--world", "no_bias", "--rows", 5), "--rows: received 5.*pass --requests instead"),
        (("--world", "ctr", "--rows", 0), "rows: received 0; expected 1 or more"),
        (("--world", "crt"), "crt: received no such file or world.*did you mean 'ctr'"),
    ],
)
def test_a_size_in_the_wrong_unit_or_an_unknown_world_is_refused(tmp_path: Path, arguments, message) -> None:
    answer = consort("data", "simulate", *arguments, "--out", tmp_path / "log")
    assert answer.code == 2
    assert re.search(message, " ".join(answer.err.split()))
    assert not (tmp_path / "log").exists()


def test_requests_still_size_a_cascade(tmp_path: Path) -> None:
    answer = consort("data", "simulate", "--requests", 20, "--out", tmp_path / "log")
    assert answer.code == 0, answer.err
    assert "candidate_rows_per_s" in answer.out
    assert json.loads((tmp_path / "log" / "dataset.json").read_text())["source"] == "simulator"


def test_both_simulators_are_listed() -> None:
    answer = consort("data", "list")
    assert answer.code == 0
    for word in ("avazu", "ctr_simulator", "simulator"):
        assert word in answer.out
