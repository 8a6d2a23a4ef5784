"""Trials that were run before, results that cannot be read, places for parallel trials."""

import json

import pytest

from models.cotraining.external_inputs import RunFacts
from runs.config import parse_config
from runs.tuning.space import check_search, trial_config, trials_digest
from runs.tuning.trial import Outcome, write_outcome
from runs.tuning.trials import TrialData, TrialRunner, places
from tests.helpers.toy_data import toy_features
from transforms.errors import InputError

RATE = "training.learning_rate"


def config_with(space=None, **tuning):
    space = {RATE: {"min": 0.001, "max": 1.0}} if space is None else space
    return parse_config({"name": "mine", "source": "toy", "tuning": {"space": space, **tuning}})


def runner(folder, config=None, said=None):
    data = TrialData(toy_features(), "nowhere", (), (), "0")
    return TrialRunner(folder, config or config_with(), data, (said if said is not None else []).append)


def leave(folder, name, outcome):
    write_outcome(folder / name, outcome)


def test_finished_trials_are_read_and_not_run_again(tmp_path):
    good = Outcome("completed", {RATE: 0.5}, {"eval_logloss": 0.25, "eval_auc": 0.75}, 12.0)
    bad = Outcome("failed", {RATE: 0.9}, reason="loss became nan")
    leave(tmp_path, "0000-a", good)
    leave(tmp_path, "0001-b", bad)
    said: list[str] = []
    run = runner(tmp_path, said=said)
    # Under other numbers, as in another search of the same run.
    assert run(7, {RATE: 0.5}) == good and run(8, {RATE: 0.9}) == bad
    assert said == [
        "trial 7: done before, eval_logloss 0.250000 in 12.0 s",
        "trial 8: done before, failed: loss became nan",
    ]


def test_values_that_are_not_right_together_are_a_failed_trial(tmp_path):
    # Each alone is right beside the run's own dict of options; `depth` below a number is not.
    space = {"model.options.depth": [1], "model.options.depth.inner": [2]}
    values = {"model.options.depth": 1, "model.options.depth.inner": 2}
    outcome = runner(tmp_path, config_with(space))(0, values)
    assert outcome.status == "failed" and "to be a section" in str(outcome.reason)
    assert json.loads(next(tmp_path.glob("0000-*/result.json")).read_text())["status"] == "failed"


def test_failed_trials_run_again_as_long_as_none_succeeded(tmp_path):
    space = {"model.options.depth": [1], "model.options.depth.inner": [2]}
    values = {"model.options.depth": 1, "model.options.depth.inner": 2}
    leave(tmp_path, "0000-a", Outcome("failed", values, reason="the disk was full"))
    assert "to be a section" in str(runner(tmp_path, config_with(space))(0, values).reason)
    leave(tmp_path, "0000-a", Outcome("failed", values, reason="the disk was full"))
    leave(tmp_path, "0001-b", Outcome("completed", {}, {"eval_logloss": 0.5}))
    (path,) = tmp_path.glob("0000-*[!a]/result.json")
    path.unlink()
    assert runner(tmp_path, config_with(space))(0, values).reason == "the disk was full"


def test_a_result_that_cannot_be_read_is_named(tmp_path):
    leave(tmp_path, "0000-a", Outcome("completed", {RATE: 0.5}, {"eval_logloss": 0.5}))
    (tmp_path / "0000-a" / "result.json").write_text('{"other": 1}')
    with pytest.raises(InputError, match=r"0000-a/result\.json.*delete that file"):
        runner(tmp_path)


def test_parallel_trials_share_the_cores_and_have_a_gpu_each():
    assert places(1, []) == [{}]
    two = places(2, [])
    assert len(two) == 2 and two[0] == two[1] and int(two[0]["TF_NUM_INTRAOP_THREADS"]) >= 1
    assert places(2, ["4", "6", "7"]) == [{"CUDA_VISIBLE_DEVICES": "4"}, {"CUDA_VISIBLE_DEVICES": "6"}]
    with pytest.raises(InputError, match="at most 2, one trial a GPU"):
        places(3, ["0", "1"])


def test_a_trial_trains_with_the_searchs_budget_and_its_own_values():
    config = config_with(epochs=2, max_steps=50)
    found = trial_config(config, {RATE: 0.25})
    assert (found.training.epochs, found.training.max_steps, found.training.learning_rate) == (2, 50, 0.25)
    assert found.tuning.space == {} and found.seed == config.seed


def test_trials_are_shared_by_searches_and_gates_and_not_by_other_models_or_budgets():
    config = config_with()
    same = [
        config_with(max_trials=99, algorithm="bayesian", parallel=3, memory_gb=2.0),
        config_with({"model.dropout": [0.0, 0.5]}),
        config.model_copy(update={"gate": config.gate.model_copy(update={"min_auc": 0.9})}),
    ]
    assert {trials_digest(other) for other in same} == {trials_digest(config)}
    for other in (config_with(epochs=7), config.model_copy(update={"seed": 5})):
        assert trials_digest(other) != trials_digest(config)


def test_an_option_that_the_model_does_not_have_is_refused_before_any_trial():
    with pytest.raises(InputError, match=r"tuning\.space, model\.options\.depht = 1.*no option 'depht'"):
        check_search(RunFacts(config_with({"model.options.depht": [1, 2]}), toy_features(), "0"))
    with pytest.raises(InputError, match=r"tuning\.space, model\.name = deepfn.*did you mean 'deepfm'"):
        check_search(RunFacts(config_with({"model.name": ["deepfm", "deepfn"]}), toy_features(), "0"))
    check_search(RunFacts(config_with({"model.embedding_dim": [2, 3]}), toy_features(), "0"))


def test_nothing_to_search_is_refused():
    with pytest.raises(InputError, match=r"tuning\.space: received no key"):
        check_search(RunFacts(config_with({}), toy_features(), "0"))


def test_the_recall_in_the_catalogue_decides_only_where_it_is_measured():
    config = config_with({"model.embedding_dim": [2, 3]}, objective="eval_catalogue_recall@100")
    with pytest.raises(InputError, match=r"tuning\.objective: received eval_catalogue_recall@100 with recipe single"):
        check_search(RunFacts(config, toy_features(), "0"))
