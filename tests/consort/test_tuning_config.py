"""The section `tuning`: what a space may say, and what is refused before anything runs."""

import pytest

from consort.config import load_config, presets
from runs.config import RunConfig, parse_config, with_values
from runs.tuning.config import Range, TuningConfig
from transforms.errors import InputError

MINIMAL = {"name": "mine", "source": "toy"}


def config_with(space, **tuning):
    return parse_config({**MINIMAL, "tuning": {"space": space, **tuning}}, "run.yaml")


def test_choices_and_ranges_are_read():
    space = {"model.hidden_units": [[8], [16, 8]], "training.learning_rate": {"min": 0.001, "max": 0.1, "log": True}}
    found = config_with(space).tuning.space
    assert found["model.hidden_units"] == ([8], [16, 8])
    assert found["training.learning_rate"] == Range(min=0.001, max=0.1, log=True)


def test_bounds_that_are_whole_mean_whole_numbers():
    found = config_with({"model.embedding_dim": {"min": 4, "max": 32}, "model.dropout": {"min": 0.0, "max": 0.5}})
    assert found.tuning.space["model.embedding_dim"].whole and not found.tuning.space["model.dropout"].whole


def test_sections_in_sections_are_the_same_as_dotted_keys(tmp_path):
    dotted = config_with({"model.options.depth": [1, 2], "training.learning_rate": [0.1, 0.2]})
    nested = config_with({"model": {"options": {"depth": [1, 2]}}, "training": {"learning_rate": [0.1, 0.2]}})
    assert nested == dotted
    file = tmp_path / "run.yaml"
    file.write_text("name: mine\nsource: toy\n")
    assert load_config(file, ("tuning.space.training.epochs=[1, 2]",)).tuning.space == {"training.epochs": (1, 2)}


def test_exponents_without_a_point_are_numbers(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("name: mine\nsource: toy\ntuning: {space: {training.learning_rate: [1e-3, 2E-2]}}\n")
    assert load_config(file).tuning.space["training.learning_rate"] == (0.001, 0.02)


def test_an_unknown_key_names_the_nearest_known_one():
    message = r"run\.yaml, tuning\.space, key 'training\.learning_rat'.*did you mean 'training.learning_rate'"
    with pytest.raises(InputError, match=message):
        config_with({"training.learning_rat": [0.1, 0.2]})
    with pytest.raises(InputError, match=r"key 'trainin'.*did you mean 'training'"):
        config_with({"trainin.learning_rate": [0.1, 0.2]})


@pytest.mark.parametrize(
    ("key", "domain", "received"),
    [
        ("training.learning_rate", [0.1, -1.0], "-1.0"),
        ("model.dropout", {"min": 0.0, "max": 1.5}, "1.5"),
        ("training.batch_size", {"min": 16.0, "max": 64.0}, "34.33"),
        ("model.hidden_units", [[8], [0]], "0"),
        ("training.epochs", ["many"], "'many'"),
    ],
)
def test_a_value_out_of_its_keys_domain_is_named(key, domain, received):
    with pytest.raises(InputError, match=rf"tuning\.space, key '{key}[.\d]*': received {received}"):
        config_with({key: domain})


@pytest.mark.parametrize("key", ["seed", "name", "features.drop", "gate.min_auc", "pipeline.slices", "tuning.epochs"])
def test_what_all_trials_share_cannot_be_searched(key):
    with pytest.raises(InputError, match=rf"key '{key}'; expected keys of model, training"):
        config_with({key: [1, 2]})


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (3, "received 3; expected a list of choices"),
        ([], r"received \[\]; expected a list of choices"),
        ([0.1, 0.1], "expected choices that differ"),
        ({"min": 0.1}, "Fix: give 'max'"),
        ({"min": 0.1, "max": 0.2, "lg": True}, "Fix: leave out 'lg'"),
        ({"min": 0.2, "max": 0.1}, "expected min below max"),
        ({"min": 0, "max": 1, "log": True}, "expected min above 0"),
        ({"min": 0.1, "max": float("inf")}, "finite number"),
    ],
)
def test_a_domain_that_is_none_is_refused_by_its_key(domain, message):
    with pytest.raises(InputError, match=rf"run\.yaml, key 'tuning\.space\.training\.learning_rate.*{message}"):
        config_with({"training.learning_rate": domain})


def test_a_space_that_is_no_mapping_is_refused():
    with pytest.raises(InputError, match=r"key 'tuning\.space': received \['x'\]"):
        config_with(["x"])


def test_a_search_in_the_pipeline_needs_a_space():
    with pytest.raises(InputError, match=r"tuning\.in_pipeline.*without a space"):
        config_with({}, in_pipeline=True)


def test_an_unknown_key_of_the_section_itself_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'tuning.max_trials'"):
        config_with({}, max_trial=3)


def test_log_loss_is_to_be_small_and_auc_great():
    assert TuningConfig().direction == "min" and TuningConfig(objective="eval_auc").direction == "max"


def test_the_space_survives_yaml_and_json(tmp_path):
    config = config_with({"model.hidden_units": [[8], [16, 8]], "model.dropout": {"min": 0.0, "max": 0.5}})
    (tmp_path / "shown.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "shown.yaml") == config
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_values_are_put_over_a_config_and_checked():
    config = with_values(parse_config(MINIMAL), {"model.hidden_units": [5], "model.options.depth": 2})
    assert config.model.hidden_units == (5,) and config.model.options == {"depth": 2}
    with pytest.raises(InputError, match="did you mean 'model.dropout'"):
        with_values(config, {"model.dropot": 0.1})


def test_a_preset_shows_a_space_to_search():
    space = load_config(presets()["simulated_deepfm_tuned"]).tuning.space
    assert "training.learning_rate" in space
