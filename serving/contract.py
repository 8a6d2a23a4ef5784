"""contract.json: what a client must know of an exported model, in one file beside it."""

import json
import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from serving.requests import padding_of
from serving.signatures import DEFAULT, EXAMPLES, LOGIT, PROBABILITY, TRANSFORM, request_columns
from transforms.errors import InputError
from transforms.features import FeatureSet, RecordKind, Shape

CONTRACT = os.path.join("assets.extra", "contract.json")
CONTRACT_VERSION = 1


def contract_of(
    name: str, feature_set: FeatureSet, record: RecordKind, run: dict[str, Any], warmup_sizes: list[int]
) -> dict[str, Any]:
    """The contract of a model.

    Args:
      name: of the model in serving.
      feature_set, record: as trained.
      run: what made the model: seed, versions, data hash, config digest.
      warmup_sizes: batch sizes of the warm-up records.
    """
    shapes = {Shape.SCALAR: ["B"], Shape.RAGGED: ["B", "N"], Shape.CANDIDATES: ["B", feature_set.list_size]}
    inputs = {}
    for column in request_columns(feature_set, record):
        padding = padding_of(column)
        inputs[column.name] = {
            "dtype": column.dtype,
            "shape": shapes[column.shape(record)],
            "missing": padding.decode() if isinstance(padding, bytes) else str(padding),
        }
    scores = {"dtype": "float", "shape": shapes[Shape.SCALAR if record == "row" else Shape.CANDIDATES]}
    return {
        "contract_version": CONTRACT_VERSION,
        "model": name,
        "record": record,
        "signatures": {
            DEFAULT: {"inputs": inputs, "outputs": {PROBABILITY: scores, LOGIT: scores}},
            EXAMPLES: {
                "inputs": {EXAMPLES: {"dtype": "string", "shape": ["B"], "content": "serialized tf.Example"}},
                "outputs": {PROBABILITY: scores, LOGIT: scores},
            },
            TRANSFORM: {"inputs": {EXAMPLES: {"dtype": "string", "shape": ["B"]}}, "outputs": "model inputs, padded"},
        },
        "batch_dimension": 0,
        "warmup_batch_sizes": warmup_sizes,
        "server_flags_required": [],
        "tensorflow": tf.__version__,
        "feature_set": feature_set.model_dump(mode="json"),
        "feature_set_sha256": feature_set.digest(),
        "run": run,
    }


def read_contract(model_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """The contract of an exported model.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    path = Path(model_dir) / CONTRACT
    fix = "export the model with `consort export`, or name a directory that holds such an export"
    try:
        contract: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"no readable file ({error})", "a contract.json", fix) from error
    if not isinstance(contract, dict):
        raise InputError(str(path), type(contract).__name__, "a JSON object", fix)
    if contract.get("contract_version") != CONTRACT_VERSION:
        found = f"contract_version {contract.get('contract_version')}"
        raise InputError(str(path), found, f"contract_version {CONTRACT_VERSION}", fix)
    return contract
