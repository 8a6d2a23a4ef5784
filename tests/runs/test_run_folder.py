"""Whose a folder is, and what is said to whoever comes with another run."""

import pytest

from runs.config import parse_config
from runs.provenance import claim, is_claimed, run_identity, run_info
from tests.helpers.pipeline_runs import SMALL, small_config
from transforms.errors import InputError


def info(config, dataset="d" * 64):
    return run_info(config, "toy", dataset)


def claimed(folder, config, dataset="d" * 64):
    record = info(config, dataset)
    return is_claimed(folder, "run.json", identity=run_identity(record), record=record, kind="run")


@pytest.fixture
def folder(tmp_path):
    record = {**info(small_config()), "command": "consort train toy.yaml --out run"}
    claim(tmp_path / "run", "run.json", identity=run_identity(record), record=record, kind="run")
    return tmp_path / "run"


def test_what_training_does_not_read_does_not_make_it_another_run(folder):
    for changes in (
        {"gate": {"min_auc": 0.9, "min_auc_gain": 1.0}},
        {"pipeline": {"keep_versions": 7, "beam_args": ["--runner=DirectRunner"], "slices": ["price"]}},
        {"tuning": {"max_trials": 3}},
    ):
        assert claimed(folder, small_config(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"},
        {"seed": 3},
        {"features": {"drop": ["price"]}},
        {"model": {"dropout": 0.1}},
        {"training": {"epochs": 4}},
        {"recipe": {"name": "cs3"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_training_reads_does_and_is_named_with_both_values(folder, changes):
    with pytest.raises(InputError) as refused:
        claimed(folder, small_config(**changes))
    section, change = next(iter(changes.items()))
    key, value = (section, change) if not isinstance(change, dict) else next(iter(change.items()))
    assert f"{key} " in str(refused.value) and str(value).strip("[]'") in str(refused.value)
    assert "consort train toy.yaml --out run" in str(refused.value)


def test_a_message_names_what_differs_and_not_two_hashes(folder):
    with pytest.raises(InputError, match="seed 3, was 1") as refused:
        claimed(folder, small_config(seed=3))
    assert small_config().digest() not in str(refused.value) and small_config(seed=3).digest() not in str(refused.value)
    with pytest.raises(InputError, match="received other data"):
        claimed(folder, small_config(), "e" * 64)


def test_every_section_is_either_read_by_training_or_known_not_to_be():
    # A new section must be thought about: does it decide what is trained?
    assert set(parse_config(SMALL).training_values()) == {
        "name", "source", "record", "seed", "features", "model", "training", "recipe",
    }  # fmt: skip
