"""Golden scores: some raw records with the scores that the trainer gave them, beside the exported model.

Whoever serves the model, anywhere, can ask whether it still gives the trainer's answers.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from transforms.errors import InputError
from transforms.files import write_text
from transforms.plain_text import parse_json

GOLDEN_EXAMPLES = os.path.join("assets.extra", "golden.tfrecord")
GOLDEN_SCORES = os.path.join("assets.extra", "golden.json")
TOLERANCE = 1e-5
"""Largest difference between a served probability and the trainer's."""


def write_golden(model_dir: str | os.PathLike[str], examples: Sequence[bytes], scores: np.ndarray) -> None:
    """Writes raw records and the trainer's probabilities for them."""
    path = Path(model_dir) / GOLDEN_EXAMPLES
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example)
    write_text(Path(model_dir) / GOLDEN_SCORES, json.dumps({"probability": np.asarray(scores).tolist()}) + "\n")


def read_golden(model_dir: str | os.PathLike[str]) -> tuple[list[bytes], np.ndarray]:
    """Raw records and the trainer's probabilities: [B], or [B, M] for request records.

    Raises:
      InputError: the model has none.
    """
    path = Path(model_dir) / GOLDEN_SCORES
    if not path.is_file():
        raise InputError(str(path), "no such file", "golden scores beside the model", "export it with `consort export`")
    examples = [record.numpy() for record in tf.data.TFRecordDataset(str(Path(model_dir) / GOLDEN_EXAMPLES))]
    try:
        return examples, np.asarray(parse_json(path.read_text())["probability"])
    except (KeyError, TypeError, ValueError) as error:
        fix = "export the model again"
        raise InputError(str(path), f"no readable file ({error})", "the golden scores of a model", fix) from error
