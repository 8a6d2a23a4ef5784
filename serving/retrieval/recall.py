"""Recall of two towers in their whole catalogue: of a model in memory, or of an exported one."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from evaluation.bootstrap import with_intervals
from evaluation.catalogue import CatalogueRecall, Search
from evaluation.statistics import Means
from evaluation.units import Resample, Units, group_indices, units_of
from models.retrieval.factorized_top_k import brute_force
from serving.export.requests import as_request
from serving.loading import load_saved_model
from serving.retrieval.catalogue import Catalogue, joined
from serving.retrieval.golden import asking
from serving.retrieval.item_table import read_items
from serving.retrieval.item_vectors import read_item_vectors, retrieval_of
from serving.retrieval.search import INNER_PRODUCT
from serving.retrieval.signatures import EMBEDDING, ITEM, USER, ServedTowers
from transforms.features import CANDIDATE, EXPOSED, ITEM_ID, LABEL, FeatureSet, RecordKind
from transforms.input import parsed, serialized
from transforms.schema import parse_spec

_AT_ONCE = 4096


class Places:
    """Positions of items in a catalogue.

    Args:
      ids: sorted, `[N]`.
    """

    def __init__(self, ids: np.ndarray):
        self.ids = ids

    def of(self, wanted: np.ndarray) -> np.ndarray:
        """Returns the positions of ids of any shape; -1 for one that is not in the catalogue."""
        nearest = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[nearest] == wanted, nearest, -1)


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
    """Returns the items and the search of a model that is about to be exported.

    Raises:
      ValueError: it has no catalogue.
    """
    if towers.retrieval is None:
        raise ValueError("towers without a catalogue; expected one; give it")
    search = towers.retrieval.search
    similarity, places = search.similarity_entry(), Places(towers.retrieval.ids.numpy())
    if similarity["kind"] == INNER_PRODUCT:
        of_users = brute_force(towers.item_vectors, similarity["scale"])
        return Catalogued(places, lambda raw, count: of_users(towers.embed_users(raw), count))
    best = tf.function(search.best, autograph=False, reduce_retracing=True)

    def of_any(raw: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        positions, scores = best(towers.embed_users(raw), tf.constant(count))
        return scores, positions

    return Catalogued(places, of_any)


def catalogued_export(version: str | os.PathLike[str], items: Catalogue | None = None) -> Catalogued:
    """Returns the items and the search of an exported model.

    Args:
      version: the export.
      items: values of items, as `catalogue_at` gives them; those of the export that are among them count with these
        values, embedded by the export's own item tower. None: all as they were exported.

    Raises:
      InputError: it has no catalogue, or another one than its contract says.
    """
    loaded = load_saved_model(version)
    product = retrieval_of(version)["similarity"]["kind"] == INNER_PRODUCT
    ids = loaded.towers.retrieval.ids.numpy()
    vectors = None if items is None else _embedded(loaded, joined(items, _exported(version)), ids)
    if product:
        exported, embed = read_item_vectors(version, loaded), loaded.signatures[USER]
        of_users = brute_force(exported.vectors if vectors is None else vectors, exported.scale)
        known = embed.structured_input_signature[1]

        def of_served(raw: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
            # Models that were exported before lists had lengths do not take any.
            return of_users(embed(**{name: raw[name] for name in known})[EMBEDDING], count)

        return Catalogued(Places(ids), of_served)
    if vectors is not None:
        loaded.towers.retrieval.search.vectors.assign(vectors)
    places, ask = Places(ids), asking(loaded)

    def of_any(raw: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        item_ids, scores = ask(raw, count)
        return tf.constant(scores), tf.constant(places.of(item_ids), tf.int32)

    return Catalogued(places, of_any)


def _exported(version: str | os.PathLike[str]) -> Catalogue:
    columns = read_items(version).columns
    return Catalogue(columns[ITEM_ID], columns)


def _embedded(loaded: Any, items: Catalogue, ids: np.ndarray) -> np.ndarray:
    """Vectors of the items with these ids, in their order, by the signature that is served."""
    embed, places = loaded.signatures[ITEM], Places(items.ids).of(ids)
    columns = embed.structured_input_signature[1]
    parts = []
    for start in range(0, len(ids), _AT_ONCE):
        part = places[start : start + _AT_ONCE]
        raw = {name: tf.constant(items.columns[name][part], spec.dtype) for name, spec in columns.items()}
        parts.append(embed(**raw)[EMBEDDING].numpy())
    return np.concatenate(parts)


@dataclass(frozen=True)
class Retrieved:
    """How the clicked items of a split were retrieved, click by click.

    Args:
      hits: True for each click whose item is among the k best, `[clicks]`, by `catalogue_recall@k`.
      user, request: ids, `[clicks]`.
      items: number of items in the catalogue.
      not_in_catalogue: number of clicks on other items, which are not found.
      clicks_of_seen_items: number of clicks that were left out, as the user had seen the item; None: none were.
    """

    hits: dict[str, np.ndarray]
    user: np.ndarray
    request: np.ndarray
    items: int
    not_in_catalogue: int
    clicks_of_seen_items: int | None = None

    def __len__(self) -> int:
        return len(self.user)

    def units(self, resample: Resample | None = None) -> Units:
        """Returns the units of the bootstrap; a row is a click."""
        ids: dict[Resample, np.ndarray] = {"user": self.user, "request": self.request}
        count = len(self)
        return units_of(count, {kind: group_indices(values, count) for kind, values in ids.items()}, resample)

    def report(self, resamples: int = 200, seed: int = 1, resample: Resample | None = None) -> dict[str, Any]:
        """Returns the numbers of clicks and items, and recall with its intervals, as `recall_of` describes them."""
        of_seen = {} if self.clicks_of_seen_items is None else {"clicks_of_seen_items": self.clicks_of_seen_items}
        if not len(self):
            return {"clicks": 0, **of_seen} if any(of_seen.values()) else {}
        units = self.units(resample)
        means = with_intervals([Means(self.hits, units.index, len(units))], len(units), resamples, seed)
        counts = {"clicks": len(self), "items": self.items, "not_in_catalogue": self.not_in_catalogue, **of_seen}
        return {**counts, **means, **(units.counts() if resamples else {})}


def recall_of(
    items: Catalogued,
    files: Sequence[str],
    columns: Sequence[str],
    feature_set: FeatureSet,
    record: RecordKind,
    seen: "SeenItems | None" = None,
    resamples: int = 200,
    seed: int = 1,
    resample: Resample | None = None,
) -> dict[str, Any]:
    """Returns how often clicked items are retrieved.

    Args:
      items, files, columns, feature_set, record, seen: as in `retrieved`.
      resamples, seed, resample: of the bootstrap, as `metrics.evaluate` has them; a row is a click.

    Returns:
      `clicks`, `items`, `not_in_catalogue` (clicks of other items, which are not found), and for each k of `CUT_OFFS`
      up to the number of items `catalogue_recall@k` with its interval, `..._low` to `..._high`, and what was
      resampled; nothing where there is no click. With `seen`, `clicks_of_seen_items` besides, which are not among
      the `clicks`.

    Raises:
      InputError: the model gives NaN, or there are no ids of what is to be drawn.
    """
    return retrieved(items, files, columns, feature_set, record, seen).report(resamples, seed, resample)


def retrieved(
    items: Catalogued,
    files: Sequence[str],
    columns: Sequence[str],
    feature_set: FeatureSet,
    record: RecordKind,
    seen: "SeenItems | None" = None,
) -> Retrieved:
    """Searches the catalogue for each click.

    Args:
      items: of the model.
      files: TFRecord files of raw records.
      columns: that the model's user tower reads.
      feature_set, record: as the dataset says.
      seen: items that users have seen, which are then not retrieved for them; clicks of such items are left out. None:
        all items are retrieved.

    Raises:
      InputError: the model gives NaN.
    """
    recall = CatalogueRecall(items.search, len(items.places.ids))
    users: list[np.ndarray] = [np.empty(0, object)]
    requests: list[np.ndarray] = [np.empty(0, object)]
    unknown = of_seen = 0
    for clicks in clicks_in(files, columns, feature_set, record):
        places = items.places.of(clicks.item)
        if seen is not None:
            new = ~seen.has(clicks.user, clicks.item)
            of_seen, clicks, places = of_seen + int((~new).sum()), clicks.where(new), places[new]
        if len(places):
            recall.update(clicks.raw, places, None if seen is None else seen.of(clicks.user, items.places))
        unknown += int((places < 0).sum())
        users.append(clicks.user)
        requests.append(clicks.request)
    left_out = None if seen is None else of_seen
    ids = np.concatenate(users), np.concatenate(requests)
    return Retrieved(recall.hits(), *ids, len(items.places.ids), unknown, left_out)


@dataclass(frozen=True)
class Queries:
    """A batch of queries: the raw columns of their users, and ids of users and requests."""

    raw: dict[str, tf.Tensor]
    user: np.ndarray
    request: np.ndarray


@dataclass(frozen=True)
class Clicks(Queries):
    """A batch of clicks: the queries of their users, and ids of items."""

    item: np.ndarray

    def where(self, mask: np.ndarray) -> "Clicks":
        raw = {name: tf.boolean_mask(values, mask) for name, values in self.raw.items()}
        return Clicks(raw, self.user[mask], self.request[mask], self.item[mask])


def clicks_in(
    files: Sequence[str], columns: Sequence[str], feature_set: FeatureSet, record: RecordKind, every: int = 1
) -> Iterator[Clicks]:
    """Yields the clicks of records, a few thousand at once; of one record of so many where `every` is above 1."""
    keys = ("user_id", "request_id")
    spec = parse_spec(feature_set, record, (*columns, *keys, ITEM_ID, LABEL, *_masks(record)))
    read = [feature_set.column(name) for name in columns]
    for batch in parsed(serialized(files, _AT_ONCE, every=every), spec):
        clicked = _shown(batch, record) & (batch[LABEL].numpy() > 0)
        rows, ids = np.nonzero(clicked)[0], batch[ITEM_ID].numpy()[clicked]
        raw = as_request(read, {name: tf.gather(batch[name], rows) for name in columns})
        user, request = (batch[key].numpy()[rows] for key in keys)
        for start in range(0, len(rows), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            yield Clicks({name: values[part] for name, values in raw.items()}, user[part], request[part], ids[part])


def requests_in(
    files: Sequence[str], columns: Sequence[str], feature_set: FeatureSet, record: RecordKind, most: int
) -> Iterator[Queries]:
    """Yields the first record of each request, of at most `most` requests, evenly spread; arguments as `clicks_in`."""
    spec = parse_spec(feature_set, record, ("request_id",))
    ids = [batch["request_id"].numpy() for batch in parsed(serialized(files, _AT_ONCE), spec)]
    group = group_indices(np.concatenate([np.empty(0, object), *ids]), sum(map(len, ids)))
    known = np.flatnonzero(group >= 0)
    first = known[np.sort(np.unique(group[known], return_index=True)[1])]
    first, done = first[:: max(1, -(-len(first) // most))], 0
    spec = parse_spec(feature_set, record, (*columns, "user_id", "request_id"))
    read = [feature_set.column(name) for name in columns]
    for batch in parsed(serialized(files, _AT_ONCE), spec):
        count = len(batch["request_id"])
        rows = first[(first >= done) & (first < done + count)] - done
        done += count
        if len(rows):
            raw = as_request(read, {name: tf.gather(batch[name], rows) for name in columns})
            yield Queries(raw, *(batch[key].numpy()[rows] for key in ("user_id", "request_id")))


def _masks(record: RecordKind) -> tuple[str, ...]:
    return (CANDIDATE, EXPOSED) if record == "request" else ()


def _shown(batch: Mapping[str, tf.Tensor], record: RecordKind) -> np.ndarray:
    """Returns True for each record, or candidate, that was shown."""
    shown = np.ones(batch[ITEM_ID].shape, bool)
    for mask in _masks(record):
        shown &= batch[mask].numpy() == 1
    return shown


class SeenItems:
    """The items that each user was shown, clicked or not.

    Args:
      files: TFRecord files of raw records, those before the evaluated ones.
      feature_set, record: as the dataset says.
    """

    def __init__(self, files: Sequence[str], feature_set: FeatureSet, record: RecordKind):
        self._items: dict[Any, set[Any]] = {}
        spec = parse_spec(feature_set, record, ("user_id", ITEM_ID, *_masks(record)))
        for batch in parsed(serialized(files, _AT_ONCE), spec) if files else ():
            shown = _shown(batch, record)
            users, items = batch["user_id"].numpy()[np.nonzero(shown)[0]], batch[ITEM_ID].numpy()[shown]
            known = group_indices(users, len(users)) >= 0
            for user, item in zip(users[known].tolist(), items[known].tolist(), strict=True):
                self._items.setdefault(user, set()).add(item)

    def has(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Returns True for each pair of a user and an item that the user was shown, `[B]`."""
        pairs = zip(users.tolist(), items.tolist(), strict=True)
        return np.array([item in self._items.get(user, ()) for user, item in pairs], bool)

    def of(self, users: np.ndarray, places: Places) -> np.ndarray:
        """Returns the positions of the items that each user was shown, padded with -1, `[B, E]`."""
        names = users.tolist()
        lists = {user: places.of(_array(sorted(self._items.get(user, ())), places.ids.dtype)) for user in set(names)}
        padded = np.full((len(names), max(map(len, lists.values()), default=0)), -1)
        for row, user in enumerate(names):
            padded[row, : len(lists[user])] = lists[user]
        return padded


def _array(values: Sequence[Any], dtype: np.dtype) -> np.ndarray:
    array = np.empty(len(values), dtype)
    array[:] = values
    return array
