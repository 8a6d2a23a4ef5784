"""Models of finished runs, with their weights, as an external input of a recipe."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tf_keras as keras

from models.cotraining.external_inputs import ExternalInput, RunFacts
from models.training.checkpoints import read_weights
from runs.building import model_of
from runs.config import RunConfig
from runs.provenance import CHECKPOINT_DIR, read_run
from transforms.errors import InputError
from transforms.files import folder_sha256
from transforms.vocabularies import table_sizes


class PretrainedModels(ExternalInput):
    """The models of finished runs of `consort train` on the same data and features.

    `load` returns a function for each, which builds its model: they need not be in memory at once.

    Args:
      folders: of the runs.
    """

    option, identity_key = "pretrained", "pretrained_sha256"

    def __init__(self, folders: Sequence[str]):
        self._folders = tuple(map(str, folders))
        self._configs: dict[str, RunConfig] = {}
        self._has_linear: dict[str, bool] = {}

    def check_exists(self) -> None:
        for folder in self._folders:
            read_run(self._where(folder), folder)

    def _where(self, folder: str) -> str:
        return f"recipe.options.{self.option}, {folder}"

    def check(self, run: RunFacts) -> None:
        for folder in self._folders:
            where = self._where(folder)
            record, config = read_run(where, folder)
            pairs = {
                "dataset_sha256": (record.get("dataset_sha256"), run.dataset_sha256),
                "features": (config.features, run.config.features),
            }
            for name, (there, here) in pairs.items():
                if there != here:
                    fix = "pretrain on the same dataset and features: ids of another vocabulary mean other things"
                    raise InputError(where, f"a run with {name} {there}", f"{name} {here}", fix)
            self._configs[folder] = config
            self._has_linear[folder] = bool(record.get("training", {}).get("linear_terms"))

    def identity(self) -> str:
        parts = [folder_sha256(Path(folder) / CHECKPOINT_DIR) for folder in self._folders]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def load(self, run: RunFacts, transform: Any) -> list[Callable[[], keras.Model]]:
        sizes = table_sizes(run.feature_set, transform)

        def model_in(folder: str) -> keras.Model:
            config, linear_terms = self._configs[folder], self._has_linear[folder]
            model = model_of(config, run.feature_set, sizes, linear_terms=linear_terms)
            model.embeddings.build(None)
            model.build_head()
            read_weights(Path(folder) / CHECKPOINT_DIR, model)
            return model

        return [partial(model_in, folder) for folder in self._folders]
