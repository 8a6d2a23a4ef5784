"""Versions of a model that learns from a stream: items and towers are exported together, and flipped together."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from models.retrieval.tower_model import TowerModel
from serving.export import export_model
from serving.newest_items import NewestItems
from serving.versions import next_version, publish, versions_in
from tfx_pipeline.online_setup import Setup
from tfx_pipeline.online_state import OnlineState
from tfx_pipeline.training import GOLDEN_COUNT
from transforms.features import TIMESTAMP
from transforms.input import first_examples
from transforms.records import load_dataset
from transforms.spans import files_of, spans_in


class Pusher:
    """Exports and publishes.

    Args:
      setup: of the run.
      serve: folder of models; None: nothing is pushed.
      say: is told what happens.
    """

    def __init__(self, setup: Setup, serve: Path | None, say: Callable[[str], None]):
        self._setup, self._say = setup, say
        self._base = None if serve is None else serve / setup.config.name
        self._items = NewestItems(setup.feature_set)

    @property
    def is_on(self) -> bool:
        """Whether anything is pushed."""
        return self._base is not None

    def recall(self, state: OnlineState) -> None:
        """Reads the items of all events before `state` again: they are in the stream, so no checkpoint holds them."""
        for span in spans_in(self._setup.stream) if self.is_on else ():
            if span.name in state.spans:
                self._items.read(files_of(span, load_dataset(span)))
            elif span.name == state.span:
                files = files_of(span, load_dataset(span))
                self._items.read(files, state.step_in_epoch * self._setup.config.training.batch_size)

    def see(self, raw: Mapping[str, Any], taken: np.ndarray) -> None:
        """Takes the items of a batch."""
        if self.is_on:
            columns = {name: raw[name].numpy()[taken] for name in (*self._items.names, TIMESTAMP)}
            self._items.take(columns)

    def number(self, state: OnlineState) -> None:
        """Gives the first version its number."""
        if self._base is not None and state.first_version is None:
            state.first_version = next_version(self._base)

    def push(self, state: OnlineState, model: keras.Model) -> None:
        """Exports a model with all items so far, as the version that `state` is to have next."""
        if self._base is None or state.first_version is None:
            return
        version = state.first_version + state.pushed
        if version in dict(versions_in(self._base)):
            return
        setup, config = self._setup, self._setup.config
        self._base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=setup.out) as folder:
            run = {**setup.info, "events": state.events, "spans": len(state.spans), "online_version": version}
            export_model(
                Path(folder) / "model",
                config.name,
                model,
                setup.transform,
                setup.feature_set,
                "row",
                run,
                first_examples(self._warmup_files(), GOLDEN_COUNT),
                **({"catalogue": self._items.catalogue()} if isinstance(model, TowerModel) else {}),
            )
            publish(Path(folder) / "model", self._base, config.pipeline.keep_versions, version)
        self._say(f"pushed version {version} after {state.events:,} events")

    def _warmup_files(self) -> list[str]:
        first = spans_in(self._setup.stream)[0]
        return files_of(first, load_dataset(first))
