"""Exports of a model that learns from a stream, in a process of their own: what they leave in memory goes with it."""

import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from runs.children import die_with
from runs.online.setup import Setup
from serving.retrieval.catalogue import Catalogue
from transforms.errors import ConsortError
from transforms.one_keras import require_legacy_keras

_EXPORTS_PER_PROCESS = 20


@dataclass(frozen=True)
class Export:
    """A version to be made.

    Args:
      setup: of the run; its newest checkpoint is exported.
      base: of the model's versions.
      version: number of the new one.
      run: what the contract says of the run.
      catalogue: items seen so far.
    """

    setup: Setup
    base: Path
    version: int
    run: Mapping[str, Any]
    catalogue: Catalogue


class Exporter:
    """Exports one version at a time; each process makes some and is replaced."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._made = 0

    def export(self, wanted: Export) -> None:
        """Returns once the version is there.

        Raises:
          ConsortError: the process was ended from outside.
        """
        if self._made == _EXPORTS_PER_PROCESS:
            self.close()
        if self._pool is None:
            self._pool, self._made = ProcessPoolExecutor(1, get_context("spawn"), _start, (os.getpid(),)), 0
        self._made += 1
        try:
            self._pool.submit(export_version, wanted).result()
        except BrokenProcessPool as error:
            self._pool = None
            raise ConsortError(
                f"the export of version {wanted.version} was ended from outside, perhaps for lack of memory; expected "
                "it to finish. Fix: free some memory; the same command goes on where this one ended"
            ) from error

    def close(self) -> None:
        """Ends the process."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _start(parent: int) -> None:
    die_with(parent)
    require_legacy_keras()
    # What libraries say while they export is of no use to who watches the stream.
    warnings.simplefilter("ignore")
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)


def export_version(wanted: Export) -> None:
    """Exports the model of a run's newest checkpoint, and publishes it."""
    from models.retrieval.tower_model import TowerModel
    from models.training.checkpoints import read_weights
    from models.training.fit import build_to_train
    from runs.online.events import EventBatches
    from runs.provenance import CHECKPOINT_DIR
    from runs.train import GOLDEN_COUNT
    from serving.export.export import export_model
    from serving.versions import publish
    from transforms.input import first_examples
    from transforms.records import load_dataset
    from transforms.spans import files_of, spans_in

    setup, training = wanted.setup, wanted.setup.config.training
    learner = setup.model()
    spec = EventBatches(setup.transform, setup.feature_set, training.rows_at_once).element_spec
    build_to_train(learner, spec[0], training.learning_rate, training.optimizer)
    read_weights(setup.out / CHECKPOINT_DIR, learner)
    model = setup.recipe.served(learner)
    first = spans_in(setup.stream)[0]
    examples = first_examples(files_of(first, load_dataset(first)), GOLDEN_COUNT)
    wanted.base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=setup.out) as folder:
        export_model(
            Path(folder) / "model",
            setup.config.name,
            model,
            setup.transform,
            setup.feature_set,
            "row",
            dict(wanted.run),
            examples,
            wanted.catalogue if isinstance(model, TowerModel) else None,
        )
        publish(Path(folder) / "model", wanted.base, setup.config.pipeline.keep_versions, wanted.version)
