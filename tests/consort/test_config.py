import pytest

from consort.config import load_config, presets
from runs.config import RunConfig, parse_config
from tests.helpers.toy_data import toy_features
from transforms.errors import InputError

MINIMAL = {"name": "mine", "source": "toy"}


def test_an_unknown_key_names_the_nearest_known_one():
    with pytest.raises(InputError, match=r"key 'training.batchsize'.*did you mean 'training.batch_size'"):
        parse_config({**MINIMAL, "training": {"batchsize": 3}})


def test_a_value_out_of_its_domain_is_named():
    with pytest.raises(InputError, match=r"key 'training.batch_size': received 0"):
        parse_config({**MINIMAL, "training": {"batch_size": 0}})


def test_a_missing_key_is_named():
    with pytest.raises(InputError, match=r"key 'name': received nothing"):
        parse_config({"source": "toy"})


def test_a_run_file_takes_data_of_its_source_or_of_any():
    parse_config({"name": "mine"}).check_source("shop", "data")
    parse_config(MINIMAL).check_source("toy", "data")
    with pytest.raises(InputError, match="data: received a dataset of source 'shop'; expected 'toy'"):
        parse_config(MINIMAL).check_source("shop", "data")


def test_overrides_reach_nested_keys_and_are_checked(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("name: mine\nsource: toy\n")
    config = load_config(file, ("training.epochs=4", "model.hidden_units=[3, 2]"))
    assert config.training.epochs == 4 and config.model.hidden_units == (3, 2)
    with pytest.raises(InputError, match="did you mean 'training.epochs'"):
        load_config(file, ("training.epoch=4",))
    with pytest.raises(InputError, match="key=value"):
        load_config(file, ("training.epochs",))


def test_a_wrong_override_is_blamed_and_not_the_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("name: mine\nsource: toy\n")
    with pytest.raises(InputError) as refused:
        load_config(file, ("seed=2", "training.epoch=4", "model.dropout=0.1"))
    assert refused.value.where == "--set training.epoch=4, key 'training.epoch'"
    with pytest.raises(InputError) as refused:
        load_config("simulated_deepfm", ("training.epochs=many",))
    assert refused.value.where == "--set training.epochs=many, key 'training.epochs'"


def test_a_wrong_file_is_blamed_and_not_an_override_beside_it(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("name: mine\nsource: toy\ntraining: {epoch: 3}\n")
    with pytest.raises(InputError) as refused:
        load_config(file, ("seed=2",))
    assert refused.value.where == f"{file}, key 'training.epoch'"
    # An override may mend the file.
    file.write_text("name: mine\nsource: toy\ntraining: {epochs: 0}\n")
    assert load_config(file, ("training.epochs=3",)).training.epochs == 3


@pytest.mark.parametrize("text", ["- a list", "a: [", "\x00"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"run\.yaml"):
        load_config(file)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'criteo_deepfm'"):
        load_config("criteo_depfm")


def test_every_preset_is_right_and_named_after_its_source():
    assert presets()
    for name, path in presets().items():
        config = load_config(path)
        assert config.name == name
        assert config.source is not None and name.startswith(
            config.source.replace("ratings_matrix", "coat")
            .replace("ctr_simulator", "simulated_ctr")
            .replace("simulator", "simulated")
        )


def test_what_is_shown_loads_back_to_the_same_run(tmp_path):
    config = parse_config({**MINIMAL, "training": {"patience": 2}})
    (tmp_path / "shown.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "shown.yaml").digest() == config.digest()


def test_the_digest_changes_with_any_value():
    assert parse_config(MINIMAL).digest() != parse_config({**MINIMAL, "seed": 2}).digest()


def test_features_can_be_dropped_added_and_vocabularies_declared_anew():
    changes = {"drop": ["user_id"], "add": [{"name": "again", "column": "price", "encoding": "identity"}]}
    changes["vocabularies"] = [{"name": "items", "hash_buckets": 10}]
    changed = parse_config({**MINIMAL, "features": changes}).features.apply(toy_features())
    names = [feature.name for feature in changed.features]
    assert "user_id" not in names and names[-1] == "again"
    assert changed.fixed_table_sizes()["items"] == 11


def test_dropping_an_unknown_feature_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'item_id'"):
        parse_config({**MINIMAL, "features": {"drop": ["itemid"]}}).features.apply(toy_features())


def test_adding_a_feature_on_a_forbidden_column_is_refused():
    changes = {"add": [{"name": "cheat", "column": "truth", "encoding": "identity"}]}
    with pytest.raises(InputError, match="must not be a model input"):
        parse_config({**MINIMAL, "features": changes}).features.apply(toy_features())


def test_configs_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        setattr(RunConfig(**MINIMAL), "seed", 3)  # noqa: B010


def test_checks_of_the_audit_are_set_by_name_and_off_is_no_boolean():
    config = parse_config({**MINIMAL, "gate": {"checks": {"drift": "report", "position": False}}})
    assert config.gate.checks == {"drift": "report", "position": "off"}
    with pytest.raises(InputError, match="'gate.checks': received 'drft:price'; .*did you mean 'drift'"):
        parse_config({**MINIMAL, "gate": {"checks": {"drft:price": "stop"}}})
    with pytest.raises(InputError, match="'gate.checks.drift': received 'sometimes'"):
        parse_config({**MINIMAL, "gate": {"checks": {"drift": "sometimes"}}})
