"""How often two towers find a clicked item in their whole catalogue: of a model at hand, or of an exported one."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from models.retrieval.factorized_top_k import CatalogueRecall, Search, brute_force
from serving.exact_search import INNER_PRODUCT
from serving.item_vectors import read_item_vectors, retrieval_of
from serving.requests import padding_of
from serving.retrieval_golden import asking
from serving.retrieval_signatures import EMBEDDING, USER, ServedTowers
from transforms.features import CANDIDATE, EXPOSED, ITEM_ID, LABEL, FeatureSet, RecordKind
from transforms.input import parsed, serialized
from transforms.schema import parse_spec

_AT_ONCE = 4096


class Places:
    """Where the items of a catalogue stand.

    Args:
      ids: sorted, `[N]`.
    """

    def __init__(self, ids: np.ndarray):
        self.ids = ids

    def of(self, wanted: np.ndarray) -> np.ndarray:
        """Of ids of any shape; -1 for one that is not there."""
        found = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[found] == wanted, found, -1)


@dataclass(frozen=True)
class Catalogued:
    """The items of a model, and its exact search.

    Args:
      places: of the items.
      search: takes raw columns of users, as the signature `user_embedding` does.
    """

    places: Places
    search: Search


def catalogued(towers: ServedTowers) -> Catalogued:
    """Of a model that is about to be exported.

    Raises:
      ValueError: it has no catalogue.
    """
    if towers.retrieval is None:
        raise ValueError("towers without a catalogue; expected one; give it")
    search = towers.retrieval.search
    told, places = search.told(), Places(towers.retrieval.ids.numpy())
    if told["kind"] == INNER_PRODUCT:
        of_users = brute_force(towers.item_vectors, told["scale"])
        return Catalogued(places, lambda raw, count: of_users(towers.embed_users(raw), count))
    best = tf.function(search.best, autograph=False, reduce_retracing=True)

    def of_any(raw: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        found, scores = best(towers.embed_users(raw), tf.constant(count))
        return scores, found

    return Catalogued(places, of_any)


def catalogued_export(version: str | os.PathLike[str]) -> Catalogued:
    """Of an exported model.

    Raises:
      InputError: it has no catalogue, or not the one that its contract tells of.
    """
    loaded = tf.saved_model.load(str(version))
    if retrieval_of(version)["similarity"]["kind"] == INNER_PRODUCT:
        items, embed = read_item_vectors(version, loaded), loaded.signatures[USER]
        of_users = brute_force(items.vectors, items.scale)
        return Catalogued(Places(items.ids), lambda raw, count: of_users(embed(**raw)[EMBEDDING], count))
    places, ask = Places(loaded.towers.retrieval.ids.numpy()), asking(loaded)

    def of_any(raw: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        ids, scores = ask(raw, count)
        return tf.constant(scores), tf.constant(places.of(ids), tf.int32)

    return Catalogued(places, of_any)


def recall_of(
    items: Catalogued, files: Sequence[str], columns: Sequence[str], feature_set: FeatureSet, record: RecordKind
) -> dict[str, Any]:
    """How often the items that were clicked are found.

    Args:
      items: of the model.
      files: TFRecord files of raw records.
      columns: that the model's user tower reads.
      feature_set, record: as the dataset says.

    Returns:
      `clicks`, `items`, `not_in_catalogue` (clicks of other items, which are not found), and `catalogue_recall@k` for
      each k of `CUT_OFFS` up to the number of items; nothing where there is no click.
    """
    recall = CatalogueRecall(items.search, len(items.places.ids))
    clicks = unknown = 0
    for raw, clicked in _clicks(files, columns, feature_set, record):
        places = items.places.of(clicked)
        recall.take(raw, places)
        clicks, unknown = clicks + len(places), unknown + int((places < 0).sum())
    if not clicks:
        return {}
    return {"clicks": clicks, "items": len(items.places.ids), "not_in_catalogue": unknown, **recall.result()}


def _clicks(
    files: Sequence[str], columns: Sequence[str], feature_set: FeatureSet, record: RecordKind
) -> Iterator[tuple[dict[str, tf.Tensor], np.ndarray]]:
    """Raw columns of users, and ids of what they clicked; some thousand at once."""
    masks = (CANDIDATE, EXPOSED) if record == "request" else ()
    spec = parse_spec(feature_set, record, (*columns, ITEM_ID, LABEL, *masks))
    padding = {name: padding_of(feature_set.column(name)) for name in columns}
    for batch in parsed(serialized(files, _AT_ONCE), spec):
        clicked = batch[LABEL].numpy() > 0
        for mask in masks:
            clicked &= batch[mask].numpy() == 1
        rows, ids = np.nonzero(clicked)[0], batch[ITEM_ID].numpy()[clicked]
        raw = {name: _dense(tf.gather(batch[name], rows), padding[name]) for name in columns}
        for start in range(0, len(rows), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            yield {name: values[part] for name, values in raw.items()}, ids[part]


def _dense(values: Any, padding: bytes | int | float) -> tf.Tensor:
    return values.to_tensor(default_value=padding) if isinstance(values, tf.RaggedTensor) else values
