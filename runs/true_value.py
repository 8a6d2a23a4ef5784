"""Retrieval on a simulated log, judged by the truth: the click probability of what is retrieved, seen before or not."""

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.catalogue import CUT_OFFS, Search, among, true_value_bounds, true_values
from evaluation.comparison import Comparison, compare_statistics
from evaluation.entire_space import MODEL
from evaluation.statistics import Means
from evaluation.units import Resample, Units, group_indices, units_of
from serving.retrieval.recall import Places, Queries, SeenItems, requests_in
from simulation.truth import SimulatedTruth
from transforms.features import FeatureSet, RecordKind
from transforms.records import Dataset

MAX_REQUESTS = 5_000
"""Requests that are judged, at most, evenly spread over the split."""
_AT_ONCE = 512

_ByKey = dict[str, np.ndarray]
"""Values of the requests, `[R]`, by metric."""


class JudgedRequests:
    """Requests of a split, for which retrieved items are judged by their true click probability.

    Args:
      truth: of the log.
      queries: of the requests.
      ids: of the catalogue, sorted, `[N]`.
      seen: items that are not retrieved for a user; None: all are.
    """

    def __init__(
        self, truth: SimulatedTruth, queries: Sequence[Queries], ids: np.ndarray, seen: SeenItems | None = None
    ):
        self.queries, self.count = queries, min(max(CUT_OFFS), len(ids))
        self._truth, self._places, self._seen = truth, Places(ids), seen
        self._user = np.concatenate([one.user for one in queries])
        self._request = np.concatenate([one.request for one in queries])

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        files: Sequence[str],
        columns: Sequence[str],
        record: RecordKind,
        ids: np.ndarray,
        seen: SeenItems | None = None,
    ) -> "JudgedRequests | None":
        """Returns the requests of some files of a dataset; None where the truth is not known.

        Args:
          dataset: whose origin says whether it was simulated.
          files: TFRecords of raw records.
          columns: that are read of users.
          record: `row` or `request`.
          ids, seen: as above.
        """
        truth = SimulatedTruth.of(dataset.origin)
        if truth is None:
            return None
        features: FeatureSet = dataset.feature_set
        queries = list(requests_in(files, columns, features, record, MAX_REQUESTS))
        if not queries or not all(truth.has(one.request, one.user) for one in queries):
            return None
        return cls(truth, queries, ids, seen)

    def __len__(self) -> int:
        return len(self._request)

    def units(self, resample: Resample | None = None) -> Units:
        """Returns the units of the bootstrap: a request is the smallest."""
        count, kind = len(self), None if resample == "row" else resample
        groups: dict[Resample, np.ndarray] = {"user": group_indices(self._user, count), "request": np.arange(count)}
        return units_of(count, groups, kind, "request")

    def best(self, search: Search) -> np.ndarray:
        """Returns the places that a model retrieves for each request, best first, padded with -1, `[R, K]`."""
        parts = []
        for queries in self.queries:
            excluded = self.excluded(queries)
            more = 0 if excluded is None else excluded.shape[1]
            places = np.asarray(search(queries.raw, min(self.count + more, len(self._places.ids)))[1], np.int64)
            if excluded is not None:
                hidden = among(places, excluded, len(self._places.ids))
                places = np.where(hidden, -1, places)
                places = np.take_along_axis(places, np.argsort(hidden, axis=1, kind="stable"), axis=1)
            parts.append(places[:, : self.count])
        return np.concatenate(parts)

    def excluded(self, queries: Queries) -> np.ndarray | None:
        """Returns the places of items that are not retrieved for each query, padded with -1; None: none are."""
        return None if self._seen is None else self._seen.of(queries.user, self._places)

    def compared(
        self,
        retrieved: np.ndarray,
        baselines: Mapping[str, np.ndarray],
        resamples: int = 200,
        seed: int = 1,
        resample: Resample | None = None,
    ) -> Comparison:
        """Compares what a model retrieves with what baselines retrieve, by `true_value@k`; the bounds are the model's.

        Args:
          retrieved: places, as `best` returns them.
          baselines: likewise, by name.
          resamples, seed, resample: of the bootstrap.
        """
        units = self.units(resample)
        values, bounds = self._judged({MODEL: retrieved, **baselines})
        model = [Means({**values.pop(MODEL), **bounds}, units.index, len(units))]
        others = {name: [Means(one, units.index, len(units))] for name, one in values.items()}
        return compare_statistics(model, others, len(units), resamples, seed)

    def _judged(
        self, lists: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray]]:
        """Judges what was retrieved.

        Args:
          lists: places by name, as `best` returns them.

        Returns:
          `true_values` by name, and `true_value_bounds`, `[R]` each.
        """
        values: dict[str, list[_ByKey]] = {name: [] for name in lists}
        bounds, done = [], 0
        for queries in self.queries:
            excluded = self.excluded(queries)
            for start in range(0, len(queries.request), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                probability = self._truth.probabilities(queries.request[part], self._places.ids)
                rows = slice(done, done + len(probability))
                done = rows.stop
                for name, places in lists.items():
                    values[name].append(true_values(probability, places[rows]))
                if excluded is not None:
                    row, column = np.nonzero(excluded[part] >= 0)
                    probability[row, excluded[part][row, column]] = -np.inf
                bounds.append(true_value_bounds(probability, self.count))
        return {name: _joined(parts) for name, parts in values.items()}, _joined(bounds)


def _joined(parts: Sequence[_ByKey]) -> _ByKey:
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
