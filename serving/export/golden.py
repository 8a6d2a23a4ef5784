"""Golden answers: some raw records with the trainer's outputs, beside the exported model.

Wherever the model is served, its signatures can be compared with the trainer's answers.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.contract import read_contract
from serving.export.requests import request_inputs
from serving.export.signatures import COMPILED, DEFAULT, EXAMPLES, HIDDEN, LAST_HIDDEN, PLAIN, PROBABILITY
from transforms.errors import GateRefused, InputError
from transforms.features import CANDIDATE, FeatureSet
from transforms.files import write_text
from transforms.plain_text import parse_json

GOLDEN_EXAMPLES = os.path.join("assets.extra", "golden.tfrecord")
GOLDEN_SCORES = os.path.join("assets.extra", "golden.json")
TOLERANCE = 1e-5
"""Largest difference between a served probability and the trainer's."""
VECTOR_TOLERANCE = 1e-4
"""The same for a number in a vector; relative for numbers above 1."""
ALONE = 3
"""Number of records that are also sent one by one."""

Ask = Callable[[str, Mapping[str, Any]], Mapping[str, np.ndarray]]
"""Calls a model: takes a signature's name and inputs, returns its outputs by name."""

_VECTORS = {LAST_HIDDEN: HIDDEN, "user_embedding": "embedding", "item_embedding": "embedding"}
"""Signatures that give vectors of records, and the output that holds them."""


def write_golden(
    model_dir: str | os.PathLike[str],
    examples: Sequence[bytes],
    scores: np.ndarray,
    vectors: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes raw records and the trainer's outputs for them.

    Args:
      model_dir: the export.
      examples: serialized raw records.
      scores: probabilities, [B] or [B, M].
      vectors: by signature, `[B, ...]`: the trainer's `last_hidden`, `user_embedding`, `item_embedding`.
    """
    path = Path(model_dir) / GOLDEN_EXAMPLES
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example)
    answers = {name: np.asarray(values).tolist() for name, values in {PROBABILITY: scores, **(vectors or {})}.items()}
    write_text(Path(model_dir) / GOLDEN_SCORES, json.dumps(answers) + "\n")


def read_golden(model_dir: str | os.PathLike[str]) -> tuple[list[bytes], np.ndarray]:
    """Returns raw records and the trainer's probabilities: [B], or [B, M] for request records.

    Raises:
      InputError: the model has none.
    """
    examples, answers = _read(model_dir)
    return examples, answers[PROBABILITY]


def check_golden(model_dir: str | os.PathLike[str], ask: Ask, leave_out: Sequence[str] = ()) -> dict[str, float]:
    """Checks that each signature gives the trainer's answers to the golden records, in a batch and one by one.

    Compared are the scores of `examples`, `serving_default`, `plain` and `compiled` and the vectors of `last_hidden`
    and of towers, as far as the model has them; for the items of `retrieve` see `check_golden_retrieval`.

    Args:
      model_dir: the export.
      ask: calls the model, e.g. `Scorer(model_dir).ask`, or a client of a server.
      leave_out: signatures that are not called, e.g. `compiled` on a server without XLA.

    Returns:
      The largest difference by signature.

    Raises:
      GateRefused: a signature gives other answers; one line for each.
      InputError: the model has no golden records.
    """
    contract, (examples, answers) = read_contract(model_dir), _read(model_dir)
    features = FeatureSet.model_validate(contract["feature_set"])
    differences = {}
    for name, signature in contract["signatures"].items():
        output = PROBABILITY if name in (EXAMPLES, DEFAULT, PLAIN, COMPILED) else _VECTORS.get(name, "")
        expected = answers.get(output if output == PROBABILITY else name)
        if expected is None or name in leave_out:
            continue
        if name == EXAMPLES:
            inputs = {EXAMPLES: np.array(examples, object)}
        else:
            inputs = request_inputs(examples, features, contract["record"], signature["inputs"])
        real = np.ones(expected.shape, bool)
        if output == PROBABILITY and contract["record"] == "request":
            # Scores of padding mean nothing.
            real = request_inputs(examples, features, "request", (CANDIDATE,))[CANDIDATE] == 1
        differences[name] = _largest(partial(_output, ask, name, output), inputs, expected, real)
    reasons = []
    for name, difference in differences.items():
        allowed = VECTOR_TOLERANCE if name in _VECTORS else TOLERANCE
        if not difference <= allowed:
            said = f"an answer differs by {difference:.3g} from the trainer's; expected at most {allowed:g}"
            reasons.append(f"{name}: {said}")
    if reasons:
        raise GateRefused("golden records", reasons)
    return differences


def _output(ask: Ask, signature: str, output: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.asarray(ask(signature, inputs)[output])


def _largest(
    answer: Callable[[Mapping[str, np.ndarray]], np.ndarray],
    inputs: Mapping[str, np.ndarray],
    expected: np.ndarray,
    real: np.ndarray,
) -> float:
    """The largest difference of answers to all records at once, and to some of them alone."""
    count = len(expected)
    parts = [slice(0, count), *(slice(place, place + 1) for place in range(min(count, ALONE)))]
    largest = 0.0
    for part in parts:
        served = answer({name: values[part] for name, values in inputs.items()})
        if served.shape != expected[part].shape:
            return float("inf")
        differences = np.abs(served - expected[part]) / np.maximum(1.0, np.abs(expected[part]))
        # A maximum over NaN is NaN, which no tolerance allows.
        largest = float(np.maximum(largest, differences[real[part]].max(initial=0.0)))
    return largest


def _read(model_dir: str | os.PathLike[str]) -> tuple[list[bytes], dict[str, np.ndarray]]:
    path = Path(model_dir) / GOLDEN_SCORES
    if not path.is_file():
        raise InputError(str(path), "no such file", "golden scores beside the model", "export it with `consort export`")
    examples = [record.numpy() for record in tf.data.TFRecordDataset(str(Path(model_dir) / GOLDEN_EXAMPLES))]
    try:
        answers = {name: np.asarray(values) for name, values in parse_json(path.read_text()).items()}
        if PROBABILITY not in answers:
            raise KeyError(PROBABILITY)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        fix = "export the model again"
        raise InputError(str(path), f"no readable file ({error})", "the golden scores of a model", fix) from error
    return examples, answers
