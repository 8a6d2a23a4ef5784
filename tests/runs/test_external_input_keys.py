"""External inputs of a recipe: their keys in run.json are told apart, and a recorded one must not change."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from models.cotraining.base import Recipe, Trained
from models.cotraining.external_inputs import ExternalInput, RunFacts
from models.training.job import TrainingJob
from runs.config import RunConfig
from runs.external_inputs import checked_inputs, identities, load_inputs
from transforms.errors import InputError
from transforms.features import FeatureSet


class Number(ExternalInput):
    """A number in a file."""

    option, identity_key = "number", "number_sha256"

    def __init__(self, path: str):
        self.path = path

    def check(self, run: RunFacts) -> None:
        if not Path(self.path).is_file():
            raise InputError("recipe.options.number", self.path, "a file", "correct the path")

    def identity(self) -> str:
        return Path(self.path).read_text()

    def load(self, run: RunFacts, transform: Any) -> int:
        return int(Path(self.path).read_text())


class Other(Number):
    option = "other"


class Unnamed(Number):
    identity_key = "number"


class Dataset(Number):
    identity_key = "dataset_sha256"


@dataclass(frozen=True)
class Numbers(Recipe):
    """Takes numbers.

    Args:
      path: of all.
      classes: of the inputs.
    """

    path: str = ""
    classes: Sequence[str] = ("Number",)

    def external_inputs(self) -> list[ExternalInput]:
        return [globals()[name](self.path) for name in self.classes]

    def row_widths(self, width: int) -> list[int]:
        return [width]

    def train(self, job: TrainingJob, directory: Path) -> Trained:
        raise NotImplementedError


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFacts:
    (tmp_path / "number").write_text("7")
    monkeypatch.setattr("runs.external_inputs.recipe_of", lambda config: Numbers(**config.recipe.options))
    return facts(tmp_path, "Number")


def facts(folder: Path, *classes: str) -> RunFacts:
    recipe = {"name": "numbers", "options": {"path": str(folder / "number"), "classes": classes}}
    config = RunConfig.model_validate({"name": "toy", "source": "simulator", "record": "row", "recipe": recipe})
    return RunFacts(config, FeatureSet(columns=(), features=()), "0" * 64)


def test_an_input_that_changed_since_it_was_recorded_is_refused(run: RunFacts, tmp_path: Path) -> None:
    inputs = checked_inputs(run)
    recorded = identities(inputs)
    assert recorded == {"number_sha256": "7"}
    assert load_inputs(inputs, run, None, recorded) == load_inputs(inputs, run, None, {}) == {"number": 7}
    (tmp_path / "number").write_text("8")
    with pytest.raises(InputError, match="number_sha256 8; expected 7"):
        load_inputs(inputs, run, None, recorded)
    assert load_inputs(inputs, run, None, {}) == {"number": 8}


@pytest.mark.parametrize("classes", [("Number", "Other"), ("Unnamed",), ("Dataset",)])
def test_a_key_that_would_not_tell_runs_apart_is_refused(run: RunFacts, tmp_path: Path, classes: Sequence[str]) -> None:
    with pytest.raises(ValueError, match=r"identity_key .* ends in _sha256"):
        checked_inputs(facts(tmp_path, *classes))
