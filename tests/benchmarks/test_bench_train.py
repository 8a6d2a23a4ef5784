"""`consort bench train` and `bench peers`: what is timed, what is told where a peer is missing."""

import json
import re

import pytest

from benchmarks import train as bench
from benchmarks.peers import environments
from benchmarks.peers.environments import PEERS, Environments, requirements
from benchmarks.train_results import Timing
from tests.helpers.command_line import consort
from transforms.errors import ConsortError, InputError


@pytest.fixture
def timed(monkeypatch, tmp_path):
    """Does no work; gives the groups that would have been timed. No peer is installed."""
    groups: list[list[bench.Contender]] = []

    def time(contenders, rounds, round_s, environments):
        groups.append(list(contenders))
        return {each.name: Timing(each.task, 1, (1.0,) * rounds, (1.0,) * rounds, 0.6, 1.0, {}) for each in contenders}

    monkeypatch.setattr(bench, "_time", time)
    monkeypatch.setattr(environments, "DEFAULT_FOLDER", tmp_path / "nothing")
    return groups


def install(folder, *peers):
    """Makes a folder look as if the peers had been installed."""
    for peer in peers:
        (folder / peer).mkdir(parents=True)
        (folder / peer / "installed").write_text(environments._digest(peer))


@pytest.mark.slow
def test_a_quick_run_gives_every_key_of_the_manual(tmp_path):
    file = tmp_path / "train.json"
    answer = consort("bench", "train", "--fast", "--part", "growth", "--rounds", 2, "--json", file)
    result = json.loads(file.read_text())
    assert answer.code == 0, answer.err
    assert result["step_ratio_4m_to_100k"] > 0
    assert result["ratio_to_fastest_peer"] is None and result["step_ratio_4_peers"] is None
    assert {name: len(rounds) for name, rounds in result["rounds_step_ms"]["growth"].items()} == {
        "100k": 2,
        "1m": 2,
        "4m": 2,
    }
    assert result["settings"]["ids"] == "zipf" and result["settings"]["sizes"]["1m"] == 10_000
    assert (
        result["machine"]["cores"]
        and result["machine"]["date"]
        and result["command"].startswith("consort bench train --fast")
    )
    assert result["about"]["growth"]["1m"]["versions"]["tensorflow"] and result["dtype"]["growth"]["1m"] == "float32"
    assert "step_ratio_4m_to_100k" in answer.out and "1m:" in answer.err


def test_the_same_model_runs_in_every_library_at_every_size(timed, tmp_path):
    install(tmp_path / "peers", *PEERS)
    result = bench.bench_train(peers=tmp_path / "peers", rounds=2)
    small, million, large, growth, models, duet, cs3, store = timed
    assert [each.name for each in small] == ["consort", "consort_bfloat16", "deepctr", "fuxictr"]
    limit = ["products", "products_bfloat16"]
    assert [each.name for each in million] == [*(each.name for each in small), "deepctr_as_shipped", *limit]
    assert [each.task.ids for each in (small[0], million[0], large[0])] == [100_000, 1_000_000, 4_000_000]
    for group in (small, million, large):
        assert len({each.task for each in group if each.name in ("consort", "deepctr", "fuxictr")}) == 1
    assert million[0].task.hidden_units == (400, 200, 100) and million[0].task.batch_size == 4000
    assert (million[0].task.fields, million[0].task.width, million[0].task.threads) == (39, 16, 2)
    assert [each.task.ids for each in growth] == [100_000, 1_000_000, 4_000_000]
    assert [(each.task.model, each.task.peers) for each in models] == [
        ("deepfm", 1),
        ("dcn", 1),
        ("pnn", 1),
        ("fibinet", 1),
        ("deepfm", 4),
    ]
    assert [each.task.peers for each in duet] == [1, 2]
    assert [each.name for each in cs3] == ["cs3", "cs3_plain"] and [each.name for each in store] == ["100k", "4m"]
    assert {each.library for each in growth + models + duet + cs3 + store} == {"consort"}
    assert result["missing_peers"] == [] and result["ratio_to_fastest_peer"] == 1.0


def test_without_peers_consort_is_timed_alone_and_the_missing_are_named(timed):
    told: list[str] = []
    result = bench.bench_train(parts=("sizes",), say=told.append)
    assert {each.library for group in timed for each in group} == {"consort"} and len(timed) == 3
    assert result["missing_peers"] == ["deepctr", "fuxictr"] and result["ratio_to_fastest_peer"] is None
    assert any("deepctr, fuxictr; `consort bench peers` installs them" in line for line in told)


def test_one_peer_that_is_there_is_timed(timed, monkeypatch, tmp_path):
    monkeypatch.setattr(environments, "DEFAULT_FOLDER", tmp_path)
    install(tmp_path, "fuxictr")
    result = bench.bench_train(parts=("sizes",), ids="uniform")
    assert {each.library for group in timed for each in group} == {"consort", "fuxictr"}
    assert result["missing_peers"] == ["deepctr"] and timed[0][0].task.exponent == 0


def test_a_folder_that_is_named_must_hold_all_peers(tmp_path):
    install(tmp_path, "deepctr")
    answer = consort("bench", "train", "--fast", "--peers", tmp_path)
    assert answer.code == 3 and answer.out == ""
    assert f"fuxictr in {tmp_path} is not installed" in answer.err
    assert f"consort bench peers --out {tmp_path}" in answer.err


def test_an_environment_of_other_pins_counts_as_missing(tmp_path):
    install(tmp_path, *PEERS)
    assert Environments(tmp_path).missing() == []
    (tmp_path / "deepctr" / "installed").write_text("pins of last year")
    assert Environments(tmp_path).missing() == ["deepctr"]


@pytest.mark.parametrize("peer", PEERS)
def test_every_package_of_a_peer_is_pinned(peer):
    lines = [line for line in requirements(peer).read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    needed = {"deepctr": {"deepctr", "tensorflow", "tf_keras"}, "fuxictr": {"fuxictr", "torch"}}[peer]
    assert needed <= {line.partition("==")[0] for line in lines}


@pytest.mark.slow
def test_environments_are_built_once_and_half_built_ones_again(monkeypatch, tmp_path):
    pins = tmp_path / "pins.txt"
    monkeypatch.setattr(environments, "requirements", lambda peer: pins)
    monkeypatch.setattr(environments, "PEERS", ("toy",))
    told: list[str] = []
    built = Environments.at(tmp_path / "peers")
    pins.write_text("--no-index\nnothing-of-this-name==1.0\n")
    with pytest.raises(ConsortError, match="(?s)toy could not be installed: -m pip.*nothing-of-this-name"):
        built.install(told.append)
    assert not built.is_installed("toy")
    pins.write_text("")
    assert built.install(told.append) == {"toy": str(tmp_path / "peers/toy/bin/python")}
    assert built.is_installed("toy") and built.python("toy").exists() and len(told) == 2
    built.install(told.append)
    assert len(told) == 2


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--out"):
        Environments.at(tmp_path / "file").install(lambda _: None)
    assert consort("bench", "peers", "--out", tmp_path / "file").code == 2


@pytest.mark.slow
@pytest.mark.skipif(bool(Environments.at(None).missing()), reason="`consort bench peers` was not run here")
def test_the_real_peers_train():
    result = bench.bench_train(parts=("sizes",), rounds=1, fast=True)
    assert result["ratio_to_fastest_peer"] > 0 and result["missing_peers"] == []
    assert all(0 < loss < 1 for loss in result["loss"]["deepfm_1m"].values())
