"""Versions of a model that learns from a stream: items and towers are exported together, and flipped together."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runs.online.export import Export, Exporter
from runs.online.setup import Setup
from runs.online.state import OnlineState
from serving.retrieval.catalogue import NewestItems
from serving.versions import next_version, versions_in
from transforms.features import TIMESTAMP
from transforms.records import Dataset, items_in, load_dataset
from transforms.spans import files_of, spans_in


class Pusher:
    """Exports and publishes.

    Args:
      setup: of the run.
      serve: folder of models; None: nothing is pushed.
      say: receives lines for the user.
    """

    def __init__(self, setup: Setup, serve: Path | None, say: Callable[[str], None]):
        self._setup, self._say = setup, say
        self._base = None if serve is None else serve / setup.config.name
        self._items, self._begun = NewestItems(setup.feature_set), set[str]()
        self._exporter = Exporter()

    @property
    def is_on(self) -> bool:
        """Whether anything is pushed."""
        return self._base is not None

    def recall(self, state: OnlineState) -> None:
        """Reads the items of all events before `state` again: they are in the stream, so no checkpoint holds them."""
        for span in spans_in(self._setup.stream) if self.is_on else ():
            if span.name in (*state.spans, state.span):
                dataset = load_dataset(span)
                self.begin(span, dataset)
                rows = state.step_in_epoch * self._setup.config.training.rows_at_once
                self._items.read(files_of(span, dataset), None if span.name in state.spans else rows)

    def begin(self, span: Path, dataset: Dataset) -> None:
        """Takes the tables of items of a span that begins."""
        if self.is_on and span.name not in self._begun:
            self._begun.add(span.name)
            self._items.add(items_in(span, dataset))

    def see(self, raw: Mapping[str, Any]) -> None:
        """Takes the items of a batch."""
        if self.is_on:
            self._items.take({name: raw[name].numpy() for name in (*self._items.names, TIMESTAMP)})

    def number(self, state: OnlineState) -> None:
        """Gives the first version its number."""
        if self._base is not None and state.first_version is None:
            state.first_version = next_version(self._base)

    def push(self, state: OnlineState) -> None:
        """Exports the newest checkpoint, of `state`, with all items so far, as the version that is to come next."""
        if self._base is None or state.first_version is None:
            return
        version = state.first_version + state.pushed
        if version in dict(versions_in(self._base)):
            return
        setup = self._setup
        run = {**setup.info, "events": state.events, "spans": len(state.spans), "online_version": version}
        self._exporter.export(Export(setup, self._base, version, run, self._items.catalogue()))
        self._say(f"pushed version {version} after {state.events:,} events")

    def close(self) -> None:
        """Ends what exports."""
        self._exporter.close()
