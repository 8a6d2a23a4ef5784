"""The command line in this process: results on stdout, JSON, exit codes."""

import json
import subprocess
import sys
import time

import pytest

from consort import __main__ as front_door
from consort.cli.app import app
from tests.helpers.toy_data import write_toy


@pytest.fixture
def consort(monkeypatch, capsys):
    """Runs a command line; gives (exit code, stdout, stderr)."""
    monkeypatch.setattr("consort.cli.quiet.be_quiet", lambda: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["consort", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            front_door.main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return run


def commands(group=app, prefix=()):
    for command in group.registered_commands:
        yield (*prefix, command.name or command.callback.__name__.strip("_"))
    for sub in group.registered_groups:
        yield from commands(sub.typer_instance, (*prefix, sub.name))


ALL = sorted(commands())


def test_the_verbs_are_those_of_the_manual():
    assert {verb[0] for verb in ALL} == {
        "bench", "config", "data", "demo", "doctor", "evaluate", "export", "index", "online", "pipeline", "query",
        "serve", "table", "train", "tune",
    }  # fmt: skip


@pytest.mark.parametrize("verb", ALL, ids=" ".join)
def test_every_verb_has_help_with_an_example(consort, verb):
    code, out, _ = consort(*verb, "--help")
    assert code == 0 and f"Example: consort {' '.join(verb)}" in " ".join(out.split())


def test_help_answers_in_under_a_second():
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "consort", "--help"], check=True, capture_output=True)
    first = time.monotonic() - start
    # The best of two: the first start may find a cold disk.
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "consort", "--help"], check=True, capture_output=True)
    assert min(first, time.monotonic() - start) < 1.0


def test_describe_prints_what_is_there_and_writes_the_same_as_json(consort, tmp_path):
    write_toy(tmp_path / "data")
    code, out, _ = consort("data", "describe", tmp_path / "data", "--verify", "--json", tmp_path / "out.json")
    result = json.loads((tmp_path / "out.json").read_text())
    assert code == 0 and result["records"]["row"]["train"]["positives"] == 3
    assert "records.row.train.positives" in out and "truth" in result["never_inputs"]


def test_sources_are_listed_with_their_licences(consort):
    code, out, _ = consort("data", "list")
    assert code == 0
    for word in ("criteo", "ebnerd", "simulator", "Kaggle"):
        assert word in out


def test_a_preset_is_shown_with_its_defaults_and_checked(consort):
    code, out, _ = consort("config", "show", "criteo_deepfm", "--set", "seed=7")
    assert code == 0 and "seed: 7" in out and "checkpoint_steps: 500" in out
    code, out, _ = consort("config", "check", "criteo_deepfm")
    assert code == 0 and "right" in out


def test_a_wrong_key_exits_with_2_and_the_nearest_key(consort):
    code, out, err = consort("config", "check", "criteo_deepfm", "--set", "trainin.epochs=2")
    assert code == 2 and out == "" and "did you mean 'training'" in err


def test_an_unknown_verb_exits_with_2(consort):
    code, _, err = consort("trian")
    assert code == 2 and "trian" in err


def test_an_unforeseen_failure_exits_with_1_and_no_traceback(consort, monkeypatch):
    def broken():
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("consort.config.presets", broken)
    code, _, err = consort("config", "show")
    assert code == 1 and "unforeseen" in err and "Traceback" not in err


def test_a_gate_exits_with_4_and_a_missing_part_with_3():
    from transforms.errors import GateRefused, InputError, MissingPart

    assert [cls.exit_code for cls in (InputError, MissingPart, GateRefused)] == [2, 3, 4]
    assert "pip install x" in str(MissingPart("x", "pip install x"))
