"""Golden answers of `retrieve`: the best items of some logged users by the trained model itself, beside the export."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from models.retrieval.tower_model import TowerModel
from serving.contract import read_contract
from serving.export.golden import read_golden
from serving.export.requests import request_inputs
from serving.loading import load_saved_model
from serving.retrieval.signatures import EXCLUDE, EXCLUDE_COUNT, RETRIEVE, SCORE, USER, K, ServedTowers
from transforms.errors import GateRefused, InputError
from transforms.features import ITEM_ID, FeatureSet
from transforms.files import write_text
from transforms.plain_text import parse_json

GOLDEN_RETRIEVAL = os.path.join("assets.extra", "golden_retrieval.json")
TOLERANCE = 1e-4
"""Largest difference between a served logit and the trainer's; relative for logits above 1."""
_USERS = 16

Ask = Callable[[dict[str, np.ndarray], int], tuple[np.ndarray, np.ndarray]]
"""Retrieves: a request's raw inputs and k to ids and scores, `[B, k]`."""


def write_golden_retrieval(
    directory: str | os.PathLike[str], model: TowerModel, features: Mapping[str, Any], towers: ServedTowers
) -> None:
    """Writes the best items of the first logged users, by the model's scores of every item.

    Args:
      directory: the export.
      model: trained.
      features: its inputs of the golden records.
      towers: with the catalogue.
    """
    if towers.retrieval is None:
        raise ValueError("towers without a catalogue; expected one; export with it")
    ids, k = towers.retrieval.ids.numpy(), towers.retrieval.default_k
    users, items = model.user_embedding(features)[:_USERS], tf.constant(towers.item_vectors)[tf.newaxis]
    item_ids, best = [], []
    for user in tf.cast(users, tf.float32):
        scores = tf.cast(model.similarity((user[tf.newaxis], items)), tf.float32).numpy()[0]
        order = np.argsort(-scores, kind="stable")[:k]
        item_ids.append([one.decode("latin-1") if isinstance(one, bytes) else one for one in ids[order].tolist()])
        best.append(scores[order].tolist())
    write_text(Path(directory) / GOLDEN_RETRIEVAL, json.dumps({ITEM_ID: item_ids, SCORE: best}) + "\n")


def read_golden_retrieval(
    directory: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Returns raw inputs of the golden users, and their best items' ids and scores, `[B, k]`.

    Raises:
      InputError: the model has none.
    """
    path = Path(directory) / GOLDEN_RETRIEVAL
    if not path.is_file():
        fix = "export a two-tower model with the catalogue of its items"
        raise InputError(str(path), "no such file", "golden answers beside the model", fix)
    answers, contract = parse_json(path.read_text()), read_contract(directory)
    features = FeatureSet.model_validate(contract["feature_set"])
    names = contract["signatures"][USER]["inputs"]
    examples = read_golden(directory)[0][: len(answers[ITEM_ID])]
    ids = [[one.encode("latin-1") if isinstance(one, str) else one for one in row] for row in answers[ITEM_ID]]
    array = np.array(ids, object if isinstance(ids[0][0], bytes) else np.int64)
    return request_inputs(examples, features, contract["record"], names), array, np.array(answers[SCORE], np.float32)


def check_golden_retrieval(directory: str | os.PathLike[str], ask: Ask) -> None:
    """Checks that a served model gives the trainer's answers; items of equal scores may change places.

    Args:
      directory: the export.
      ask: calls the model, e.g. `asking_saved_model(directory)`.

    Raises:
      GateRefused: it gives others; one line for each user.
      InputError: the model has no golden answers.
    """
    inputs, ids, scores = read_golden_retrieval(directory)
    served_ids, served_scores = ask(inputs, ids.shape[1])
    reasons = []
    for user in range(len(ids)):
        if difference := _difference(ids[user], scores[user], served_ids[user], served_scores[user]):
            reasons.append(f"user {user}: {difference}")
    if reasons:
        raise GateRefused("golden retrieval", reasons)


def asking_saved_model(directory: str | os.PathLike[str]) -> Ask:
    """Loads an exported model and returns a function that calls its `retrieve`."""
    return asking(load_saved_model(directory))


def asking(loaded: Any) -> Ask:
    """Returns a function that calls `retrieve` of a loaded model."""
    signature = loaded.signatures[RETRIEVE]

    def ask(inputs: dict[str, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        known = signature.structured_input_signature[1]
        # Models that were exported before lists had lengths do not take any.
        sent = {name: tf.constant(values, known[name].dtype) for name, values in inputs.items() if name in known}
        nothing = tf.zeros([1, 0], known[EXCLUDE].dtype)
        options = {K: tf.constant(k), EXCLUDE: nothing, EXCLUDE_COUNT: tf.zeros([1], tf.int64)}
        answer = signature(**sent, **{name: value for name, value in options.items() if name in known})
        return answer[ITEM_ID].numpy(), answer[SCORE].numpy()

    return ask


def _difference(ids: np.ndarray, scores: np.ndarray, served_ids: np.ndarray, served_scores: np.ndarray) -> str:
    allowed = TOLERANCE * np.maximum(1.0, np.abs(scores))
    if served_ids.shape != ids.shape:
        return f"{len(served_ids)} items; expected {len(ids)}"
    if len(set(served_ids.tolist())) < len(served_ids):
        return "an item came twice"
    differences = np.abs(served_scores - scores)
    if not (differences <= allowed).all():
        place = int(np.argmax(differences - allowed))
        return f"score {served_scores[place]:.6g} at place {place + 1}; expected {scores[place]:.6g}"
    trained = dict(zip(ids.tolist(), scores.tolist()))
    for place, one in enumerate(served_ids.tolist()):
        # One that the trainer left out may be as good as the last.
        expected = trained.get(one, scores[-1])
        if abs(served_scores[place] - expected) > allowed[place]:
            return f"item {one!r} at place {place + 1} with score {served_scores[place]:.6g}; expected {expected:.6g}"
    return ""
