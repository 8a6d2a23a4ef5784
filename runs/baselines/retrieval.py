"""Baselines of retrieval: most popular, recently popular, item-kNN, EASE and, for large catalogues, ALS."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from evaluation.catalogue import CUT_OFFS
from evaluation.comparison import Comparison, compare_statistics
from evaluation.statistics import Means
from evaluation.units import Resample, group_indices, without_gaps
from runs.baselines.cache import FITTED_ON, Predictions, cached, files_identity
from runs.baselines.items import (
    FactorizedClicks,
    best_places,
    co_clicks,
    cosine_neighbors,
    ease,
    histories_of,
    interactions,
    popularity,
    ranks,
    recent_popularity,
)
from runs.baselines.verdict import reported
from runs.true_value import JudgedRequests
from serving.retrieval.recall import Places, Queries, Retrieved, SeenItems, clicks_in
from transforms.features import ITEM_ID, TIMESTAMP, VOCABULARY_ENCODINGS, FeatureSet, RecordKind, Split
from transforms.records import Dataset, paths_of_splits, shard_paths

MOST_POPULAR, RECENTLY_POPULAR, ITEM_KNN, EASE, ALS = "most_popular", "recently_popular", "item_knn", "ease", "als"
_HOURS = (1, 3, 6, 12, 24, 48, 96, 168, 336, 720, 1440, 2160, 4320, 8760, 17520, 43800)
WINDOWS = tuple(3600 * hours for hours in _HOURS)
"""Windows in seconds of what is recently popular; recall on the eval split decides."""
PENALTIES = (10.0, 30.0, 100.0, 300.0, 1000.0)
"""Penalties of EASE; recall on the eval split decides, among the most clicked items alone."""
MAX_ITEMS, MAX_ITEMS_OF_SEARCH = 4000, 1500
"""The most clicked items, at most, that item-kNN and EASE know, and among which a penalty is chosen."""
MAX_TRAIN, MAX_CLICKS, MAX_CLICKS_OF_SEARCH = 2_000_000, 20_000, 2_000
"""Examples of train, clicks that are evaluated, and clicks by which settings are chosen, at most."""
_MAX_ROWS, _MAX_SCORES = 1024, 20_000_000
"""Histories, and scores of items for them, that are computed at once, at most."""
_BEST = "best/"

Score = Callable[[sparse.csr_matrix], np.ndarray]
"""Takes histories `[B, N]`; returns the score of each item, minus infinity for what is never retrieved: `[B, N]`, or
`[N]` where it does not depend on the history."""


@dataclass(frozen=True)
class ClickLog:
    """Where clicks stand.

    Args:
      train, held_out, asked: TFRecords of raw records of the train split, the eval split, and what is evaluated.
      train_examples: rows or shown candidates of the train split.
      held_out_clicks, asked_clicks: how many clicks there are, about.
      feature_set: of the dataset.
      record: `row` or `request`.
      history: the column that holds the items of a user's history; None: what the user clicked in train.
    """

    train: Sequence[str]
    held_out: Sequence[str]
    asked: Sequence[str]
    train_examples: int
    held_out_clicks: int
    asked_clicks: int
    feature_set: FeatureSet
    record: RecordKind
    history: str | None


def history_column(features: FeatureSet) -> str | None:
    """Returns the list of items that a user tower reads: one with the vocabulary of `item_id`; None without one."""
    of_items = {one.vocabulary for one in features.features if one.column == ITEM_ID and one.is_id}
    for one in features.features:
        is_list = features.column(one.column).variable_length
        if is_list and one.encoding in VOCABULARY_ENCODINGS and one.vocabulary in of_items:
            return one.column
    return None


@dataclass(frozen=True)
class _Asked:
    """Clicks to be retrieved: places of the items, histories `[B, N]`, and places of excluded items `[B, E]`."""

    places: np.ndarray
    histories: sparse.csr_matrix
    excluded: np.ndarray | None

    def take(self, rows: slice) -> "_Asked":
        excluded = None if self.excluded is None else self.excluded[rows]
        return _Asked(self.places[rows], self.histories[rows], excluded)

    def ranks(self, score: Score) -> np.ndarray:
        """Returns the rank of each click's item, `[B]`."""
        parts = [np.empty(0, np.int64)]
        for rows in _chunks(self.histories.shape):
            part = self.take(rows)
            parts.append(ranks(score(part.histories), part.places, part.excluded))
        return np.concatenate(parts)


class ItemBaselines:
    """Baselines fitted on the clicks of the train split.

    Args:
      log: where the clicks stand.
      ids: of the catalogue, sorted, `[N]`.
      seen: items that are not retrieved for a user; None: all are.
    """

    def __init__(self, log: ClickLog, ids: np.ndarray, seen: SeenItems | None = None):
        self._log, self._places, self._seen = log, Places(ids), seen
        every = max(1, -(-log.train_examples // MAX_TRAIN))
        read = list(clicks_in(log.train, (TIMESTAMP,), log.feature_set, log.record, every))
        self._items = self._places.of(np.concatenate([ids[:0], *(one.item for one in read)]))
        self._times = np.concatenate([np.empty(0, np.int64), *(one.raw[TIMESTAMP].numpy() for one in read)])
        self._users = np.concatenate([np.empty(0, object), *(one.user for one in read)])
        self.notes: dict[str, Any] = {"fitted_on_clicks": len(self._items), "one_record_of": every}
        self._popular = popularity(self._items, len(ids))

    def ranks(self) -> dict[str, np.ndarray]:
        """Returns the rank of the item of each click that is asked about, by the baseline's name."""
        log = self._log
        self.notes["one_click_of"] = max(1, -(-log.asked_clicks // MAX_CLICKS))
        asked = self._asked(log.asked, self.notes["one_click_of"])
        return {name: asked.ranks(score) for name, score in self._scores.items()}

    def best(self, judged: JudgedRequests) -> dict[str, np.ndarray]:
        """Returns the places that are retrieved for each request, best first, `[R, K]`, by the baseline's name."""
        known = self._known_before if self._log.history is None else {}
        lists: dict[str, list[np.ndarray]] = {name: [] for name in self._scores}
        for queries in judged.queries:
            excluded, histories = judged.excluded(queries), self._histories(queries, known)
            for part in _chunks((len(histories), len(self._places.ids))):
                matrix = histories_of(histories[part], len(self._places.ids))
                hidden = None if excluded is None else excluded[part]
                for name, score in self._scores.items():
                    lists[name].append(best_places(np.broadcast_to(score(matrix), matrix.shape), judged.count, hidden))
        return {name: np.concatenate(parts) for name, parts in lists.items()}

    @cached_property
    def _scores(self) -> dict[str, Score]:
        log = self._log
        decide = self._asked(log.held_out, max(1, -(-log.held_out_clicks // MAX_CLICKS_OF_SEARCH)))
        result = {MOST_POPULAR: self._same_for_all(self._popular), RECENTLY_POPULAR: self._recent(decide)}
        if not (self._group >= 0).any():
            return result
        clicked = interactions(self._group, self._items, len(self._places.ids))
        pairs, places = self._most_clicked(clicked, MAX_ITEMS)
        result[ITEM_KNN] = self._by_items(cosine_neighbors(pairs), places)
        penalty = self._penalty(clicked, decide)
        self.notes[EASE] = {"penalty": penalty, "items": len(places)}
        result[EASE] = self._by_items(ease(pairs, penalty), places)
        if len(self._places.ids) > MAX_ITEMS and FactorizedClicks.is_installed():
            result[ALS] = self._or_popular(FactorizedClicks(clicked))
        return result

    def _asked(self, files: Sequence[str], every: int) -> _Asked:
        """Returns one click of so many."""
        log, done = self._log, 0
        items, histories, excluded = [np.empty(0, np.int64)], [], []
        columns = () if log.history is None else (log.history,)
        known = self._known_before if log.history is None else {}
        for clicks in clicks_in(files, columns, log.feature_set, log.record):
            kept = np.ones(len(clicks.item), bool)
            if self._seen is not None:
                kept = ~self._seen.has(clicks.user, clicks.item)
            number = done + np.cumsum(kept) - 1
            done += int(kept.sum())
            clicks = clicks.where(kept & (number % every == 0))
            if self._seen is not None:
                excluded.append(self._seen.of(clicks.user, self._places))
            items.append(self._places.of(clicks.item))
            histories += self._histories(clicks, known)
        hidden = _padded(excluded) if self._seen is not None else None
        return _Asked(np.concatenate(items), histories_of(histories, len(self._places.ids)), hidden)

    def _histories(self, clicks: Queries, known: Mapping[Any, np.ndarray]) -> list[np.ndarray]:
        if self._log.history is None:
            return [known.get(user, np.empty(0, np.int64)) for user in clicks.user.tolist()]
        kept = self._log.feature_set.column(self._log.history).max_length
        column = self._log.feature_set.column(self._log.history).lengths.name
        lists, lengths = clicks.raw[self._log.history].numpy(), clicks.raw[column].numpy()
        first = np.zeros(len(lengths), np.int64) if kept is None else np.maximum(lengths - kept, 0)
        places = self._places.of(lists)
        return [row[start:stop] for row, start, stop in zip(places, first, lengths)]

    @cached_property
    def _group(self) -> np.ndarray:
        """The number of each click's user, from 0; -1: not known."""
        return without_gaps(group_indices(self._users, len(self._users)))

    @cached_property
    def _known_before(self) -> dict[Any, np.ndarray]:
        """What each user clicked in train."""
        order = np.argsort(self._group, kind="stable")
        order = order[np.searchsorted(self._group[order], 0) :]
        numbers, starts = np.unique(self._group[order], return_index=True)
        parts = np.split(self._items[order], starts[1:]) if len(numbers) else []
        return dict(zip(self._users[order[starts]].tolist(), parts))

    def _recent(self, decide: _Asked) -> Score:
        """Returns recent popularity with the window by which most is found on the eval split."""
        count = len(self._places.ids)
        scores = {one: recent_popularity(self._items, self._times, one, count) for one in WINDOWS}
        recalls = {one: self._recall(decide, self._same_for_all(score)) for one, score in scores.items()}
        window = max(recalls, key=lambda one: (recalls[one], one))
        self.notes[RECENTLY_POPULAR] = {"window_hours": window // 3600}
        return self._same_for_all(scores[window])

    def _penalty(self, clicked: sparse.csr_matrix, decide: _Asked) -> float:
        pairs, places = self._most_clicked(clicked, MAX_ITEMS_OF_SEARCH)
        recalls = {one: self._recall(decide, self._by_items(ease(pairs, one), places)) for one in PENALTIES}
        return max(recalls, key=lambda one: (recalls[one], one))

    def _recall(self, clicks: _Asked, score: Score) -> float:
        """Returns the recall at the largest k."""
        largest = max(k for k in CUT_OFFS if k <= len(self._places.ids))
        return float((clicks.ranks(score) <= largest).mean()) if len(clicks.places) else 0.0

    def _most_clicked(self, clicked: sparse.csr_matrix, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the co-clicks of the most clicked items, and their places."""
        order = np.argsort(-self._popular, kind="stable")[:most]
        places = np.sort(order[self._popular[order] > 0])
        return co_clicks(clicked[:, places]), places

    def _same_for_all(self, scores: np.ndarray) -> Score:
        return lambda histories: scores

    def _by_items(self, weights: np.ndarray, places: np.ndarray) -> Score:
        """Returns the sum of the weights from a history's items to each item."""

        def score(histories: sparse.csr_matrix) -> np.ndarray:
            scores = np.full(histories.shape, -np.inf, np.float32)
            scores[:, places] = histories[:, places] @ weights
            return scores

        return self._or_popular(score, places)

    def _or_popular(self, score: Score, places: np.ndarray | None = None) -> Score:
        """Returns the most popular items for users without a known item in their history."""

        def with_popular(histories: sparse.csr_matrix) -> np.ndarray:
            scores = score(histories)
            known = histories if places is None else histories[:, places]
            scores[np.diff(known.indptr) == 0] = self._popular
            return scores

        return with_popular


def _chunks(shape: tuple[int, int]) -> list[slice]:
    """Returns the rows `[B, N]` whose scores are computed at once."""
    size = max(1, min(_MAX_ROWS, _MAX_SCORES // max(shape[1], 1)))
    return [slice(start, start + size) for start in range(0, shape[0], size)]


def _padded(parts: Sequence[np.ndarray]) -> np.ndarray:
    width = max((part.shape[1] for part in parts), default=0)
    rows = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in parts]
    return np.concatenate([np.empty((0, width), np.int64), *rows])


@dataclass(frozen=True)
class EvaluatedSplits:
    """What is evaluated.

    Args:
      data_dir, dataset: where it stands.
      features: of the model.
      record: `row` or `request`.
      splits: that are evaluated.
    """

    data_dir: str | os.PathLike[str]
    dataset: Dataset
    features: FeatureSet
    record: RecordKind
    splits: tuple[Split, ...]

    def log(self) -> ClickLog | None:
        """Returns where clicks stand; None without a train and an eval split."""
        known = self.dataset.records.get(self.record, {})
        if any(name not in known or not known[name].positives for name in FITTED_ON):
            return None
        train, held_out = (shard_paths(self.data_dir, self.dataset, self.record, name) for name in FITTED_ON)
        return ClickLog(
            train,
            held_out,
            paths_of_splits(self.data_dir, self.dataset, self.record, self.splits),
            known["train"].examples,
            known["eval"].positives,
            sum(known[name].positives for name in self.splits),
            self.dataset.feature_set,
            self.record,
            history_column(self.features),
        )


def beside_baselines(
    where: EvaluatedSplits,
    result: Retrieved,
    ids: np.ndarray,
    seen: SeenItems | None = None,
    resamples: int = 200,
    seed: int = 1,
    resample: Resample | None = None,
    judged: JudgedRequests | None = None,
    retrieved: np.ndarray | None = None,
) -> tuple[Comparison | None, dict[str, Any]]:
    """Returns a model beside the baselines, and what the result reports of that; neither without a train split.

    Args:
      where: what is evaluated.
      result: of the model there.
      ids: of the catalogue, sorted, `[N]`.
      seen: as in `retrieved`.
      resamples, seed, resample: of the bootstrap.
      judged: requests that are judged by the truth; None: the truth is not known.
      retrieved: what the model retrieves for these, as `JudgedRequests.best` returns it.
    """
    log = where.log()
    if log is None or not len(result):
        return None, {}
    fitted = _fitted(where, log, ids, seen, judged)
    every = int(fitted.notes["one_click_of"])
    units = result.units(resample)
    unit = without_gaps(units.index[::every])
    size = int(unit.max(initial=-1)) + 1

    def means(hits: Mapping[str, np.ndarray]) -> list[Means]:
        return [Means(hits, unit, size)]

    model = means({key: hits[::every] for key, hits in result.hits.items()})
    others = {
        name: means({key: item_ranks <= int(key.rpartition("@")[2]) for key in result.hits})
        for name, item_ranks in fitted.arrays.items()
        if not name.startswith(_BEST)
    }
    comparison = compare_statistics(model, others, size, resamples, seed)
    if judged is not None and retrieved is not None:
        lists = {name.removeprefix(_BEST): one for name, one in fitted.arrays.items() if name.startswith(_BEST)}
        by_truth = judged.compared(retrieved, lists, resamples, seed, resample)
        comparison = Comparison(
            {**comparison.metrics, **by_truth.metrics},
            {name: {**values, **by_truth.baselines[name]} for name, values in comparison.baselines.items()},
            {name: {**values, **by_truth.gain[name]} for name, values in comparison.gain.items()},
        )
    return comparison, reported(comparison, fitted.notes)


def _fitted(
    where: EvaluatedSplits,
    log: ClickLog,
    ids: np.ndarray,
    seen: SeenItems | None,
    judged: JudgedRequests | None,
) -> Predictions:
    """Returns the ranks of clicked items, and what is retrieved for judged requests, from the cache where it is known.

    Both stand under the baseline's name, the second after `_BEST`.
    """
    identity = {
        "kind": "retrieval",
        "dataset_sha256": where.dataset.sha256,
        "splits": where.splits,
        "record": where.record,
        "files": files_identity(where.data_dir, [*log.train, *log.held_out, *log.asked]),
        "catalogue": hashlib.sha256("\n".join(map(repr, ids.tolist())).encode()).hexdigest(),
        "history": log.history,
        "exclude_seen": seen is not None,
        "judged_requests": 0 if judged is None else len(judged),
    }

    def make() -> Predictions:
        baselines = ItemBaselines(log, ids, seen)
        best = {} if judged is None else {_BEST + name: one for name, one in baselines.best(judged).items()}
        return Predictions({**baselines.ranks(), **best}, baselines.notes)

    return cached(where.data_dir, identity, make)
