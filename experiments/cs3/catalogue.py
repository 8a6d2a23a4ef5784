"""How often the towers find a clicked item in the whole catalogue, with their caches and without."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from experiments.cs3.building import WatchedCS3
from experiments.cs3.methods import RECALL, emptied
from experiments.cs3.stream import Data, Stream, joined
from models.layers.tower_caches import SIDES
from models.retrieval.tower_model import ScaledProduct, TowerInput
from transforms.features import SPLITS, Split

_AT_ONCE = 1024


def catalogue_recalls(group: WatchedCS3, data: Data, split: Split, cut_off: int) -> dict[str, float]:
    """Share of a split's clicks whose item is among the best of the catalogue, as models and caches are now.

    The catalogue holds each item of the vocabulary that came before the split, with its last values there. An item
    that it lacks is not found; nor is one whose score some other item ties at the cut-off.

    Args:
      group: towers that are compared by a product; of others nothing is told.
      data: with the splits before.
      split: whose clicks are asked about.
      cut_off: k.

    Returns:
      `RECALL`; and, where there are caches, `emptied` of each side, with its vectors set to zero for this time.
    """
    stream, item = data.splits[split], group.options.id_features["item"]
    clicks = stream.taken(stream.label > 0)
    if not isinstance(group.towers.similarity, ScaledProduct) or not len(clicks):
        return {}
    items, values = catalogue(data, split, item, data.in_vocabulary_ids[_vocabulary(data, item)])
    places = np.full(int(max(items.max(), clicks.features[item].max())) + 1, -1)
    places[items] = np.arange(len(items))
    wanted = places[clicks.features[item]]

    def recall() -> float:
        users, vectors = _vectors(group, clicks)[0], _vectors(group, values)[1]
        return recall_at(cut_off, float(group.towers.similarity.scale.numpy()) * users, vectors, wanted)

    found = {RECALL: recall()}
    for side in SIDES if group.caches.stores else ():
        with _empty(group, side):
            found[emptied(side)] = recall()
    return found


def recall_at(cut_off: int, users: np.ndarray, items: np.ndarray, wanted: np.ndarray) -> float:
    """Share of users with fewer than k other items that score at least as high as theirs.

    Args:
      cut_off: k.
      users: `[B, W]`.
      items: `[N, W]`.
      wanted: place of each user's item, -1 for one that is not there, `[B]`.
    """
    hits = 0
    for start in range(0, len(users), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        scores, places = users[part] @ items.T, wanted[part]
        own = scores[np.arange(len(places)), np.maximum(places, 0)]
        hits += int(((places >= 0) & ((scores >= own[:, np.newaxis]).sum(axis=1) <= cut_off)).sum())
    return hits / len(users)


def catalogue(data: Data, split: Split, item: str, in_vocabulary_ids: int) -> tuple[np.ndarray, Stream]:
    """Ids of the items before a split, and the last row of each, one after the other."""
    last: dict[int, tuple[Split, int]] = {}
    earlier = SPLITS[: SPLITS.index(split)]
    for name in earlier:
        last |= {int(own): (name, row) for row, own in enumerate(data.splits[name].features[item])}
    rows = {name: np.array([row for own, row in last.values() if own == name], np.int64) for name in earlier}
    values = joined([data.splits[name].taken(rows[name]) for name in earlier if len(rows[name])])
    ids = values.features[item]
    known = (ids > 0) & (ids < in_vocabulary_ids)
    return ids[known], values.taken(known)


def _vocabulary(data: Data, feature: str) -> str:
    return next(str(own.vocabulary) for own in data.inputs if own.name == feature)


def _vectors(group: WatchedCS3, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """u and v of rows, `[R, W]`."""

    def of(features: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        sets, _ = group.embeddings(features, training=False, as_sets=True)
        user, item = group.towers.both(TowerInput(sets, group.towers.extras(features)), training=False)
        return user, item[:, 0]

    run = tf.function(of, reduce_retracing=True, autograph=False)
    parts = [[own.numpy() for own in run(features)] for features, _ in stream.batches(_AT_ONCE)]
    users, items = (np.concatenate(own) for own in zip(*parts, strict=True))
    return users, items


@contextmanager
def _empty(group: WatchedCS3, side: str) -> Iterator[None]:
    stores = [store for name, store in group.caches.stores.items() if name.endswith(side)]
    kept = [store.content() for store in stores]
    for store in stores:
        store.reset()
    try:
        yield
    finally:
        for store, content in zip(stores, kept, strict=True):
            store.fill(content)
