"""Which model a new one is compared with: the one that is served."""

import os
from dataclasses import dataclass

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.common.resolver import ResolverStrategy

MODEL, PUSHED_MODEL, CANDIDATE = "model", "pushed_model", "candidate"
"""Channels of the strategy: all models, all pushes, and the model that is to be evaluated."""


@dataclass(frozen=True)
class _Push:
    version: int
    directory: str
    artifact: types.Artifact
    model_id: int


class ServedModelStrategy(ResolverStrategy):
    """Resolves `model` to the one that is served: the newest pushed version that is still where it was pushed to.

    A model that was blessed and never pushed is none that anybody is served by. If the candidate itself is served,
    `model` is the one that was served before it, so that its evaluation is the same as when it was pushed.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Resolves `model` and `pushed_model` to one artifact each, or to none where nothing is served."""
        models = {model.id: model for model in input_dict[MODEL]}
        candidate = {model.id for model in input_dict[CANDIDATE]}
        pushes = [push for push in _pushes(store, input_dict[PUSHED_MODEL]) if push.model_id in models]
        served = next((push for push in pushes if os.path.isdir(push.directory)), None)
        if served is not None and served.model_id in candidate:
            earlier = (push for push in pushes if push.version < served.version and push.model_id not in candidate)
            served = next((push for push in earlier if os.path.isdir(models[push.model_id].uri)), None)
        if served is None:
            return {**input_dict, MODEL: [], PUSHED_MODEL: []}
        return {**input_dict, MODEL: [models[served.model_id]], PUSHED_MODEL: [served.artifact]}


def _pushes(store: mlmd.MetadataStore, artifacts: list[types.Artifact]) -> list[_Push]:
    """What was pushed, the newest version first."""
    pushes = []
    for artifact in artifacts:
        version = artifact.get_string_custom_property("pushed_version")
        if artifact.get_int_custom_property("pushed") == 1 and version.isdigit():
            directory = artifact.get_string_custom_property("pushed_destination")
            pushes += [_Push(int(version), directory, artifact, model) for model in _models_of(store, artifact.id)]
    return sorted(pushes, key=lambda push: (push.version, push.artifact.id), reverse=True)


def _models_of(store: mlmd.MetadataStore, pushed_id: int) -> set[int]:
    """Ids of the models that the executions which wrote a PushedModel were given."""
    pushers = {event.execution_id for event in store.get_events_by_artifact_ids([pushed_id])}
    events = store.get_events_by_execution_ids(sorted(pushers)) if pushers else []
    return {event.artifact_id for event in events if event.path.steps and event.path.steps[0].key == MODEL}
