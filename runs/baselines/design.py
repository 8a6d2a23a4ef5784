"""Transformed features as the rows of simple models: one column for each id, numbers standardized, lists averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from transforms.features import ModelInput, RecordKind


@dataclass(frozen=True)
class Examples:
    """n examples: rows, or candidates of requests.

    Args:
      ids: one id a feature, `[n, I]`.
      numbers: `[n, F]`, also the components of vectors.
      lists: ids of each list feature, as rows that sum to 1, `[n, ids]` each.
      label: `[n]`.
      weight: `[n]`.
    """

    ids: np.ndarray
    numbers: np.ndarray
    lists: tuple[sparse.csr_matrix, ...]
    label: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def values(self) -> int:
        """Number of values that are not 0, about."""
        return int(self.ids.size + self.numbers.size + sum(one.nnz for one in self.lists))

    def take(self, rows: np.ndarray | slice) -> "Examples":
        """Returns some of the examples."""
        lists = tuple(one[rows] for one in self.lists)
        return Examples(self.ids[rows], self.numbers[rows], lists, self.label[rows], self.weight[rows])


def joined(parts: Sequence[Examples]) -> Examples:
    """Returns the examples of several batches, one after the other."""
    widths = [max(one.shape[1] for one in kind) for kind in zip(*(part.lists for part in parts))]
    lists = [
        sparse.vstack([_widened(part.lists[place], width) for part in parts], "csr")
        for place, width in enumerate(widths)
    ]
    plain = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", "numbers", "label", "weight"))
    ids, numbers, label, weight = plain
    return Examples(ids, numbers, tuple(lists), label, weight)


def _widened(matrix: sparse.csr_matrix, width: int) -> sparse.csr_matrix:
    """Returns a matrix with another number of columns; those that are too many go."""
    if width < matrix.shape[1]:
        return matrix[:, :width]
    return sparse.csr_matrix((matrix.data, matrix.indices, matrix.indptr), (matrix.shape[0], width))


def examples_of(
    inputs: Sequence[ModelInput],
    record: RecordKind,
    features: Mapping[str, np.ndarray],
    label: np.ndarray,
    weight: np.ndarray,
    chosen: np.ndarray,
) -> Examples:
    """Returns the chosen examples of a batch.

    Args:
      inputs: of the model.
      record: `row` or `request`.
      features: by name of an input, as the learned transform gives them, lists padded with 0.
      label, weight: `[B]`, or `[B, M]` of requests.
      chosen: mask of the examples, likewise.
    """
    places = np.nonzero(chosen)
    ids: list[np.ndarray] = []
    numbers: list[np.ndarray] = []
    lists: list[sparse.csr_matrix] = []
    for one in inputs:
        values = np.asarray(features[one.name])
        per_candidate = one.shape.per_candidate and record == "request"
        values = values[places] if per_candidate else values
        rows = slice(None) if per_candidate else places[0]
        if one.vocabulary is None and values.ndim == 2 and one.width is None:
            # A list of numbers: their mean.
            values = values.sum(axis=1) / np.maximum((values != 0).sum(axis=1), 1)
        if one.vocabulary is None:
            numbers += [column[rows] for column in np.atleast_2d(values.T)]
        elif values.ndim == 1:
            ids.append(values[rows])
        else:
            lists.append(_averaged(values)[rows])
    size = len(places[0])
    stacked = (np.stack(columns, axis=1) if columns else np.empty((size, 0)) for columns in (ids, numbers))
    first, second = stacked
    return Examples(
        first.astype(np.int64), second.astype(np.float64), tuple(lists), label[places], weight[places].astype(float)
    )


def _averaged(values: np.ndarray) -> sparse.csr_matrix:
    """Returns ids `[n, L]`, 0 = missing, as rows in which each id has its share, `[n, ids]`."""
    real = values != 0
    counts = real.sum(axis=1)
    share = np.repeat(1.0 / np.maximum(counts, 1), counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    matrix = sparse.csr_matrix((share, values[real], starts), (len(values), int(values.max(initial=0)) + 1))
    matrix.sum_duplicates()
    return matrix


class Design:
    """The columns of a linear model, as the training examples have them.

    Args:
      train: the examples that it is fitted on: an id that is not among theirs has no column.
    """

    def __init__(self, train: Examples):
        # Ids that no training example has share the last column.
        self._sizes = train.ids.max(axis=0, initial=0) + 2
        self._offsets = np.concatenate([[0], np.cumsum(self._sizes)]).astype(np.int64)
        seen = np.bincount((train.ids + self._offsets[:-1]).ravel(), minlength=int(self._offsets[-1])) > 0
        self._kinds = int(seen.sum()) + 1
        self._places = np.where(seen, np.cumsum(seen) - 1, self._kinds - 1)
        self._widths = [one.shape[1] for one in train.lists]
        self._mean = np.average(train.numbers, axis=0, weights=train.weight) if train.numbers.size else np.empty(0)
        deviation = train.numbers.std(axis=0) if train.numbers.size else np.empty(0)
        self._scale = np.where(deviation > 1e-12 * np.abs(self._mean), deviation, np.inf)

    def matrix(self, examples: Examples) -> sparse.csr_matrix:
        """Returns the rows of a linear model, `[n, D]`."""
        size, kinds = examples.ids.shape
        columns = self._places[np.minimum(examples.ids, self._sizes - 1) + self._offsets[:-1]]
        starts = np.arange(0, size * kinds + 1, kinds) if kinds else np.zeros(size + 1, np.int64)
        one_hot = sparse.csr_matrix((np.ones(columns.size), columns.ravel(), starts), (size, self._kinds))
        numbers = sparse.csr_matrix((examples.numbers - self._mean) / self._scale)
        lists = [_widened(one, width) for one, width in zip(examples.lists, self._widths, strict=True)]
        return sparse.hstack([one_hot, numbers, *lists], "csr")
