"""The command line in this process: results on stdout, JSON, exit codes."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import typer

from consort import __main__ as front_door
from consort.cli.app import app
from consort.cli.output import describe_best, with_readable_times
from tests.helpers.object_stores import WITHOUT_CREDENTIALS, set_environment
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import learnable_rows, toy_features, write_toy
from transforms.batches import Batch
from transforms.writing import write_dataset


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
        "bench", "cascade", "config", "data", "demo", "doctor", "evaluate", "export", "index", "new", "online",
        "pipeline", "query", "score", "serve", "table", "train", "tune",
    }  # fmt: skip


def helps(command=None, path=("consort",), parent=None):
    """Yields (path, command, help at 80 columns) of the root, the groups and the verbs."""
    command = command or typer.main.get_command(app)
    context = command.make_context(path[-1], [], parent=parent, resilient_parsing=True, terminal_width=80)
    yield path, command, command.get_help(context)
    for name, verb in getattr(command, "commands", {}).items():
        yield from helps(verb, (*path, name), context)


@pytest.mark.parametrize(("path", "command", "text"), helps(), ids=lambda value: "")
def test_help_fits_80_columns_with_an_example_and_every_option_explained(path, command, text):
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage:")]
    assert [option.name for option in command.params if not (option.help or option.name == "help")] == []
    if not hasattr(command, "commands"):
        assert [line for line in lines if line.startswith(f"  Example: {' '.join(path)}")]


def test_every_verb_answers_to_help(consort):
    assert {consort(*verb, "--help")[0] for verb in ALL} == {0}


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
    assert result["records"]["row"]["train"]["time_range"] == [345600, 345600 + 5 * 3600]
    assert "345600 to 363600" in out, "ordinals, as there are no clocks before 1990"
    summary = {"records": {"row": {"eval": {"time_range": [1_767_225_600, 1_767_225_661]}}}}
    assert with_readable_times(summary)["records"]["row"] == {
        "eval": {"time_range": "2026-01-01 00:00:00 to 2026-01-01 00:01:01"}
    }


def test_sources_are_listed_with_their_licences(consort):
    code, out, _ = consort("data", "list")
    assert code == 0
    for word in ("criteo", "ebnerd", "simulator", "Kaggle"):
        assert word in out


def test_a_preset_is_shown_with_its_defaults_and_checked(consort):
    code, out, _ = consort("config", "show", "criteo_deepfm", "--set", "seed=7")
    assert code == 0 and "seed: 7" in out and "checkpoint_steps: 500" in out
    code, out, _ = consort("config", "check", "criteo_deepfm")
    assert code == 0 and "valid" in out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("recipe.name=mutual",), "did you mean 'mutual_learning'"),
        (("recipe.options={peer: 2}",), "recipe 'single' has no option 'peer'"),
        (("model.options={wide: 1}",), "model.options: received model 'deepfm' has no option 'wide'; expected one of"),
        (("epochs=2",), "--set epochs=2, key 'epochs': received an unknown key"),
        (("epochs=2",), "did you mean 'training.epochs'"),
        (("training.epoch=2",), "did you mean 'training.epochs'"),
        (("training.epochs=many",), "received 'many'; expected a whole number"),
        (("training.distribution=all",), "expected one of 'none', 'mirrored', 'multi_worker', 'parameter_server'"),
        (("source=no.such.Source",), "source 'no.such.Source'"),
        (("recipe.name=duet",), "recipe 'duet': received record 'row'; expected requests"),
        (
            ("recipe.name=mutual_learning", "recipe.options.learning_rate=-1"),
            "recipe: received learning_rate is -1; expected above 0. Fix: the paper tunes it",
        ),
        (("model.name=depfm",), "did you mean 'deepfm'"),
        (("recipe.name=mutual_learning", "recipe.options.models=[deepfm, dcnn]"), "model: received 'dcnn'"),
        (("pipeline.beam_args=[--runner=Nowhere]",), "--runner=Nowhere"),
    ],
)
def test_a_run_file_with_an_unknown_name_is_invalid(consort, changes, message):
    code, out, err = consort("config", "check", "criteo_deepfm", *(f"--set={change}" for change in changes))
    assert code == 2 and out == "" and message in err, err


def test_a_run_file_is_checked_against_a_dataset(consort, tmp_path):
    write_toy(tmp_path / "toy")
    (tmp_path / "toy.yaml").write_text(small_config().to_yaml())
    command = ("config", "check", tmp_path / "toy.yaml", "--data", tmp_path / "toy")
    code, out, err = consort(*command)
    assert code == 0 and "valid" in out, err
    for change, message in (
        ("features.drop=[prize]", "'prize'; expected one of"),
        ("model.options={wide: 1}", "has no option 'wide'"),
        ("pipeline.slices=[prize]", "pipeline.slices"),
        ("source=criteo", "a dataset of source 'toy'"),
    ):
        code, out, err = consort(*command, "--set", change)
        assert code == 2 and out == "" and message in err, err


def test_an_unknown_key_exits_with_2_and_suggests_the_nearest(consort):
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


def test_an_interrupt_says_that_the_same_command_resumes(consort, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("consort.config.presets", interrupted)
    code, _, err = consort("config", "show")
    assert code == 130 and "interrupted; the same command resumes" in err


URLS = [
    ("data", "simulate", "--out", "az://bucket/log", "--requests", "9"),
    ("data", "import", "criteo", "--input", "az://bucket/raw", "--out", "new"),
    ("data", "import", "criteo", "--input", ".", "--out", "az://bucket/raw"),
    ("data", "describe", "az://bucket/log"),
    ("data", "spans", "toy", "--out", "az://bucket/spans"),
    ("train", "toy.yaml", "--data", "az://bucket/toy", "--out", "new"),
    ("train", "toy.yaml", "--data", "toy", "--out", "az://bucket/run"),
    ("tune", "toy.yaml", "--data", "toy", "--out", "az://bucket/run"),
    ("online", "toy.yaml", "--stream", "az://bucket/stream", "--out", "new"),
    ("online", "toy.yaml", "--stream", "toy", "--out", "new", "--serve", "az://bucket/serving"),
    ("pipeline", "run", "toy.yaml", "--data", "toy", "--root", "az://bucket/root"),
    ("pipeline", "graph", "toy.yaml", "--data", "toy", "--root", "az://bucket/root"),
    ("evaluate", "az://bucket/run", "--data", "toy"),
    ("export", "az://bucket/run", "--out", "new"),
    ("export", "toy", "--out", "az://bucket/serving"),
    ("serve", "az://bucket/serving"),
    ("index", "az://bucket/serving", "--out", "new"),
    ("index", "toy", "--out", "file:///index"),
    ("demo", "--fast", "--out", "gs://bucket/demo"),
    ("data", "describe", "toy", "--json", "az://describe.json"),
]


@pytest.mark.parametrize("command", URLS, ids=" ".join)
def test_a_url_of_no_known_store_is_refused_and_becomes_no_folder(consort, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_toy(tmp_path / "toy")
    (tmp_path / "toy.yaml").write_text(small_config().to_yaml())
    code, _, err = consort(*command)
    assert code == 2 and "received a URL; expected a path on this machine" in err, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy", "toy.yaml"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("data", "simulate", "--out", "gs://bucket/log", "--requests", "9"), "no credentials of Google Cloud"),
        (("data", "describe", "s3://bucket/log"), "no credentials of AWS"),
        (("train", "toy.yaml", "--data", "toy", "--out", "s3://bucket/run"), "no credentials of AWS"),
        (("pipeline", "run", "toy.yaml", "--data", "toy", "--root", "gs://bucket/root"), "no credentials of Google"),
        (("serve", "s3://bucket/serving"), "no credentials of AWS"),
        (("online", "toy.yaml", "--stream", "toy", "--out", "new", "--serve", "s3://b/serving"), "no credentials"),
        (("data", "describe", "toy", "--json", "s3://bucket/describe.json"), "no credentials of AWS"),
        (("data", "describe", "toy", "--json", "gs://describe.json"), "received a bucket; expected the URL of a file"),
        (("export", "toy", "--out", "s3://bucket/a/../b"), "an empty part"),
        (
            ("data", "import", "criteo", "--input", "toy", "--out", "s3://bucket/log", "--runner", "dataflow"),
            "received --runner dataflow; expected workers that see the copy",
        ),
    ],
    ids=str,
)
def test_a_store_that_cannot_be_used_is_refused_before_anything_is_written(
    consort, command, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    set_environment(monkeypatch, {**WITHOUT_CREDENTIALS, "CONSORT_CACHE": str(tmp_path / "cache")})
    write_toy(tmp_path / "toy")
    (tmp_path / "toy.yaml").write_text(small_config().to_yaml())
    code, out, err = consort(*command)
    assert code == 2 and out == "" and message in err, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy", "toy.yaml"]


def test_several_workers_need_a_folder_that_all_of_them_see(consort, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1", "b:1"]}}))
    code, _, err = consort("train", "simulated_deepfm", "--data", tmp_path, "--out", "s3://bucket/run")
    assert code == 2 and "a URL in a run of several workers" in err


def test_the_summary_names_the_kept_epoch_and_the_served_peer():
    training = {"best_epoch": 2, "best": {"epoch": 2, "eval_auc": 0.7}, "history": []}
    assert describe_best({"training": training}) == {"kept_epoch": {"epoch": 2, "eval_auc": 0.7}}
    recipe = {"best_peer": 1, "peers": [{"model": "DeepFM"}, {"model": "DCN"}]}
    assert describe_best({"training": training, "recipe": recipe})["served_peer"] == "peer_1 of 2, DCN"


@pytest.mark.parametrize(
    ("label", "splits", "message"),
    [
        (0, ("train", "eval", "test"), "labels that are all 0"),
        (None, ("train", "test"), "a split 'eval' that is not empty"),
    ],
)
def test_a_pipeline_rejects_useless_data_with_exit_code_4(consort, tmp_path, label, splits, message):
    batches = []
    for split in splits:
        rows = learnable_rows(split, 200, 1)
        labels = {} if label is None else {"label": np.full(200, label, np.float32)}
        batches.append(Batch("row", split, {**rows.columns, **labels}))
    write_dataset(batches, tmp_path / "data", "toy", toy_features(), {})
    (tmp_path / "toy.yaml").write_text(small_config().to_yaml())
    command = ("pipeline", "run", tmp_path / "toy.yaml", "--data", tmp_path / "data", "--root", tmp_path / "root")
    code, _, err = consort(*command)
    assert code == 4 and "rejected by the data gate:" in err and message in err
    assert not (tmp_path / "root").exists()


def test_an_audit_prints_its_findings_and_stops_at_a_leak_if_asked(consort, tmp_path):
    batches = []
    for split in ("train", "eval", "test"):
        rows = learnable_rows(split, 400, 1)
        batches.append(Batch("row", split, {**rows.columns, "price": 5 + 9 * np.asarray(rows.columns["label"])}))
    write_dataset(batches, tmp_path / "data", "toy", toy_features(), {})
    command = ("data", "audit", tmp_path / "data", "--json", tmp_path / "audit.json", "--report", tmp_path / "audit.md")
    code, out, _ = consort(*command)
    assert code == 0 and "STOP leak  single_feature:price" in out
    assert "single_feature:price" in json.loads((tmp_path / "audit.json").read_text())["stops"]
    assert (tmp_path / "audit.md").read_text().startswith("# Audit of data")
    code, _, err = consort(*command, "--gate")
    assert code == 4 and "rejected by the audit:\n  - single_feature:price: predicts the label by itself" in err


def test_a_gate_exits_with_4_and_a_missing_part_with_3():
    from transforms.errors import GateRefused, InputError, MissingPart

    assert [cls.exit_code for cls in (InputError, MissingPart, GateRefused)] == [2, 3, 4]
    assert "pip install x" in str(MissingPart("x", "pip install x"))
