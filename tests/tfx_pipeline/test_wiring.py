import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from models.cotraining.external_inputs import ExternalInput, RunFacts
from runs.plan import Plan, make_plan
from runs.provenance import code_version
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import write_toy
from tfx_pipeline.pipeline import create_data_pipeline, create_pipeline, edges, mermaid


class _External(ExternalInput):
    option, identity_key = "other", "other_sha256"

    def __init__(self, identity: str):
        self._identity = identity

    def check(self, run: RunFacts) -> None:
        pass

    def identity(self) -> str:
        return self._identity

    def load(self, run: RunFacts, transform: Any) -> None:
        pass


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wiring")
    write_toy(folder / "data")
    return make_plan(small_config(), folder / "data", folder / "root")


def test_transform_waits_for_the_anomaly_gate_and_pusher_for_the_model_gate(plan):
    wired = edges(plan)
    assert ("AnomalyGate", "Transform") in wired and ("ModelGate", "Pusher") in wired
    assert ("blessed_model", "Evaluator") in wired


def test_wiring_writes_nothing(plan):
    mermaid(plan)
    assert not plan.root.exists()


def test_every_node_is_there_once(plan):
    ids = [node.id for node in create_pipeline(plan).components]
    data_half = "ImportExampleGen StatisticsGen CuratedSchema ExampleValidator AnomalyGate Transform"
    model_half = "Trainer blessed_model Evaluator ModelGate Pusher"
    assert sorted(ids) == sorted(f"{data_half} {model_half}".split())
    assert len(create_data_pipeline(plan).components) == 6


def test_the_test_split_is_neither_analysed_nor_transformed(plan):
    transform = next(node for node in create_pipeline(plan).components if node.id == "Transform")
    config = transform.exec_properties["splits_config"]
    assert "test" not in str(config) and "train" in str(config)


def properties(plan: Plan, node_id: str) -> str:
    node = next(node for node in create_pipeline(plan).components if node.id == node_id)
    return str(node.exec_properties["custom_config"])


def test_code_and_config_are_execution_properties_so_that_the_cache_sees_them(plan):
    assert code_version("transforms") in properties(plan, "Transform")
    trained = properties(plan, "Trainer")
    changed = Plan(small_config(training={"epochs": 9}), plan.data_dir, plan.dataset, plan.root)
    assert properties(changed, "Trainer") != trained
    assert properties(changed, "Transform") == properties(plan, "Transform")


@pytest.mark.parametrize(
    "changes",
    [
        {"gate": {"min_auc": 0.9}},
        {"pipeline": {"keep_versions": 9, "slices": ["price"]}},
        {"tuning": {"max_trials": 3}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_training_does_not_read_is_no_property_of_the_trainer(plan, changes):
    changed = make_plan(small_config(**changes), plan.data_dir, plan.root)
    for node in ("Trainer", "Transform"):
        assert properties(changed, node) == properties(plan, node)


def test_what_a_later_node_reads_is_its_property(plan):
    changed = dataclasses.replace(plan, config=small_config(gate={"min_auc": 0.9}, pipeline={"keep_versions": 9}))
    assert properties(changed, "Pusher") != properties(plan, "Pusher")
    evaluators = [next(n for n in create_pipeline(p).components if n.id == "Evaluator") for p in (plan, changed)]
    assert len({str(node.exec_properties["eval_config"]) for node in evaluators}) == 2


def test_the_identity_of_an_external_input_is_an_execution_property_of_the_trainer_alone(plan):
    first, second = (dataclasses.replace(plan, inputs=(_External(content),)) for content in ("one", "other"))
    assert len({properties(one, "Trainer") for one in (plan, first, second)}) == 3
    assert properties(first, "Transform") == properties(plan, "Transform")


def test_the_code_version_follows_the_code(tmp_path, monkeypatch):
    package = tmp_path / "some_room"
    package.mkdir()
    (package / "__init__.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = code_version.__wrapped__("some_room")
    (package / "__init__.py").write_text("x = 2\n")
    assert code_version.__wrapped__("some_room") != before


def test_the_root_is_absolute_whatever_it_was_given_as(plan):
    relative = make_plan(plan.config, plan.data_dir, Path(os.path.relpath(plan.root)))
    assert relative.root == plan.root
