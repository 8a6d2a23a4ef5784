"""Each key of the run file reaches its purpose: changed alone, it changes the model, its training or the pipeline."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tensorflow_transform as tft
from pydantic import BaseModel

from models.cotraining.base import RECIPES
from runs.config import RunConfig, parse_config
from runs.fitting import fit_task
from runs.plan import make_plan
from runs.train import _task
from runs.tuning.space import trial_config
from runs.tuning.tuner import IsolatedTuner
from tests.helpers.recording_recipe import Recording
from tests.helpers.toy_data import write_learnable
from tfx_pipeline.pipeline import create_pipeline
from transforms.beam.transform_dataset import transform_dataset
from transforms.errors import InputError

_BASE: dict[str, Any] = {
    "name": "mine",
    "source": "toy",
    "seed": 1,
    "model": {"name": "dcn", "embedding_dim": 2, "hidden_units": [3]},
    "training": {"batch_size": 100},
    "recipe": {"name": "recording"},
    "tuning": {"space": {"training.learning_rate": [0.1, 0.2]}, "algorithm": "bayesian"},
}
_OTHER: dict[str, Any] = {
    "name": "another",
    "source": "another",
    "record": "request",
    "seed": 2,
    "baselines": False,
    "features.drop": ["count"],
    "features.add": [{"name": "day", "column": "timestamp", "encoding": "weekend"}],
    "features.vocabularies": [{"name": "hashed", "hash_buckets": 9}],
    "model.name": "deepfm",
    "model.embedding_dim": 3,
    "model.hidden_units": [4],
    "model.dropout": 0.5,
    "model.batch_norm": True,
    "model.options": {"num_cross_layers": 1},
    "training.batch_size": 50,
    "training.min_steps_per_epoch": 300,
    "training.epochs": 2,
    "training.linear_start": False,
    "training.learning_rate": 0.5,
    "training.decay_epochs": 2.0,
    "training.optimizer": "ftrl",
    "training.distribution": "mirrored",
    "training.precision": "mixed_bfloat16",
    "training.embedding_l2": 0.5,
    "training.l2_scope": "table",
    "training.jit_compile": True,
    "training.memory_limit_gb": 1e-9,
    "training.tensorboard": True,
    "training.patience": 3,
    "training.checkpoint_steps": 7,
    "training.keep_checkpoints": 5,
    "training.steps_per_execution": 4,
    "training.shuffle_buffer": 0,
    "training.max_steps": 9,
    "recipe.name": "cs3",
    "recipe.options": {"note": "another"},
    "gate.checks": {"drift": "report"},
    "gate.min_auc": 0.7,
    "gate.max_calibration_error": 0.2,
    "gate.min_auc_gain": 0.3,
    "gate.min_gain_over_baseline": 0.02,
    "pipeline.beam_args": ["--runner=DirectRunner"],
    "pipeline.statistics_max_examples": 10,
    "pipeline.evaluate_split": "eval",
    "pipeline.slices": ["user_id"],
    "pipeline.keep_versions": 8,
    "tuning.algorithm": "random",
    "tuning.max_trials": 3,
    "tuning.objective": "eval_auc",
    "tuning.epochs": 5,
    "tuning.max_steps": 6,
    "tuning.initial_points": 7,
    "tuning.in_pipeline": True,
    "tuning.space": {"training.learning_rate": [0.1, 0.3]},
}
_OF_PROCESSES = {"tuning.parallel", "tuning.memory_gb", "tuning.timeout_s"}
"""What these do shows only while trials run: test_tuner_runner.py, test_tuner_process.py."""


def _keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, item in section.model_fields.items():
        inner = item.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_key_has_another_value_to_try() -> None:
    assert set(_keys(RunConfig)) == set(_OTHER) | _OF_PROCESSES


def _config(changes: Mapping[str, Any]) -> RunConfig:
    values = {key: dict(value) if isinstance(value, dict) else value for key, value in _BASE.items()}
    for key, value in changes.items():
        section, _, leaf = key.rpartition(".")
        (values.setdefault(section, {}) if section else values)[leaf] = value
    return parse_config(values)


class _Data(NamedTuple):
    folder: Path
    transform: tft.TFTransformOutput


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> _Data:
    folder = tmp_path_factory.mktemp("keys")
    dataset = write_learnable(folder / "data")
    transform_dataset(folder / "data", dataset, folder / "transformed", dataset.feature_set, "row", ("train", "eval"))
    return _Data(folder, tft.TFTransformOutput(str(folder / "transformed")))


@pytest.fixture(autouse=True)
def _recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "recording", "tests.helpers.recording_recipe.Recording")


def _seen(config: RunConfig, data: _Data, key: str = "") -> str:
    """What model, training, pipeline and search are made of the config; none of it is the config itself.

    Only for keys of the search the budget of its trials counts, which repeats keys of training.
    """
    Recording.last.clear()
    try:
        plan = make_plan(config, data.folder / "data", data.folder / "root")
        fit_task(_task(plan, data.folder / "transformed", {}), data.folder / "none")
    except InputError as error:
        return str(error)
    parts: list[Any] = [_training(), plan.serving_base]
    wired = create_pipeline(plan)
    # Trainer and Tuner are given the whole config, whatever they make of it.
    parts += [(one.id, one.exec_properties) for one in wired.components if one.id not in ("Trainer", "Tuner")]
    parts += [[one.id for one in wired.components], wired.beam_pipeline_args]
    tuner = IsolatedTuner(config.tuning, config.seed, data.folder / "tuner", lambda index, values: pytest.fail("ran"))
    oracle = tuner.oracle
    parts += [type(oracle), oracle.max_trials, oracle.objective, vars(oracle).get("num_initial_points")]
    parts += [[str(one.get_config()) for one in oracle.get_space().space]]
    if key.startswith("tuning."):
        budget = trial_config(config, {}).training
        parts += [budget.epochs, budget.max_steps]
    return "\n".join(map(str, parts))


# Functions print where in memory they are.
_COMPARED_APART = ("learning_rate", "start", "train_dataset")


def _training() -> list[Any]:
    job, model = Recording.last["job"], Recording.last["model"]
    first = next(iter(job.train_dataset(1, 0)))
    return [
        {name: value for name, value in Recording.last["fit"].items() if name not in _COMPARED_APART},
        "start" in Recording.last["fit"],
        _rates(Recording.last["fit"]["learning_rate"]),
        job.steps_per_epoch,
        first[1].numpy().tolist(),
        # Of its layers: the config of the model itself would only repeat what the constructor was given.
        [str(part) for part in (model.embeddings.parts, model.embeddings.inputs, model.embeddings.table_sizes)],
        [tuple(weight.shape) for weight in model.weights],
        model._compiled_head is not None,
        type(model),
        model.dtype_policy.name,
        model.weights[-2].numpy().tolist(),
        [(type(step).__name__, getattr(step, "rate", None)) for step in model.mlp._steps],
        Recording.last["strategy"],
        Recording.last["note"],
    ]


def _rates(rate: Any) -> list[float]:
    """The learning rate in the first steps."""
    return [float(rate(step) if callable(rate) else rate) for step in (0, 10)]


@pytest.fixture(scope="module")
def base(data: _Data) -> dict[str, str]:
    """What is made of the config without a change, by the section that is looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "recording", "tests.helpers.recording_recipe.Recording")
        first = _seen(_config({}), data)
        assert _seen(_config({}), data) == first
        return {"": first, "tuning": _seen(_config({}), data, "tuning.")}


@pytest.mark.parametrize("key", _OTHER)
def test_a_key_changes_what_it_is_for(key: str, data: _Data, base: dict[str, str]) -> None:
    also = {"training.embedding_l2": 0.5} if key == "training.l2_scope" else {}
    expected = base["tuning" if key.startswith("tuning.") else ""] if not also else _seen(_config(also), data)
    assert _seen(_config({**also, key: _OTHER[key]}), data, key) != expected
