"""The search itself, over trials whose result is a known function of their values."""

import threading
import time

import keras_tuner
import pytest

from runs.config import parse_config
from runs.tuning.config import Range
from runs.tuning.space import tuned, values_of
from runs.tuning.trial import Outcome
from runs.tuning.tuner import IsolatedTuner, oracle_of
from transforms.errors import ConsortError

RATE, UNITS, DROPOUT = "training.learning_rate", "model.hidden_units", "model.dropout"
SPACE = {RATE: {"min": 0.001, "max": 1.0, "log": True}, UNITS: [[8], [16, 8]], DROPOUT: {"min": 0.0, "max": 0.9}}


def settings(space=SPACE, **tuning):
    return parse_config({"name": "mine", "source": "toy", "tuning": {"space": space, **tuning}}).tuning


def bowl(index, values):
    """Least at dropout 0.3, whatever the rest."""
    score = (values[DROPOUT] - 0.3) ** 2
    metrics = {"eval_logloss": score, "eval_auc": 1 - score, "eval_catalogue_recall@100": 2 - score}
    return Outcome("completed", dict(values), metrics)


def search(config, folder, run=bowl, seed=1):
    tuner = IsolatedTuner(config, seed, folder, run)
    tuner.search()
    return tuner


def proposed(tuner):
    return [outcome.hyperparameters for outcome in tuner.outcomes.values()]


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_the_same_seed_gives_the_same_trials_and_another_seed_others(tmp_path, algorithm):
    config = settings(algorithm=algorithm, max_trials=7)
    first, again = search(config, tmp_path / "a"), search(config, tmp_path / "b")
    assert len(proposed(first)) == 7 and proposed(first) == proposed(again)
    other = proposed(search(config, tmp_path / "c", seed=2))
    assert not [values for values in other[:3] if values in proposed(first)]


def test_seed_0_is_a_seed(tmp_path):
    config = settings(max_trials=2)
    assert proposed(search(config, tmp_path / "a", seed=0)) == proposed(search(config, tmp_path / "b", seed=0))


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_trials_do_not_depend_on_which_of_two_ends_first(tmp_path, algorithm):
    def uneven(index, values, slow):
        time.sleep(0.03 if index % 2 == slow else 0)
        return bowl(index, values)

    config = settings(algorithm=algorithm, max_trials=8, parallel=2)
    first = search(config, tmp_path / "a", lambda index, values: uneven(index, values, 0))
    second = search(config, tmp_path / "b", lambda index, values: uneven(index, values, 1))
    assert proposed(first) == proposed(second)


def test_parallel_trials_run_at_the_same_time(tmp_path):
    both_are_here = threading.Barrier(2, timeout=30)

    def meet(index, values):
        both_are_here.wait()
        return bowl(index, values)

    assert len(search(settings(max_trials=4, parallel=2), tmp_path, meet).outcomes) == 4


def test_more_trials_go_on_where_fewer_ended(tmp_path):
    few = proposed(search(settings(max_trials=3), tmp_path / "a"))
    assert proposed(search(settings(max_trials=12), tmp_path / "b"))[:3] == few


def test_bayesian_trials_close_in_on_the_least_value(tmp_path):
    one = {DROPOUT: {"min": 0.0, "max": 0.9}}
    tuner = search(settings(one, algorithm="bayesian", max_trials=12, initial_points=3), tmp_path)
    later = [abs(values[DROPOUT] - 0.3) for values in proposed(tuner)[6:]]
    # Six random ones would all lie so near with a chance of (0.2 / 0.9) ** 6.
    assert max(sorted(later)[:3]) < 0.02 and sum(later) / len(later) < 0.2


@pytest.mark.parametrize(
    ("objective", "best"), [("eval_logloss", min), ("eval_auc", max), ("eval_catalogue_recall@100", max)]
)
def test_the_best_trial_is_by_the_direction_of_the_objective(tmp_path, objective, best):
    tuner = search(settings(max_trials=6, objective=objective), tmp_path)
    scores = [outcome.metrics[objective] for outcome in tuner.outcomes.values()]
    assert tuner.oracle.get_best_trials(1)[0].score == best(scores)


def test_values_stay_within_their_bounds_and_choices_keep_their_form(tmp_path):
    for values in proposed(search(settings(max_trials=20), tmp_path)):
        assert 0.001 <= values[RATE] <= 1.0 and values[UNITS] in ([8], [16, 8]) and 0.0 <= values[DROPOUT] <= 0.9


@pytest.mark.parametrize(
    "choices", [[0, 0.1, 0.25], [None, 1, 2], [True, False], ["deepfm", "dcn"], [[8], [4, 4]], [1, 2, 4]]
)
def test_every_choice_comes_back_as_it_was_given(choices):
    key = "model.options.some"
    oracle = oracle_of(settings({key: choices}, max_trials=10), 1)
    (declared,) = oracle.get_space().space
    assert [values_of({key: tuple(choices)}, {key: value})[key] for value in declared.values] == choices


def test_a_whole_number_beyond_its_range_is_brought_back():
    # Keras Tuner's logarithmic whole numbers reach max + 1 at the end of their scale.
    oracle = oracle_of(settings({"model.embedding_dim": {"min": 4, "max": 32, "log": True}}), 1)
    (declared,) = oracle.get_space().space
    sampled = declared.prob_to_value(1.0)
    assert sampled == 33
    assert values_of({"d": Range(min=4, max=32, log=True)}, {"d": sampled}) == {"d": 32}


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_nothing_is_tried_twice_and_an_exhausted_space_ends_the_search(tmp_path, algorithm):
    few = {DROPOUT: [0.1, 0.2], UNITS: [[8], [16, 8]]}
    found = proposed(search(settings(few, algorithm=algorithm, max_trials=30), tmp_path))
    assert len(found) == 4 and all(found.count(values) == 1 for values in found)


def failing(indices, reason="out of luck"):
    def run(index, values):
        return Outcome("failed", dict(values), reason=reason) if index in indices else bowl(index, values)

    return run


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_the_search_goes_on_after_failed_trials_however_many_in_a_row(tmp_path, algorithm):
    tuner = search(settings(algorithm=algorithm, max_trials=8), tmp_path, failing(range(5)))
    assert tuner.failed == 5 and len(tuner.outcomes) == 8
    assert tuner.oracle.get_best_trials(1)[0].trial_id in "567"
    assert [trial.message for trial in tuner.oracle.trials.values()][:5] == ["out of luck"] * 5


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_a_failure(tmp_path, score):
    def run(index, values):
        return Outcome("completed", dict(values), {"eval_logloss": score if index else 0.5})

    tuner = search(settings(max_trials=3), tmp_path, run)
    assert tuner.failed == 2 and tuner.oracle.get_best_trials(1)[0].score == 0.5
    assert "not a finite number" in str(tuner.outcomes[2].reason)


def test_a_search_in_which_every_trial_fails_is_an_error_with_the_reasons(tmp_path):
    def run(index, values):
        return Outcome("failed", dict(values), reason="loss became nan" if index else "no memory")

    with pytest.raises(ConsortError) as raised:
        search(settings(max_trials=3), tmp_path, run)
    assert "2 of 3: loss became nan" in str(raised.value) and "1 of 3: no memory" in str(raised.value)
    assert raised.value.exit_code == 1


@pytest.mark.parametrize("parallel", [1, 2])
def test_leaving_a_search_ends_its_trials_and_starts_no_more(tmp_path, parallel):
    stopped, begun = threading.Event(), []

    def run(index, values):
        begun.append(index)
        if index == 1:
            raise KeyboardInterrupt
        stopped.wait(30 if index else 0)
        return bowl(index, values)

    tuner = IsolatedTuner(settings(max_trials=50, parallel=parallel), 1, tmp_path, run, stopped.set)
    with pytest.raises(KeyboardInterrupt):
        tuner.search()
    assert stopped.is_set() and len(begun) <= 2 + parallel


def test_files_that_keras_tuner_left_half_written_do_no_harm(tmp_path):
    config = settings(max_trials=3)
    first = search(config, tmp_path)
    for path in (tmp_path / "keras_tuner").rglob("*.json"):
        path.write_text('{"half')
    assert proposed(search(config, tmp_path)) == proposed(first)


def test_best_values_reach_the_run_of_the_trainer(tmp_path):
    config = parse_config({"name": "mine", "source": "toy", "tuning": {"space": SPACE, "max_trials": 4}})
    tuner = search(config.tuning, tmp_path)
    best = min(tuner.outcomes.values(), key=lambda outcome: outcome.metrics["eval_logloss"]).hyperparameters
    # As TFX passes them on: through Keras Tuner's own JSON.
    written = keras_tuner.HyperParameters.from_config(tuner.get_best_hyperparameters()[0].get_config()).get_config()
    found = tuned(config, written)
    assert found.training.learning_rate == best[RATE] and found.model.dropout == best[DROPOUT]
    assert list(found.model.hidden_units) == best[UNITS] and found.seed == config.seed
    assert tuned(config, None) == config
