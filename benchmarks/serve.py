"""Latency of a set ranker over gRPC: raw ids in, scores out, the server in a separate process."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from benchmarks.timing import call_seconds, percentile_ms
from models.preranking.set_ranker import SetRanker
from runs.config import ModelConfig
from runs.provenance import machine
from serving.client import PredictClient
from serving.contract import signatures_with_flags
from serving.export.export import export_model
from serving.export.requests import request_inputs
from simulation.cascade_log import simulate
from simulation.parameters import World
from transforms.beam.transform_dataset import load_transform, transform_dataset
from transforms.errors import ConsortError
from transforms.features import FeatureSet
from transforms.input import first_examples
from transforms.records import shard_paths
from transforms.vocabularies import table_sizes

MODEL = "bench"
_LOGGED, _DISTINCT, _WARM = 200, 20, 50
_ITEMS = 20_000

Say = Callable[[str], None]


def bench_serve(
    candidates: int = 1000,
    history: int = 200,
    requests: int = 1000,
    rounds: int = 3,
    signature: str = "serving_default",
    seed: int = 1,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Measures the milliseconds from a call of the client to its answer, one request after the other.

    The model is of the size that a run file has by default; its weights are random, as speed does not depend on
    them. Values are those of a simulated log.

    Args:
      candidates, history: elements of each request.
      requests: calls of a round.
      rounds: the result is the median of their percentiles; all are kept.
      signature: the one to call.
      seed: of the log and of the weights.
      say: receives progress messages.
    """
    with tempfile.TemporaryDirectory() as folder:
        say("simulating a log, learning its transform, exporting a model")
        inputs = export_rankers(Path(folder), candidates, history, seed)
        xla = signature in signatures_with_flags(Path(folder) / "serving" / MODEL / "1")
        say("starting the server")
        with (
            server_process(Path(folder) / "serving", xla) as (address, _),
            PredictClient(address, timeout_s=60.0) as client,
        ):
            ask = _calls_of(client, inputs, signature)
            say(f"asking {address}, {rounds} times {requests} requests")
            measured = [_percentiles(call_seconds(ask, requests, _WARM)) for _ in range(rounds)]
    return {
        **{key: float(np.median([one[key] for one in measured])) for key in measured[0]},
        "rounds": measured,
        "candidates": candidates,
        "history": history,
        "requests": requests,
        "signature": signature,
        "model": ModelConfig().model_dump(include={"embedding_dim", "hidden_units"}),
        "seed": seed,
        "machine": machine(),
    }


def export_rankers(
    folder: Path, candidates: int, history: int, seed: int, count: int = 1
) -> list[dict[str, np.ndarray]]:
    """Writes versions 1 to `count` of a model under `folder/serving`, of different weights; returns requests for it."""
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
    dataset = simulate(folder / "data", world, _LOGGED, seed)
    features = dataset.feature_set
    transform_dataset(folder / "data", dataset, folder / "transformed", features, "request", splits=())
    transform = load_transform(folder / "transformed")
    examples = first_examples(shard_paths(folder / "data", dataset, "request", "test"), _DISTINCT)
    for version in range(1, count + 1):
        model = _random_ranker(features, table_sizes(features, transform), seed + version - 1)
        path = folder / "serving" / MODEL / str(version)
        export_model(path, MODEL, model, transform, features, "request", {}, examples)
    logged = request_inputs(examples, features, "request")
    one_by_one = [{name: value[k : k + 1] for name, value in logged.items()} for k in range(len(examples))]
    return [_with_history(one, features, history) for one in one_by_one]


def _random_ranker(features: FeatureSet, sizes: Any, seed: int) -> SetRanker:
    keras.utils.set_random_seed(seed)
    settings = ModelConfig()
    model = SetRanker(
        features.model_inputs("request"),
        sizes,
        embedding_dim=settings.embedding_dim,
        hidden_units=settings.hidden_units,
        seed=seed,
    )
    model.embeddings.build(None)
    model.build_head()
    for weight in model.trainable_weights:
        weight.assign_add(tf.random.normal(weight.shape, stddev=0.1))
    return model


def _with_history(inputs: Mapping[str, np.ndarray], features: FeatureSet, history: int) -> dict[str, np.ndarray]:
    """Returns the inputs with histories of one length: longer ones are cut, shorter ones repeat."""
    resized = dict(inputs)
    for name, values in inputs.items():
        column = features.column(name)
        if column.variable_length:
            real = values[values != column.marker]
            resized[name] = np.resize(real if len(real) else inputs["item_id"], [1, history])
            resized[column.lengths.name] = np.full([1], history)
    return resized


@contextlib.contextmanager
def server_process(base: Path, xla: bool) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serves models in another process, and yields its address and that process."""
    command = [sys.executable, "-m", "consort", "serve", str(base), "--port", "0", *(["--xla"] if xla else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if " on " not in line:
                raise ConsortError(f"the server did not start: {line!r}")
            yield line.rsplit(" on ", 1)[1].strip(), process
        finally:
            process.terminate()
            process.wait(timeout=30)


def _calls_of(client: PredictClient, inputs: list[dict[str, np.ndarray]], signature: str) -> Callable[[int], object]:
    return lambda number: client.predict(MODEL, inputs[number % len(inputs)], signature)


def _percentiles(seconds: np.ndarray) -> dict[str, float]:
    """Returns the reported percentiles in milliseconds."""
    names = {"min_ms": 0, "p50_ms": 50, "p90_ms": 90, "p99_ms": 99}
    return {name: percentile_ms(seconds, share) for name, share in names.items()}
