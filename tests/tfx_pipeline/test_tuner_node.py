"""The Tuner in the pipeline: where it stands, what it passes on, which tuners it refuses."""

import ast
import json

import keras_tuner
import pytest
from tfx.components.tuner.component import TunerFnResult
from tfx.components.util import udf_utils
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.standard_component_specs import (
    BEST_HYPERPARAMETERS_KEY,
    CUSTOM_CONFIG_KEY,
    EVAL_ARGS_KEY,
    EXAMPLES_KEY,
    TRAIN_ARGS_KEY,
    TUNER_RESULTS_KEY,
)

from runs.plan import make_plan
from runs.tuning.trial import Outcome
from runs.tuning.tuner import IsolatedTuner
from tests.helpers.pipeline_runs import small_config
from tests.helpers.source_tree import imports, modules
from tests.helpers.toy_data import toy_features, write_toy
from tfx_pipeline.components.executors import SearchTrials
from tfx_pipeline.pipeline import create_pipeline, edges
from transforms.errors import ConsortError, InputError

DROPOUT = "model.dropout"
TUNING = {"in_pipeline": True, "max_trials": 3, "space": {DROPOUT: {"min": 0.0, "max": 0.9}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuner_node")
    write_toy(folder / "data")
    return folder


def plan_of(folder, **tuning):
    return make_plan(small_config(tuning={**TUNING, **tuning}), folder / "data", folder / "root")


def node(plan, node_id):
    return next(node for node in create_pipeline(plan).components if node.id == node_id)


def test_the_tuner_stands_between_transform_and_trainer_where_the_run_file_asks_for_it(folder):
    wired = edges(plan_of(folder))
    assert ("Transform", "Tuner") in wired and ("Tuner", "Trainer") in wired
    assert "Tuner" not in {name for edge in edges(plan_of(folder, in_pipeline=False)) for name in edge}


def test_the_trainer_takes_the_tuners_best_hyperparameters(folder):
    plan = plan_of(folder)
    assert "hyperparameters" in node(plan, "Trainer").inputs
    assert "hyperparameters" not in node(plan_of(folder, in_pipeline=False), "Trainer").inputs


def test_the_space_is_an_execution_property_so_that_the_cache_sees_it(folder):
    def properties(plan):
        return str(node(plan, "Tuner").exec_properties["custom_config"])

    assert properties(plan_of(folder)) != properties(plan_of(folder, max_trials=9))
    assert node(plan_of(folder), "Tuner").exec_properties["module_file"] is None


def test_an_option_that_the_model_does_not_have_is_refused_when_the_pipeline_is_wired(folder):
    with pytest.raises(InputError, match="no option 'depht'"):
        create_pipeline(plan_of(folder, space={"model.options.depht": [1]}))
    assert not (folder / "root").exists()


def bowl(index, values):
    if index == 1:
        return Outcome("failed", dict(values), reason="loss became nan")
    score = (values[DROPOUT] - 0.3) ** 2
    return Outcome("completed", dict(values), {"eval_logloss": score, "eval_auc": 1 - score})


def wreck(index, values):
    return Outcome("failed", dict(values), reason="loss became nan")


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Runs the executor with a tuner; gives its artifacts."""
    properties = {
        "config": small_config(tuning=TUNING).model_dump_json(),
        "feature_set": toy_features().model_dump_json(),
        "code_version": "1",
        "dataset_sha256": "2",
        "source": "toy",
        "tuning_root": str(tmp_path / "tuning"),
        "report_dir": str(tmp_path / "reports"),
    }

    def run(make_tuner):
        found = TunerFnResult(tuner=make_tuner(), fit_kwargs={})
        monkeypatch.setattr(udf_utils, "get_fn", lambda properties, name: lambda fn_args: found)
        examples = standard_artifacts.Examples()
        examples.uri = str(tmp_path / "examples")
        examples.split_names = artifact_utils.encode_split_names(["train", "eval"])
        best, results = standard_artifacts.HyperParameters(), standard_artifacts.TunerResults()
        for name, artifact in (("best", best), ("results", results)):
            (tmp_path / name).mkdir()
            artifact.uri = str(tmp_path / name)
        SearchTrials(SearchTrials.Context(tmp_dir=str(tmp_path), unique_id="1")).Do(
            {EXAMPLES_KEY: [examples]},
            {BEST_HYPERPARAMETERS_KEY: [best], TUNER_RESULTS_KEY: [results]},
            {
                TRAIN_ARGS_KEY: "{}",
                EVAL_ARGS_KEY: "{}",
                CUSTOM_CONFIG_KEY: json.dumps(properties),
            },
        )
        return results

    return run


def test_the_best_values_and_the_number_of_failed_trials_are_passed_on(execute, tmp_path, capsys):
    tuner = IsolatedTuner(small_config(tuning=TUNING).tuning, 1, tmp_path, bowl)
    results = execute(lambda: tuner)
    assert results.get_int_custom_property("failed_trials") == 1
    assert results.get_int_custom_property("completed_trials") == 2
    best = json.loads((tmp_path / "best" / "best_hyperparameters.txt").read_text())["values"]
    scores = {abs(tuner.outcomes[index].hyperparameters[DROPOUT] - 0.3): index for index in (0, 2)}
    nearest = tuner.outcomes[scores[min(scores)]].hyperparameters[DROPOUT]
    assert best[DROPOUT] == pytest.approx(nearest, rel=1e-5)
    report = json.loads((tmp_path / "reports" / "tuning.json").read_text())
    assert report["failed"] == 1 and report["best"]["hyperparameters"] == {DROPOUT: nearest}
    assert capsys.readouterr().out == "", "stdout is for results"


def test_a_search_in_which_every_trial_failed_fails_the_node(execute, tmp_path):
    tuner = IsolatedTuner(small_config(tuning=TUNING).tuning, 1, tmp_path, wreck)
    with pytest.raises(ConsortError, match="every trial failed"):
        execute(lambda: tuner)
    assert not (tmp_path / "best" / "best_hyperparameters.txt").exists()
    assert json.loads((tmp_path / "reports" / "tuning.json").read_text())["failed"] == 3


def test_a_stock_tuner_is_refused(execute, tmp_path):
    def stock():
        return keras_tuner.RandomSearch(lambda hp: None, "val_loss", directory=str(tmp_path / "stock"))

    with pytest.raises(ConsortError, match="tuner_fn gave a RandomSearch; expected an IsolatedTuner"):
        execute(stock)


def test_keras_tuner_is_imported_by_our_tuner_alone():
    users = {module.name for module in modules() for found in imports(module) if found.name.startswith("keras_tuner")}
    assert users == {"runs.tuning.tuner"}
    (tuner,) = [module for module in modules() if module.name == "runs.tuning.tuner"]
    names = {ast.unparse(part) for part in ast.walk(tuner.tree) if isinstance(part, ast.Attribute)}
    stock = {"Tuner", "RandomSearch", "BayesianOptimization", "Hyperband", "GridSearch"}
    assert not {name for name in names if name.startswith("keras_tuner.") and name.rpartition(".")[2] in stock}
