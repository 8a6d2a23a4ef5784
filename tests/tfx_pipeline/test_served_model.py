"""Which model is the baseline: of pushes and folders as they are left by runs, rollbacks and kills."""

import shutil
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.types import Artifact, standard_artifacts

from tfx_pipeline.components.served_model import ServedModelStrategy


class History:
    """Models of a pipeline in a metadata store, and their pushes, as TFX records both."""

    def __init__(self, folder: Path):
        config = metadata_store_pb2.ConnectionConfig()
        config.fake_database.SetInParent()
        self.store, self.folder = metadata_store.MetadataStore(config), folder
        self.pusher = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="Pusher"))
        self.models: list[Artifact] = []
        self.pushed: list[Artifact] = []

    def train(self) -> Artifact:
        model = self._new(standard_artifacts.Model())
        model.uri = str(self.folder / "models" / str(model.id))
        Path(model.uri).mkdir(parents=True)
        self.models.append(model)
        return model

    def push(self, model: Artifact, version: int | None) -> None:
        """Records a push as a version; None: Pusher ran, and did not push."""
        pushed = self._new(standard_artifacts.PushedModel())
        pushed.set_int_custom_property("pushed", int(version is not None))
        if version is not None:
            target = self.folder / "serving" / str(version)
            target.mkdir(parents=True, exist_ok=True)
            pushed.set_string_custom_property("pushed_destination", str(target))
            pushed.set_string_custom_property("pushed_version", str(version))
        (execution,) = self.store.put_executions([metadata_store_pb2.Execution(type_id=self.pusher)])
        self._event(execution, model, metadata_store_pb2.Event.INPUT, "model")
        self._event(execution, pushed, metadata_store_pb2.Event.OUTPUT, "pushed_model")
        self.pushed.append(pushed)

    def baseline_of(self, candidate: Artifact) -> list[int]:
        given = {"model": list(self.models), "pushed_model": list(self.pushed), "candidate": [candidate]}
        resolved = ServedModelStrategy().resolve_artifacts(self.store, given)
        assert set(resolved) == set(given) and resolved["candidate"] == [candidate]
        return [model.id for model in resolved["model"]]

    def _new(self, artifact: Artifact) -> Artifact:
        kind = self.store.put_artifact_type(metadata_store_pb2.ArtifactType(name=artifact.TYPE_NAME))
        (artifact.id,) = self.store.put_artifacts([metadata_store_pb2.Artifact(type_id=kind)])
        return artifact

    def _event(self, execution: int, artifact: Artifact, kind: int, key: str) -> None:
        event = metadata_store_pb2.Event(execution_id=execution, artifact_id=artifact.id, type=kind)
        event.path.steps.add().key = key
        self.store.put_events([event])


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def test_the_first_model_has_no_baseline(history: History) -> None:
    assert history.baseline_of(history.train()) == []


def test_a_model_that_was_never_pushed_is_no_baseline(history: History) -> None:
    served, blessed = history.train(), history.train()
    history.push(served, 1)
    history.push(blessed, None)
    assert history.baseline_of(history.train()) == [served.id]


def test_the_newest_pushed_version_is_the_baseline_whatever_was_trained_last(history: History) -> None:
    first, second = history.train(), history.train()
    history.push(second, 1)
    history.push(first, 2)
    assert history.baseline_of(history.train()) == [first.id]


def test_after_a_rollback_the_baseline_is_the_version_that_was_gone_back_to(history: History) -> None:
    first, second = history.train(), history.train()
    history.push(first, 1)
    history.push(second, 2)
    shutil.rmtree(history.folder / "serving" / "2")
    assert history.baseline_of(history.train()) == [first.id]
    assert history.baseline_of(second) == [first.id]


def test_a_served_model_is_compared_with_what_was_served_before_it_and_never_with_itself(history: History) -> None:
    first, second = history.train(), history.train()
    history.push(first, 1)
    assert history.baseline_of(first) == []
    history.push(second, 2)
    # As of an identical run, which pushes nothing and records the version that is there.
    history.push(second, 2)
    assert history.baseline_of(second) == [first.id]
    # Rotated out of serving, it is still what the second was compared with.
    shutil.rmtree(history.folder / "serving" / "1")
    assert history.baseline_of(second) == [first.id]
    history.push(first, 3)
    assert history.baseline_of(first) == [second.id] and history.baseline_of(second) == [first.id]


def test_a_model_whose_files_are_gone_is_no_baseline(history: History) -> None:
    first, second = history.train(), history.train()
    history.push(first, 1)
    history.push(second, 2)
    shutil.rmtree(first.uri)
    assert history.baseline_of(second) == []
