"""What external inputs know of a run, wherever they are checked, and which of them a recipe cannot use."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.cotraining.base import Recipe, Trained
from models.cotraining.external_inputs import ExternalInput, RowFeatures, RunFacts
from models.training.job import TrainingJob
from runs.children import Children
from runs.external_inputs import checked_inputs
from runs.plan import Plan, make_plan
from runs.tuning import trial
from runs.tuning.trials import TrialRunner
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import toy_features, write_toy
from tfx_pipeline import trainer
from transforms import transform_graph
from transforms.errors import InputError
from transforms.records import shard_paths


class Refusing(ExternalInput):
    """Refuses every run, and names the first event that it knows of."""

    option, identity_key = "refusing", "refusing_sha256"

    def check(self, run: RunFacts) -> None:
        raise InputError("refusing", f"first event {run.first_time}", "nothing", "none")

    def identity(self) -> str:
        return "0"

    def load(self, run: RunFacts, transform: Any) -> None:
        pass


class AddingFeatures(Refusing):
    option = "adding"

    def check(self, run: RunFacts) -> None:
        pass

    def row_features(self, run: RunFacts) -> RowFeatures:
        return RowFeatures((), dict)


@dataclass(frozen=True)
class TakesRefusing(Recipe):
    """Takes an input that refuses."""

    def external_inputs(self) -> list[ExternalInput]:
        return [Refusing()]

    def row_widths(self, width: int) -> list[int]:
        return [width]

    def train(self, job: TrainingJob, directory: Path) -> Trained:
        raise NotImplementedError


@dataclass(frozen=True)
class Shuffled(TakesRefusing):
    """Takes an input that adds features to rows, and reads no rows."""

    def external_inputs(self) -> list[ExternalInput]:
        return [AddingFeatures()]


@dataclass(frozen=True)
class InOrder(Shuffled):
    """Reads them."""

    in_time_order = True


def _config(recipe: type[Recipe], **changes: Any) -> Any:
    return small_config(recipe={"name": f"{__name__}.{recipe.__name__}"}, **changes)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A run with an input that refuses, as if it had been checked."""
    dataset = write_toy(tmp_path / "data")
    config = _config(TakesRefusing, tuning={"space": {"model.dropout": [0.0, 0.1]}})
    return Plan(config, tmp_path / "data", dataset, tmp_path / "root")


def _first_event(plan: Plan) -> str:
    times = [info.time_range for info in plan.dataset.records["row"].values()]
    return f"first event {min(first for first, _ in filter(None, times))}"


def test_the_plan_and_the_trainer_of_a_pipeline_tell_an_input_when_the_data_begin(plan: Plan) -> None:
    with pytest.raises(InputError, match=_first_event(plan)):
        make_plan(plan.config, plan.data_dir, plan.root)
    with pytest.raises(InputError, match=_first_event(plan)):
        trainer.run_fn(SimpleNamespace(custom_config=plan.training_config(), hyperparameters=None))


def test_a_trial_tells_an_input_when_the_data_begin(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(children: Children, command: Sequence[str], log: Path, *limits: Any) -> None:
        with contextlib.suppress(InputError):
            trial.run(log.parent)

    runners: list[TrialRunner] = []
    monkeypatch.setattr(Children, "run", run)
    monkeypatch.setattr(transform_graph, "read_transform", lambda path: None)
    monkeypatch.setattr(trainer, "IsolatedTuner", lambda *arguments: runners.append(arguments[3]))
    trainer.tuner_fn(
        SimpleNamespace(
            custom_config={**plan.training_config(), "tuning_root": str(tmp_path / "trials")},
            transform_graph_path="nowhere",
            train_files=[],
            eval_files=[],
            working_dir=str(tmp_path),
        )
    )
    outcome = runners[0](0, {"model.dropout": 0.1})
    assert outcome.status == "failed" and _first_event(plan) in str(outcome.reason)


def test_features_of_rows_are_refused_where_no_rows_are_read() -> None:
    facts = RunFacts(_config(Shuffled), toy_features(), "0")
    with pytest.raises(InputError, match=r"recipe\.options\.adding: received features of rows, for recipe .*Shuffled"):
        checked_inputs(facts)
    assert len(checked_inputs(facts, from_stream=True)) == 1
    assert len(checked_inputs(RunFacts(_config(InOrder), toy_features(), "0"))) == 1


@pytest.mark.parametrize(
    ("recipe", "option", "value"),
    [
        ("cs3", "teacher", "nowhere"),
        ("cs3", "caches_from", "nowhere"),
        ("mutual_learning", "pretrained", ["nowhere"] * 2),
    ],
)
def test_what_is_not_there_is_refused_before_a_shard_is_read(
    tmp_path: Path, recipe: str, option: str, value: Any
) -> None:
    dataset = write_toy(tmp_path / "data")
    Path(shard_paths(tmp_path / "data", dataset, "row", "train")[0]).write_bytes(b"damaged")
    model = {"name": "dssm", "hidden_units": [4, 4]} if recipe == "cs3" else {}
    config = small_config(model=model, recipe={"name": recipe, "options": {option: value}})
    with pytest.raises(InputError, match=rf"recipe\.options\.{option}, nowhere: received"):
        make_plan(config, tmp_path / "data", tmp_path / "root")
