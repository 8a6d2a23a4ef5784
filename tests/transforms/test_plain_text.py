"""Hostile YAML and JSON: one kind of error, soon; and a command line that says what is wrong in one line."""

import pytest
import yaml

from consort.config import load_config
from simulation.parameters import load_world
from transforms.errors import InputError
from transforms.plain_text import parse_json, parse_yaml
from transforms.records import load_dataset

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
WRONG = {
    "an alias": (BOMB, "alias"),
    "an object": ("a: !!python/object/apply:os.mkdir [x]\n", "could not determine a constructor"),
    "deep lists": ("a: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
    "an impossible date": ("a: 2001-13-45\n", "a value that cannot be"),
    "a number of many digits": ("a: " + "9" * 5000, "a value that cannot be"),
    "no YAML": ("a: [", "expected"),
}


@pytest.mark.parametrize("name", WRONG)
def test_hostile_yaml_is_refused_in_one_way(name):
    text, message = WRONG[name]
    with pytest.raises(yaml.YAMLError, match=message):
        parse_yaml(text)


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("read", [load_config, load_world])
def test_run_files_and_world_files_of_hostile_yaml_are_input_errors(tmp_path, name, read):
    (tmp_path / "file.yaml").write_text(WRONG[name][0])
    with pytest.raises(InputError, match="file.yaml"):
        read(tmp_path / "file.yaml")


def test_yaml_without_tricks_is_read():
    text = "a: 1\nb: [x, 2.5, true, null]\nc: {d: 2024-01-13}\n"
    assert parse_yaml(text) == yaml.safe_load(text)
    assert parse_yaml("") is None


@pytest.mark.parametrize(
    ("text", "message"), [("[" * 100_000, "nested too deeply"), ("9" * 5000, "digits"), ("{", "Expecting")]
)
def test_hostile_json_is_a_value_error(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format_version": ' + "9" * 5000 + "}", "[]", '{"sha256": NaN}'])
def test_a_hostile_dataset_file_is_an_input_error(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match="dataset.json"):
        load_dataset(tmp_path)
