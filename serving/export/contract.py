"""Writes contract.json: what a client needs to know of an exported model, in one file beside it."""

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from serving.batching import batching_of
from serving.contract import CONTRACT, CONTRACT_VERSION, XLA_FLAG, flags_required, read_contract
from serving.export.set_scoring import Buckets
from serving.export.signatures import (
    COMPILED,
    DEFAULT,
    EXAMPLES,
    HIDDEN,
    LAST_HIDDEN,
    LOGIT,
    PLAIN,
    PROBABILITY,
    TRANSFORM,
    request_columns,
)
from transforms.features import UNKNOWN_LENGTH, Column, FeatureSet, RecordKind, with_lengths

__all__ = ["CONTRACT", "CONTRACT_VERSION", "XLA_FLAG", "contract_of", "flags_required", "inputs_of", "read_contract"]


def contract_of(
    name: str,
    feature_set: FeatureSet,
    record: RecordKind,
    run: dict[str, Any],
    warmup_sizes: list[int],
    buckets: Buckets | None = None,
    towers: Mapping[str, Any] | None = None,
    hidden_width: int | None = None,
) -> dict[str, Any]:
    """Returns the contract of a model.

    Args:
      name: of the model in serving.
      feature_set, record: as trained.
      run: what made the model: seed, versions, data hash, config digest.
      warmup_sizes: batch sizes of the warm-up records.
      buckets: sizes that XLA compiles; None: nothing is compiled.
      towers: further entries for a two-tower model, of `ServedTowers.contract`.
      hidden_width: H, for a ranker with `last_hidden`; None: no such signature.
    """
    columns = request_columns(feature_set, record)
    inputs = inputs_of(with_lengths(columns), record)
    scores = _scores(["B"] if record == "row" else ["B", "M"])
    logged_scores = _scores(["B"] if record == "row" else ["B", feature_set.list_size])
    signatures: dict[str, Any] = {
        DEFAULT: {"inputs": inputs, "outputs": scores},
        EXAMPLES: {
            "inputs": {EXAMPLES: {"dtype": "string", "shape": ["B"], "content": "serialized tf.Example"}},
            "outputs": logged_scores,
        },
        TRANSFORM: {"inputs": {EXAMPLES: {"dtype": "string", "shape": ["B"]}}, "outputs": "model inputs, padded"},
    }
    if buckets is not None:
        signatures[PLAIN] = dict(signatures[DEFAULT])
        limits = {"limits": {"M": buckets.max_candidates}, "server_flags_required": [XLA_FLAG]}
        signatures[COMPILED] = signatures[DEFAULT] | limits
    if hidden_width is not None:
        hidden = {HIDDEN: {"dtype": "float", "shape": ["B", hidden_width]}}
        signatures[LAST_HIDDEN] = {"inputs": inputs, "outputs": hidden}
    more = dict(towers or {})
    signatures |= more.pop("signatures", {})
    return {
        "contract_version": CONTRACT_VERSION,
        "model": name,
        "record": record,
        "signatures": signatures,
        "batch_dimension": 0,
        "buckets": None if buckets is None else {"M": list(buckets.candidates), "N": list(buckets.history)},
        "warmup_batch_sizes": warmup_sizes,
        "batching": batching_of(record),
        "server_flags_required": [],
        "tensorflow": tf.__version__,
        "feature_set": feature_set.model_dump(mode="json"),
        "feature_set_sha256": feature_set.digest(),
        **more,
        "run": run,
    }


def inputs_of(columns: Iterable[Column], record: RecordKind) -> dict[str, Any]:
    """Returns columns as the inputs of a signature: type, shape, and the missing marker, their default.

    Columns that are `required` and the mask of candidates have no default; lengths have -1, for unknown ones.
    """
    columns, inputs = tuple(columns), {}
    lists = {column.lengths.name: column.name for column in columns if column.has_lengths}
    for column in columns:
        if column.name in lists:
            inputs[column.name] = {
                "dtype": column.dtype,
                "shape": ["B"],
                "lengths_of": lists[column.name],
                "default": UNKNOWN_LENGTH,
            }
            continue
        padding = column.marker
        inputs[column.name] = {
            "dtype": column.dtype,
            "shape": column.shape(record).sizes("B", "M", "N", column.width),
            "missing": padding.decode() if isinstance(padding, bytes) else str(padding),
        }
    return inputs


def _scores(shape: list[Any]) -> dict[str, Any]:
    return {name: {"dtype": "float", "shape": shape} for name in (PROBABILITY, LOGIT)}
