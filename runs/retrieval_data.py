"""What a softmax over the catalogue learns from: the clicks of a run's logs, and the items among which it looks."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from models.training.job import RetrievalData
from runs.data import Task, batch_size_of
from serving.retrieval.catalogue import Catalogue, catalogue_at
from serving.retrieval.recall import Places
from transforms.features import CATALOGUE_PLACE, ITEM_ID, LABEL, TIMESTAMP, Column, FeatureSet, Shape
from transforms.input import Features, labeled, parsed, serialized
from transforms.schema import parse_spec, tf_dtype
from transforms.stream import RowEncoder

_READ_AT_ONCE = 8192


def retrieval_data(task: Task, clicked_only: bool, batch_size: int | None = None) -> RetrievalData:
    """Reads the raw rows of a task.

    The items are those of the train and eval splits, with the values that they had when the eval split began.

    Args:
      task: what to train on.
      clicked_only: leaves out the rows without a click, before they are transformed.
      batch_size: None: that of the run.
    """
    splits, settings = {name: list(task.raw_files.get(name, ())) for name in ("train", "eval")}, task.config.training
    logs = {name: _log(files, task.feature_set) for name, files in splits.items()}
    items = catalogue_at(splits["train"], splits["eval"], task.feature_set, "row", task.items)
    at = Places(items.ids)
    shown = np.bincount(at.of(logs["train"][0]), minlength=len(items.ids))
    order = np.argsort(shown == 0, kind="stable")
    new_places = np.argsort(order)
    trained = int((shown > 0).sum())

    def places(split: str) -> tuple[np.ndarray, np.ndarray]:
        ids, times, clicked = logs[split]
        in_catalogue = at.of(ids[clicked])
        # What train does not show cannot be told from each other yet.
        result = np.where(in_catalogue >= 0, new_places[in_catalogue], -1)
        return np.where(result < trained, result, -1), times[clicked]

    (train_places, train_times), (eval_places, eval_times) = places("train"), places("eval")
    plain = RowEncoder(task.transform, task.feature_set)
    encode = RowEncoder(task.transform, task.feature_set, more=[_PlaceOf(items.ids, new_places)])
    rows = len(train_places) if clicked_only else len(logs["train"][0])
    size = batch_size or batch_size_of(settings, rows)

    def batches(split: str, **options: Any) -> tf.data.Dataset:
        records = serialized(splits[split], size, **options)
        records = _clicked(records, size) if clicked_only else records
        return parsed(records, encode.spec, lambda raw: labeled(encode(raw), record="row"))

    def train(seed: int, epoch: int) -> tf.data.Dataset:
        return batches("train", shuffle_buffer=settings.shuffle_buffer, seed=seed * 1_000_003 + epoch)

    return RetrievalData(
        train,
        batches("eval") if len(eval_places) else None,
        -(-rows // size),
        encoded_items(plain, task.feature_set, Catalogue(items.ids, items.columns), order),
        trained,
        shown[order][:trained],
        train_places,
        train_times,
        eval_places,
        eval_times,
    )


def _log(files: Sequence[str], feature_set: FeatureSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns item, time, and True for a click, of each row."""
    spec = parse_spec(feature_set, "row", (ITEM_ID, TIMESTAMP, LABEL))
    parts = [
        (batch[ITEM_ID].numpy(), batch[TIMESTAMP].numpy(), batch[LABEL].numpy() > 0)
        for batch in (parsed(serialized(files, _READ_AT_ONCE), spec) if files else ())
    ]
    empty = np.empty(0, object), np.empty(0, np.int64), np.empty(0, bool)
    ids, times, clicked = (np.concatenate(part) for part in (zip(*parts, strict=True) if parts else zip(empty)))
    return ids, times, clicked


class _PlaceOf:
    """The place of each row's item, as a further feature of raw rows."""

    columns = (ITEM_ID,)

    def __init__(self, ids: np.ndarray, places: np.ndarray):
        keys = tf.constant(ids.tolist(), tf.string if ids.dtype == object else tf.int64)
        entries = tf.lookup.KeyValueTensorInitializer(keys, tf.constant(places, tf.int64))
        self._table = tf.lookup.StaticHashTable(entries, default_value=-1)

    @property
    def compute(self) -> Callable[[Features], Features]:
        return lambda raw: {CATALOGUE_PLACE: self._table.lookup(raw[ITEM_ID])}


def _clicked(records: tf.data.Dataset, size: int) -> tf.data.Dataset:
    """Batches of the clicked rows of serialized rows."""
    label = {LABEL: tf.io.FixedLenFeature([], tf.float32)}

    @tf.autograph.experimental.do_not_convert
    def only(examples: tf.Tensor) -> tf.Tensor:
        return tf.boolean_mask(examples, tf.io.parse_example(examples, label)[LABEL] > 0)

    return records.map(only).unbatch().batch(size)


def encoded_items(
    encoder: RowEncoder, feature_set: FeatureSet, items: Catalogue, order: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the model inputs of items, by name, in an order of the catalogue.

    Args:
      encoder: of rows.
      feature_set: the declaration.
      items: raw values.
      order: places in the catalogue.
    """
    names = [
        one.name for one in feature_set.model_inputs("row") if one.entity == "item" and one.shape is not Shape.RAGGED
    ]
    parts = []
    for start in range(0, len(order), _READ_AT_ONCE):
        chosen = order[start : start + _READ_AT_ONCE]
        fill = partial(_missing, count=len(chosen))
        raw = {
            column.name: tf.constant(items.columns[column.name][chosen], tf_dtype(column))
            if column.name in items.columns
            else fill(column)
            for column in feature_set.raw_inputs()
        }
        encoded = encoder.transformed(raw)
        parts.append({name: encoded[name].numpy() for name in names})
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _missing(column: Column, count: int) -> Any:
    shape, dtype = column.shape("row"), tf_dtype(column)
    if shape is Shape.RAGGED:
        return tf.RaggedTensor.from_row_splits(tf.constant([], dtype), tf.zeros([count + 1], tf.int64))
    return tf.fill(shape.sizes(count, None, None, column.width), tf.constant(column.marker, dtype))
