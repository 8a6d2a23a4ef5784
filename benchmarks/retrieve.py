"""Retrieval of the best items of a catalogue: exact in a served graph, and approximate by an index.

Timed are the part of `retrieve` after the user tower, in the session that TensorFlow Serving uses, through the C API,
and a search of the same vectors by HNSW.
"""

import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.timing import call_seconds, percentile_ms
from models.retrieval.tower_model import ScaledProduct
from runs.provenance import machine
from serving.retrieval.index import recall_of
from serving.retrieval.index_kinds import Hnsw
from serving.retrieval.search import ProductSearch
from serving.retrieval.signatures import SCORE, Retrieval
from serving.server.session import Session, Tensor, session_config
from serving.tensors import to_proto
from transforms.features import ITEM_ID

K = 100
BATCHES = (1, 8, 32)
_RANK, _NOISE = 16, 0.3
_QUERIES, _WARM = 256, 20

Say = Callable[[str], None]


def bench_retrieve(
    items: int = 200_000,
    width: int = 64,
    calls: int = 300,
    threads: int = 2,
    min_recall: float = 0.98,
    seed: int = 1,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Measures the milliseconds of the best 100 items for one user, and for several at once.

    Args:
      items, width: of the catalogue; vectors are of length 1 and nearly of low rank, as those of towers are.
      calls: number of calls for each batch size.
      threads: of TensorFlow; the index searches on one.
      min_recall: the index searches with the least effort that reaches it.
      seed: of the vectors and of the index.
      say: receives progress messages.
    """
    vectors, users = synthetic(items, width, seed)
    with tempfile.TemporaryDirectory() as folder:
        say(f"exporting {items} items")
        _export(Path(folder), vectors)
        config = session_config(threads, threads)
        session = Session(folder, config)
        try:
            exact = {}
            for batch in BATCHES:
                say(f"exact, {batch} at once")
                exact[batch] = call_seconds(_calls_of(session, users, batch), calls, _WARM)
        finally:
            session.close()
    result: dict[str, Any] = {
        "p50_ms": percentile_ms(exact[1], 50),
        "p99_ms": percentile_ms(exact[1], 99),
        "batch_ms_per_query": {str(batch): percentile_ms(seconds, 50) / batch for batch, seconds in exact.items()},
        **_hnsw(vectors, users, calls, min_recall, seed, say),
        "items": items,
        "width": width,
        "k": K,
        "calls": calls,
        "threads": threads,
        "seed": seed,
        "machine": machine(),
    }
    hnsw = result["hnsw_p50_ms"]
    result["ratio_exact_to_hnsw"] = None if hnsw is None else result["p50_ms"] / hnsw
    return result


def synthetic(items: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns unit vectors `[N, width]` and users for them, both of rank 16 plus noise."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(_RANK, width))

    def drawn(count: int) -> np.ndarray:
        rough = random.normal(size=(count, _RANK)) @ mixing + _NOISE * random.normal(size=(count, width))
        unit: np.ndarray = (rough / np.linalg.norm(rough, axis=1, keepdims=True)).astype(np.float32)
        return unit

    return drawn(items), drawn(_QUERIES)


def _export(folder: Path, vectors: np.ndarray) -> None:
    ids = np.array([b"%d" % number for number in range(len(vectors))], object)
    retrieval = Retrieval(ids, ProductSearch(vectors, ScaledProduct(), 1.0, 0.0), b"")
    users = tf.TensorSpec([None, vectors.shape[1]], tf.float32, name="users")

    @tf.function(input_signature=[users], autograph=False)
    def core(users: tf.Tensor) -> dict[str, tf.Tensor]:
        return retrieval.answer(users, tf.constant(min(K, len(ids))), tf.zeros([1, 0], tf.string))

    traced = core.get_concrete_function()
    # The parameters of the similarity are variables, too.
    retrieval.read = list(traced.graph.variables)
    tf.saved_model.save(retrieval, str(folder), signatures={"core": traced})


def _calls_of(session: Session, users: np.ndarray, batch: int) -> Callable[[int], object]:
    signature = session.signatures["core"]
    input_name = signature.inputs["users"].name
    output_names = [signature.outputs[name].name for name in (ITEM_ID, SCORE)]
    starts = range(0, len(users) - batch + 1, batch)
    sent = [Tensor.parse(to_proto(users[start : start + batch]).SerializeToString()) for start in starts]
    return lambda number: session.run([(input_name, sent[number % len(sent)])], output_names)


def _hnsw(vectors: np.ndarray, users: np.ndarray, calls: int, min_recall: float, seed: int, say: Say) -> dict[str, Any]:
    if importlib.util.find_spec("faiss") is None:
        say("faiss is not installed: exact retrieval alone")
        return {"hnsw_p50_ms": None, "hnsw_p99_ms": None, "hnsw_recall": None, "hnsw_ef": None, "hnsw_build_s": None}
    say("building HNSW")
    start = time.perf_counter()
    index = Hnsw.build(vectors, seed)
    build_s, recall, k = time.perf_counter() - start, 0.0, min(K, len(vectors))
    for effort in (K, *index.efforts):
        index.effort = effort
        recall = recall_of(index.search(users, k)[0], users, vectors)
        if recall >= min_recall:
            break
    seconds = call_seconds(lambda number: index.search(users[number % len(users)][np.newaxis], k), calls, _WARM)
    return {
        "hnsw_p50_ms": percentile_ms(seconds, 50),
        "hnsw_p99_ms": percentile_ms(seconds, 99),
        "hnsw_recall": recall,
        "hnsw_ef": index.effort,
        "hnsw_build_s": build_s,
    }
