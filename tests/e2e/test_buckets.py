"""Data, runs, roots and served versions in buckets, and in folders whose names look like file patterns."""

import contextlib
import json
import subprocess
import sys

import pytest

from serving.versions import versions_in
from tests.helpers.command_line import PATIENCE_S, consort, tree, until
from tests.helpers.object_stores import at, environment, free_port, set_environment, store_server
from tests.helpers.pipeline_runs import CACHED, COMPLETE, small_config, states
from tests.helpers.source_tree import ROOT
from tests.helpers.toy_data import toy_features, write_learnable
from transforms.cloud.copies import ReadCopy
from transforms.cloud.working import WorkingCopy

pytestmark = pytest.mark.e2e

RUN = small_config(training={"max_steps": 5, "epochs": 1})
# Of the features that each cost TFX seconds, two.
QUICK = small_config(
    training={"epochs": 1},
    features={
        "drop": [name for name in (one.name for one in toy_features().features) if name not in ("item_id", "price")]
    },
    gate={"min_auc": 0.5},
)


def elsewhere(monkeypatch, tmp_path, name):
    """Continues as on another machine, with nothing copied."""
    monkeypatch.setenv("CONSORT_CACHE", str(tmp_path / name))


def ok(*arguments):
    answer = consort(*arguments)
    assert answer.code == 0, answer.err
    return answer.out


def upload_toy(url):
    copy = WorkingCopy(at(url))
    copy.check()
    with copy as folder:
        write_learnable(folder)


def fetched(url):
    copy = ReadCopy(at(url))
    copy.check()
    return copy


@contextlib.contextmanager
def serving(url, cache):
    """Starts a server of the versions at a URL, with copies of its own; returns its address."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "consort", "serve", url, "--port", address.rpartition(":")[2]]
    child = environment({"CONSORT_CACHE": str(cache), "PYTHONPATH": str(ROOT)})
    with subprocess.Popen(command, env=child, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield address
        finally:
            process.terminate()


def test_a_model_is_trained_evaluated_exported_and_served_on_google_cloud_storage(tmp_path, monkeypatch):
    with store_server("gs", tmp_path) as (bucket, variables):
        set_environment(monkeypatch, {**variables, "CONSORT_CACHE": str(tmp_path / "a")})
        upload_toy(f"{bucket}/toy [1]")
        (tmp_path / "toy.yaml").write_text(RUN.to_yaml())
        elsewhere(monkeypatch, tmp_path, "b")
        train = ("train", tmp_path / "toy.yaml", "--data", f"{bucket}/toy [1]", "--out", f"{bucket}/run [1]?")
        shown = ok(*train, "--json", f"{bucket}/result.json")
        assert f"{bucket}/run [1]?" in shown and str(tmp_path) not in shown
        trained = json.loads(fetched(f"{bucket}/result.json").__enter__().read_text())
        elsewhere(monkeypatch, tmp_path, "c")
        evaluate = (
            "evaluate",
            f"{bucket}/run [1]?",
            "--data",
            f"{bucket}/toy [1]",
            "--split",
            "eval",
            "--no-baselines",
        )
        shown = ok(*evaluate, "--resamples", 0, "--json", tmp_path / "metrics.json")
        assert str(tmp_path) not in shown
        auc = json.loads((tmp_path / "metrics.json").read_text())["metrics"]["auc"]
        assert auc == pytest.approx(trained["training"]["best"]["eval_auc"], abs=1e-4)
        export = ("export", f"{bucket}/run [1]?", "--out", f"{bucket}/serving")
        ok(*export)
        with serving(f"{bucket}/serving", tmp_path / "server") as address:
            query = (
                "query",
                RUN.name,
                "--data",
                f"{bucket}/toy [1]",
                "--address",
                address,
                "--json",
                tmp_path / "answer.json",
            )

            def version():
                ok(*query, "--wait", PATIENCE_S, "--timeout", PATIENCE_S)
                return json.loads((tmp_path / "answer.json").read_text())["version"]

            first = version()
            elsewhere(monkeypatch, tmp_path, "d")
            ok(*export)
            until(lambda: version() > first, PATIENCE_S)
        with fetched(f"{bucket}/serving") as folder:
            assert len(versions_in(folder / RUN.name)) == 2


def test_a_pipeline_is_run_and_continued_on_s3(tmp_path, monkeypatch):
    with store_server("s3", tmp_path) as (bucket, variables):
        set_environment(monkeypatch, {**variables, "CONSORT_CACHE": str(tmp_path / "a")})
        upload_toy(f"{bucket}/toy")
        (tmp_path / "toy.yaml").write_text(QUICK.to_yaml())
        pipeline = ("pipeline", "run", tmp_path / "toy.yaml", "--data", f"{bucket}/toy", "--root", f"{bucket}/root [1]")
        ok(*pipeline, "--json", f"{bucket}/result.json")
        with fetched(f"{bucket}/result.json") as file:
            result = json.loads(file.read_text())
        assert result["new"] and result["model"].startswith(f"{bucket}/root [1]/serving/{RUN.name}/")
        elsewhere(monkeypatch, tmp_path, "b")
        with fetched(f"{bucket}/root [1]/serving") as folder:
            assert len(versions_in(folder / RUN.name)) == 1
        # Its metadata names paths on the machine that wrote it.
        refused = consort(*pipeline)
        assert refused.code == 2 and f"set CONSORT_CACHE={tmp_path / 'a'}" in refused.err
        (tmp_path / "a").rename(tmp_path / "lost")
        elsewhere(monkeypatch, tmp_path, "a")
        ok(*pipeline, "--json", tmp_path / "again.json")
        again = json.loads((tmp_path / "again.json").read_text())
        assert not again["new"] and again["version"] == result["version"]
        # Copied anew, the data have the times that they had, by which TFX knows them.
        with fetched(f"{bucket}/root [1]") as folder:
            assert states(folder, "RecordExampleGen") == states(folder, "Trainer") == [COMPLETE, CACHED]


def test_models_are_written_to_and_read_from_local_folders_of_any_name(tmp_path, monkeypatch):
    elsewhere(monkeypatch, tmp_path, "cache")
    odd, meant = tmp_path / "a[1]*?", tmp_path / "a1xy"
    write_learnable(odd / "toy")
    meant.mkdir()
    (odd / "toy.yaml").write_text(RUN.to_yaml())
    refused = consort("train", odd / "toy.yaml", "--data", odd / "nothing", "--out", odd / "run")
    assert refused.code == 2 and not (odd / "run").exists()
    shown = ok("train", odd / "toy.yaml", "--data", odd / "toy", "--out", odd / "run")
    assert str(odd / "run") in shown and "cache" not in shown
    ok("evaluate", odd / "run", "--data", odd / "toy", "--split", "eval", "--no-baselines", "--resamples", 0)
    ok("export", odd / "run", "--out", odd / "serving")
    assert len(versions_in(odd / "serving" / RUN.name)) == 1
    assert tree(meant) == {}
