"""Speed of the transform with Consort's vocabulary analyzer and TFT's: `python -m benchmarks.vocabulary FILE.json`."""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import tensorflow as tf
import tensorflow_transform as tft

from benchmarks.criteo_like import write_criteo_like
from runs.provenance import machine
from transforms.beam.import_dataset import import_dataset
from transforms.beam.transform_dataset import load_transform, transform_dataset
from transforms.beam.vocabulary import learn_vocabulary
from transforms.features import Vocabulary
from transforms.files import write_text
from transforms.sources.registry import get_source

VOCABULARY = "criteo"


def bench_vocabulary(rows: int = 100_000, seed: int = 1) -> dict[str, Any]:
    """Measures the seconds of a transform of Criteo-shaped rows, by analyzer, one after the other.

    Args:
      rows: raw rows generated.
      seed: of the rows.
    """
    seconds, tokens = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "raw").mkdir()
        write_criteo_like(work / "raw" / "train.txt", rows, seed)
        dataset = import_dataset(get_source("criteo", {}), work / "raw", work / "data")
        for name, learn in {"ours": learn_vocabulary, "tft": _tft_vocabulary}.items():
            start = time.perf_counter()
            with mock.patch("transforms.ops.learn_vocabulary", learn):
                transform_dataset(work / "data", dataset, work / name, dataset.feature_set, "row")
            seconds[name] = time.perf_counter() - start
            assets = Path(load_transform(work / name).transform_savedmodel_dir, "assets", VOCABULARY)
            tokens[name] = set(assets.read_bytes().splitlines())
    return {
        "seconds": seconds,
        "ratio_tft_to_ours": seconds["tft"] / seconds["ours"],
        "same_tokens": tokens["ours"] == tokens["tft"],
        "vocabulary": len(tokens["ours"]),
        "rows": rows,
        "seed": seed,
        "machine": machine(),
    }


def _tft_vocabulary(tokens: tf.Tensor, vocabulary: Vocabulary) -> tf.Tensor:
    return tft.vocabulary(tokens, frequency_threshold=vocabulary.frequency_threshold, vocab_filename=vocabulary.name)


if __name__ == "__main__":
    write_text(sys.argv[1], json.dumps(bench_vocabulary(), indent=2) + "\n")
