"""Exported models of a simulated log, with random weights, requests for them, and a server in a process of its own."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models.registry import build_model
from runs.config import ModelConfig
from serving.export.export import export_model
from serving.export.requests import request_inputs
from serving.retrieval.catalogue import catalogue_of, user_columns
from serving.retrieval.signatures import EXCLUDE, EXCLUDE_COUNT, RETRIEVE, K
from simulation.cascade_log import simulate
from simulation.parameters import World
from transforms.beam.transform_dataset import load_transform, transform_dataset
from transforms.errors import ConsortError
from transforms.features import CANDIDATE, COUNT, ITEM_ID, FeatureSet, RecordKind, with_lengths
from transforms.input import first_examples
from transforms.records import shard_paths
from transforms.vocabularies import table_sizes

SET_RANKER, ROW_RANKER, TOWERS = "set_ranker", "deepfm", "dssm"
"""The models, by the names of their classes: for requests, for rows, and for retrieval."""
_RECORDS: dict[str, RecordKind] = {SET_RANKER: "request", ROW_RANKER: "row", TOWERS: "row"}
_LOGGED, _ITEMS, _DISTINCT = 200, 20_000, 20
DEFAULT = "serving_default"


class Request(NamedTuple):
    """A request for one signature of a model, and the inputs to send."""

    model: str
    signature: str
    inputs: Mapping[str, np.ndarray]


class ServedModels:
    """A simulated log, and models of it that are exported under `folder/serving`.

    The models are of the size that a run file has by default; their weights are random, as speed does not depend on
    them. Values are those of the log.

    Args:
      folder: for everything that is written.
      candidates, history: elements of each request of the set ranker.
      seed: of the log and of the weights.
    """

    def __init__(self, folder: Path, candidates: int, history: int, seed: int):
        default = World()
        ranked = min(default.ranked_items, candidates)
        world = World(
            items=max(_ITEMS, 2 * candidates),
            candidates=candidates,
            min_candidates=candidates,
            pool_size=max(default.pool_size, 2 * candidates),
            ranked_items=ranked,
            exposed_items=min(default.exposed_items, ranked),
            history_length=max(history, 1),
            past_clicks=history,
        )
        self.serving, self._folder, self._history, self._seed = folder / "serving", folder, history, seed
        self._dataset = simulate(folder / "data", world, _LOGGED, seed)
        self._features = self._dataset.feature_set
        self._transform = cache(self._learn_transform)

    def export(self, name: str, version: int = 1) -> Path:
        """Writes a version of a model and returns its folder; other versions have other weights."""
        record, path = _RECORDS[name], self.serving / name / str(version)
        transform = self._transform(record)
        model = self._random_model(name, table_sizes(self._features, transform), self._seed + version - 1)
        catalogue = None
        if name == TOWERS:
            files = shard_paths(self._folder / "data", self._dataset, record, "train")
            catalogue = catalogue_of(files, self._features, record)
        export_model(
            path, name, model, transform, self._features, record, {}, self._examples(record, _DISTINCT), catalogue
        )
        return path

    def set_requests(self) -> list[Request]:
        """Returns requests with one logged candidate set each, and histories of one length."""
        logged = request_inputs(self._examples("request", _DISTINCT), self._features, "request")
        single = [{name: value[k : k + 1] for name, value in logged.items()} for k in range(_DISTINCT)]
        return [Request(SET_RANKER, DEFAULT, with_history(one, self._features, self._history)) for one in single]

    def row_requests(self, rows: int) -> list[Request]:
        """Returns requests that score some rows each."""
        examples = self._examples("row", _DISTINCT * rows)
        logged = request_inputs(examples, self._features, "row")
        return [
            Request(ROW_RANKER, DEFAULT, {name: value[start : start + rows] for name, value in logged.items()})
            for start in range(0, len(examples) - rows + 1, rows)
        ]

    def user_requests(self, users: int, k: int) -> list[Request]:
        """Returns requests for the top k items of some users, without an item of their history."""
        requests = []
        names = [column.name for column in with_lengths(user_columns(self._features))]
        for row in self.row_requests(users):
            inputs = row.inputs
            options = {
                K: np.full([users], k, np.int32),
                EXCLUDE: inputs[ITEM_ID][:, np.newaxis],
                EXCLUDE_COUNT: np.ones([users], np.int64),
            }
            requests.append(Request(TOWERS, RETRIEVE, {name: inputs[name] for name in names} | options))
        return requests

    def _learn_transform(self, record: RecordKind) -> Any:
        out, data = self._folder / f"transformed_{record}", self._folder / "data"
        transform_dataset(data, self._dataset, out, self._features, record, splits=())
        return load_transform(out)

    def _examples(self, record: RecordKind, count: int) -> list[bytes]:
        return list(first_examples(shard_paths(self._folder / "data", self._dataset, record, "test"), count))

    def _random_model(self, name: str, sizes: Any, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        inputs, settings = self._features.model_inputs(_RECORDS[name]), ModelConfig()
        widths = {"embedding_dim": settings.embedding_dim, "hidden_units": settings.hidden_units}
        model: Any = build_model(name, inputs, sizes, **widths, seed=seed)
        model.embeddings.build(None)
        model.build_head()
        for weight in model.trainable_weights:
            weight.assign_add(tf.random.normal(weight.shape, stddev=0.1))
        return model


def with_history(inputs: Mapping[str, np.ndarray], features: FeatureSet, history: int) -> dict[str, np.ndarray]:
    """Returns the inputs with histories of one length: longer ones are cut, shorter ones repeat."""
    resized = dict(inputs)
    for name, values in inputs.items():
        column = features.column(name)
        if column.variable_length:
            real = values[values != column.marker]
            resized[name] = np.resize(real if len(real) else inputs["item_id"], [1, history])
            resized[column.lengths.name] = np.full([1], history)
    return resized


def with_candidates(inputs: Mapping[str, np.ndarray], share: float) -> dict[str, np.ndarray]:
    """Returns the inputs with only the first of their candidates."""
    number = inputs[CANDIDATE].shape[1]
    kept = max(1, round(share * number))
    cut = {name: value[:, :kept] if value.shape[1:2] == (number,) else value for name, value in inputs.items()}
    if CANDIDATE + COUNT in cut:
        cut[CANDIDATE + COUNT] = np.minimum(cut[CANDIDATE + COUNT], kept)
    return cut


@contextlib.contextmanager
def server_process(base: Path, xla: bool, *options: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Serves models in another process, and yields its address and that process."""
    command = [
        sys.executable,
        "-m",
        "consort",
        "serve",
        str(base),
        "--port",
        "0",
        *(["--xla"] if xla else []),
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if " on " not in line:
                raise ConsortError(f"the server did not start: {line!r}")
            yield line.rsplit(" on ", 1)[1].strip(), process
        finally:
            process.terminate()
            process.wait(timeout=30)
