"""One score a record: in training, by every signature, from raw JSON, alone and among others, of every model."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, Phase, given, settings

from models.registry import MODELS, build_model
from models.retrieval.tower_model import TowerModel
from serving.client.inputs import Signature, Tensor, prepared
from serving.client.json_inputs import read_inputs
from serving.export.requests import request_inputs
from serving.export.set_scoring import Buckets
from serving.export.signatures import ServedModel
from serving.retrieval.catalogue import catalogue_of
from serving.retrieval.signatures import ServedTowers
from tests.helpers.generated_sets import Generated, as_json, generated_sets, records_of
from transforms.batches import encode
from transforms.beam.transform_dataset import load_transform, transform_dataset, transformed_files
from transforms.features import CANDIDATE, Column, Encoding, with_lengths
from transforms.records import load_dataset, shard_paths
from transforms.vocabularies import table_sizes
from transforms.writing import write_dataset

pytestmark = pytest.mark.e2e
_TOLERANCE = 1e-5
_ALONE = range(4)
_OPTIONS: dict[str, dict[str, Any]] = {
    "set_ranker": {"width": 4, "heads": 2},
    "int_tower": {"heads": 2, "head_width": 3, "item_feature": "item_id"},
    "dat": {"user_feature": "user_id", "item_feature": "item_id"},
    "transformer_two_tower": {"blocks": 1, "heads": 2, "width": 4},
}
# Each example takes half of the models and of the encodings, as each model takes seconds; of a failure the smallest
# case is not looked for.
_ONE = settings(max_examples=1, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
_ROWS = [name for name in MODELS if name != "set_ranker"]
"""Models that take rows; all take requests."""
_NUMBERS = [one for one in Encoding if one is not Encoding.ID]


@_ONE
@given(made=generated_sets("row", _NUMBERS[::2]))
def test_rows_have_one_score(made: Generated) -> None:
    _check(made, _ROWS[::2])


@_ONE
@given(made=generated_sets("row", _NUMBERS[1::2]))
def test_rows_have_one_score_of_the_other_models(made: Generated) -> None:
    _check(made, _ROWS[1::2])


@_ONE
@given(made=generated_sets("request", _NUMBERS[1::2]))
def test_requests_have_one_score_a_candidate(made: Generated) -> None:
    _check(made, list(MODELS)[::2])


@_ONE
@given(made=generated_sets("request", _NUMBERS[::2]))
def test_requests_have_one_score_a_candidate_of_the_other_models(made: Generated) -> None:
    _check(made, list(MODELS)[1::2])


@_ONE
@given(made=generated_sets("request", [Encoding.ZSCORE, Encoding.IDENTITY, Encoding.QUANTILE], ids_in_lists=False))
def test_lists_of_numbers_alone_end_where_they_end(made: Generated) -> None:
    _check(made, ["deepfm", "set_ranker", "dssm"])


class _Log:
    """Records of a generated feature set, and their transform.

    Args:
      made: what was generated.
      folder: of the files.
    """

    def __init__(self, made: Generated, folder: Path):
        self.made, self.features, self.record = made, made.feature_set, made.record
        self.batch = records_of(made, "train")
        write_dataset([self.batch], folder / "data", "made", self.features, {})
        dataset = load_dataset(folder / "data")
        transform_dataset(folder / "data", dataset, folder / "transformed", self.features, self.record, ("train",))
        self.transform = load_transform(folder / "transformed")
        self.examples = encode(self.batch, self.features)
        self.files = shard_paths(folder / "data", dataset, self.record, "train")
        self.real: np.ndarray = np.ones(len(self.batch), bool)
        if self.record == "request":
            self.real = np.asarray(self.batch.columns[CANDIDATE]) == 1
        (written,) = transformed_files(folder / "transformed", "train")
        records = [one.numpy() for one in tf.data.TFRecordDataset(written)]
        training = tf.io.parse_example(records, self.transform.transformed_feature_spec())
        # Beam gives records back in any order; labels rise.
        order = np.argsort(training["label"].numpy().reshape([len(records), -1])[:, 0])
        self.training = {name: tf.gather(value, order) for name, value in training.items()}


def _check(made: Generated, names: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = _Log(made, Path(folder))
        for name in names:
            _check_model(log, name, Path(folder))


def _check_model(log: _Log, name: str, folder: Path) -> None:
    sizes = table_sizes(log.features, log.transform)
    inputs = log.features.model_inputs(log.record)
    model = build_model(name, inputs, sizes, embedding_dim=4, hidden_units=(8, 6), **_OPTIONS.get(name, {}))
    model(log.training, training=False)
    random = np.random.default_rng(3)
    for weight in model.trainable_weights:
        weight.assign(random.normal(0.0, 0.3, weight.shape).astype(np.float32))
    expected = tf.sigmoid(tf.cast(model(log.training, training=False), tf.float32)).numpy()
    assert expected[log.real].std() > 1e-4, name
    compiled = log.record == "request" and getattr(model, "as_sets", False) and not isinstance(model, TowerModel)
    buckets = Buckets((2, 8), (16,)) if compiled else None
    served = ServedModel(model, log.transform, log.features, log.record, buckets)
    signatures = served.signatures()
    found = signatures["examples"](examples=tf.constant(log.examples))["probability"].numpy()
    _alike(found, expected, log.real, f"{name}, examples")
    sent = request_inputs(log.examples, log.features, log.record)
    for signature in ("serving_default", "compiled"):
        if signature in signatures:
            _check_scores(log, sent, signatures[signature], expected, f"{name}, {signature}", folder)
    if "last_hidden" in signatures:
        hidden = served.hidden_of(log.training)
        _alike(_asked(signatures["last_hidden"], sent)["hidden"], hidden, log.real, f"{name}, last_hidden")
    if isinstance(model, TowerModel) and (log.record == "row" or name == "dssm"):
        _check_retrieval(log, model, served, sent, name)


def _check_scores(
    log: _Log, sent: Mapping[str, np.ndarray], signature: Any, expected: np.ndarray, what: str, folder: Path
) -> None:
    columns = [column.name for column in (*log.features.raw_inputs(), *_mask(log))]
    asked = _signature_of(log, columns)
    _alike(_asked(signature, sent)["probability"], expected, log.real, what)
    written = _from_json(as_json(log.made, log.batch, columns), asked, folder)
    _alike(_asked(signature, written)["probability"], expected, log.real, f"{what}, from JSON")
    for place in _ALONE:
        alone = as_json(log.made, log.batch, columns, place)
        count = int(log.real[place].sum()) if log.record == "request" else 1
        own = expected[place : place + 1, :count] if log.record == "request" else expected[place : place + 1]
        for inputs in (_from_json(alone, asked, folder), prepared(alone, asked)):
            found = _asked(signature, inputs)["probability"]
            _alike(found, own, np.ones(own.shape, bool), f"{what}, record {place} alone")


def _check_retrieval(log: _Log, model: TowerModel, served: ServedModel, sent: Mapping[str, Any], name: str) -> None:
    items = catalogue_of(log.files, log.features, log.record)
    towers = ServedTowers(model, served.features, log.features, log.record, items)
    signatures = towers.signatures()
    users = model.user_embedding(log.training).numpy()
    everybody = np.ones(len(users), bool)
    _alike(_asked(signatures["user_embedding"], sent)["embedding"], users, everybody, f"{name}, user_embedding")
    vectors = np.repeat(towers.item_vectors[np.newaxis], len(users), axis=0)
    logits = model.similarity((tf.constant(users), tf.constant(vectors))).numpy()
    best = -np.sort(-logits, axis=1)[:, :3]
    more = {"k": np.full([len(users)], 3, np.int32), "exclude": np.zeros([len(users), 0], object)}
    more["exclude_count"] = np.zeros([len(users)], np.int64)
    _alike(_asked(signatures["retrieve"], {**sent, **more})["score"], best, everybody, f"{name}, retrieve")


def _alike(found: Any, expected: Any, real: np.ndarray, what: str) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, what
    allowed = _TOLERANCE * np.maximum(1.0, np.abs(expected))
    assert (np.abs(found - expected) <= allowed)[real].all(), (what, np.abs(found - expected)[real].max())


def _asked(signature: Any, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What a signature answers, sent what it takes."""
    raw, more = signature.input_signature
    tensors = [{name: tf.constant(inputs[name], spec.dtype) for name, spec in specs.items()} for specs in (raw, more)]
    return {name: value.numpy() for name, value in signature(*tensors).items()}


def _mask(log: _Log) -> tuple[Column, ...]:
    return (log.features.column(CANDIDATE),) if log.record == "request" else ()


def _signature_of(log: _Log, columns: list[str]) -> Signature:
    """As a server tells it to a client."""
    types = {"string": "string", "int64": "int64", "float": "float32"}
    declared = with_lengths([log.features.column(name) for name in columns])
    sizes = {one.name: one.shape(log.record).sizes(None, None, None, one.width) for one in declared}
    inputs = {one.name: Tensor(types[one.dtype], tuple(sizes[one.name])) for one in declared}
    return Signature(inputs, {}, frozenset(one.name for one in declared if one.name not in columns))


def _from_json(values: Mapping[str, Any], asked: Signature, folder: Path) -> dict[str, np.ndarray]:
    path = folder / "inputs.json"
    path.write_text(json.dumps(values))
    return prepared(read_inputs(path, asked), asked)
