"""The models of a server: which there are, the labels of their versions, and how both change while it runs."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from serving.protocol import ServingError
from serving.server.model_config import ModelConfig
from serving.server.model_versions import ModelVersions
from serving.server.servable import Servable

_LOG = logging.getLogger(__name__)
_POLL_S = 0.02
_REMEMBERED = 8
"""Models that are configured no more and whose states are still answered."""


class Models:
    """The models of a server by name, and the labels of their versions.

    Args:
      configs: the models to begin with.
      make: the versions of a model; `start` starts them.
      labels_of_unavailable: a new label may stand for a version that is not AVAILABLE, as with TensorFlow Serving's
        `--allow_version_labels_for_unavailable_models`; one that exists may still not be moved to such a version.
    """

    def __init__(
        self,
        configs: Sequence[ModelConfig],
        make: Callable[[ModelConfig], ModelVersions],
        labels_of_unavailable: bool = False,
    ):
        self._make, self._labels_of_unavailable = make, labels_of_unavailable
        self._versions = {config.name: make(config) for config in configs}
        self._labels = {config.name: dict(config.labels) for config in configs}
        self._retired: dict[str, ModelVersions] = {}
        self._reloading = threading.Lock()
        self._stopping = False

    def __getitem__(self, name: str) -> ModelVersions:
        return self._versions[name]

    def __iter__(self) -> Iterator[ModelVersions]:
        return iter(list(self._versions.values()))

    def __contains__(self, name: str) -> bool:
        return name in self._versions

    def start(self) -> None:
        """Begins to look for versions."""
        for model in self:
            model.start()

    def stop(self, timeout_s: float) -> bool:
        """Ends the calls under way and unloads everything; returns whether all of it is done in time."""
        deadline = time.monotonic() + timeout_s
        everything = [*self._versions.values(), *self._retired.values()]
        ended = [model.stop(max(0.0, deadline - time.monotonic())) for model in everything]
        return all(ended)

    def begin_to_stop(self) -> None:
        """Looks for no more versions and waits for none; returns at once."""
        self._stopping = True
        for model in [*self._versions.values(), *self._retired.values()]:
            model.begin_to_stop()

    def states(self, name: str) -> list[tuple[int, str, ServingError | None]]:
        """Number, state and error of a model's versions, highest first; none for a name that is not known."""
        model = self._versions.get(name) or self._retired.get(name)
        return model.states() if model else []

    def blockers(self, retrying: bool = True) -> list[str]:
        """What has to be waited for until all models are ready; see `ModelVersions.blocker`."""
        return [reason for model in self if (reason := model.blocker(retrying))]

    def check_labels(self) -> None:
        """Checks that all labels stand for versions that are AVAILABLE, unless they need not be.

        Raises:
          ServingError: FAILED_PRECONDITION.
        """
        for name, labels in self._labels.items():
            for label, version in labels.items():
                if not self._labels_of_unavailable and not self._versions[name].is_available(version):
                    raise _unavailable(name, label, version)

    @contextlib.contextmanager
    def borrow(self, spec: Any) -> Iterator[tuple[int, Servable]]:
        """The version that a ModelSpec means, kept loaded for the length of the block.

        Raises:
          ServingError: INVALID_ARGUMENT without a name or with an unknown label, NOT_FOUND if it is not loaded.
        """
        if not spec.name:
            raise ServingError("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        number = spec.version.value if choice == "version" else None
        if choice == "version_label":
            number = self._labels.get(spec.name, {}).get(spec.version_label)
            if number is None:
                raise ServingError("INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}")
        model = self._versions.get(spec.name)
        if model is None:
            servable = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise ServingError("NOT_FOUND", f"Servable not found for request: {servable}")
        with model.borrow(number) as version:
            yield version

    def reload(self, configs: Sequence[ModelConfig], waits: Callable[[], bool] = lambda: True) -> None:
        """Serves these models from now on, and no others; returns when the new ones are AVAILABLE.

        Args:
          configs: all models.
          waits: asked again and again while a new model is loading; False returns before it is there.

        Raises:
          ServingError: FAILED_PRECONDITION: a label may not be assigned, and nothing has changed; UNKNOWN: a new model
            cannot be loaded; UNAVAILABLE: another configuration is being loaded, or the server stops.
        """
        if not self._reloading.acquire(blocking=False):
            raise ServingError("UNAVAILABLE", "another configuration is being loaded")
        try:
            labels = {config.name: self._new_labels(config) for config in configs}
            new = self._apply(configs)
            self._labels = labels
            while blockers := [reason for model in new if (reason := self._blocker(model))]:
                if self._stopping:
                    raise ServingError("UNAVAILABLE", "the server is stopping")
                if not waits():
                    raise ServingError("DEADLINE_EXCEEDED", "; ".join(blockers))
                time.sleep(_POLL_S)
        finally:
            self._reloading.release()

    def _new_labels(self, config: ModelConfig) -> dict[str, int]:
        known, model = self._labels.get(config.name, {}), self._versions.get(config.name)
        for label, version in config.labels.items():
            allowed = self._labels_of_unavailable and known.get(label, version) == version
            if not allowed and not (model and model.is_available(version)):
                raise _unavailable(config.name, label, version)
        return dict(config.labels)

    def _apply(self, configs: Sequence[ModelConfig]) -> list[ModelVersions]:
        """Makes, changes and retires models; returns the new ones."""
        versions, new = {}, []
        for config in configs:
            known = self._versions.get(config.name)
            if known is None:
                known = self._make(config)
                new.append(known)
            else:
                known.configure(config.base, config.policy)
            versions[config.name] = known
        gone = {name: model for name, model in self._versions.items() if name not in versions}
        self._versions = versions
        for name, model in gone.items():
            _LOG.info("%s: no longer configured", name)
            model.retire()
        # A name that is listed again is remembered by its new versions.
        remembered = {**self._retired, **gone}
        self._retired = {name: remembered[name] for name in list(remembered)[-_REMEMBERED:] if name not in versions}
        for model in new:
            model.start()
        return new

    def _blocker(self, model: ModelVersions) -> str | None:
        try:
            return model.blocker()
        except ServingError as error:
            message = f"1 model(s) did not become available: {{{{{error.details}}}, }}"
            raise ServingError("UNKNOWN", message) from None


def _unavailable(name: str, label: str, version: int) -> ServingError:
    message = f"Request to assign label to version {version} of model {name}, which is not currently available for"
    return ServingError("FAILED_PRECONDITION", f"{message} inference: label {label}")
