"""The data of a served model, in short, and how far other data is from it.

The distance is the Jensen-Shannon divergence, as in TFDV's drift comparator, but over the deciles of the earlier data:
TFDV's ten buckets of equal width hold nearly all of a counter in one bucket, and their edges move with its maximum.
"""

import base64
import math
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from evaluation.pointwise import auc
from runs.audit.findings import Finding
from runs.audit.table import ITEM_ID, USER_ID, Table, Values
from transforms.features import SPLITS, Encoding

_KNOWN_IDS = 1 << 14
"""Ids of a column that a profile keeps, at most: those of the lowest hashes, so that any two profiles keep the same."""
_CATEGORIES, _ELEMENTS = 50, 200_000
_HASHES = 1 << 32
LIMIT, UNKNOWN_MORE, LABEL_FACTOR = 0.5, 0.4, 2.0
MOVES = 0.05
"""Divergence of the last third of the time from the first, from which on a column moves in any case."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Distance(NamedTuple):
    """How far some values are from a distribution.

    Args:
      divergence: Jensen-Shannon, in bits, 0 to 1.
      far: share of the values far outside of the range.
      change: what differs most, in words.
      usual: divergence of the last third of that data from its first: counts so far grow in any log.
      missing: share of missing values before, and now.
    """

    divergence: float
    far: float
    change: str
    usual: float
    missing: tuple[float, float]

    @property
    def stands_out(self) -> bool:
        if self.usual >= MOVES and self.missing[1] - self.missing[0] < 0.5:
            return self.far >= 0.5
        return self.divergence >= LIMIT or self.far >= 0.05

    def __str__(self) -> str:
        outside = f", {self.far:.0%} of the values far outside the range" if self.far >= 0.01 else ""
        return f"divergence {self.divergence:.2f} bit{outside}; {self.change}"


class Distribution(_Frozen):
    """Of a column's values, or of the lengths of its lists.

    Args:
      edges: upper bounds of the bins of numbers; empty: the column has categories.
      low, high: between which values are not far from the range.
      middle: median.
      categories: hashes of the values; empty, as are edges: only how many are missing is known.
      shares: of the bins or categories, then of all other values, then of missing ones.
      usual: divergence of the last third of the time from the first.
    """

    edges: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    middle: float = 0.0
    categories: tuple[int, ...] = ()
    shares: tuple[float, ...]
    usual: float = 0.0

    def distance(self, values: Values) -> Distance:
        """How far the values of another column are from it."""
        numbers = _numbers(values)
        if not self.edges:
            shares = _category_shares(values, self.categories)
            most = int(np.argmax(np.abs(shares - self.shares)))
            change = f"a value's share is {shares[most]:.2f}, was {self.shares[most]:.2f}"
            missing = (self.shares[-1], float(shares[-1]))
            if most == len(shares) - 1 or not self.categories:
                change = f"missing {missing[1]:.0%}, was {missing[0]:.0%}"
            return Distance(_divergence(np.array(self.shares), shares), 0.0, change, self.usual, missing)
        real = numbers[~np.isnan(numbers)]
        shares = _bin_shares(numbers, np.array(self.edges))
        far = float(((real < self.low) | (real > self.high)).mean()) if len(real) else 0.0
        middle = float(np.median(real)) if len(real) else math.nan
        change = f"median {middle:.4g}, was {self.middle:.4g}"
        if shares[-1] - self.shares[-1] > 0.1:
            change += f"; missing {shares[-1]:.0%}, was {self.shares[-1]:.0%}"
        missing = (self.shares[-1], float(shares[-1]))
        return Distance(_divergence(np.array(self.shares), shares), far, change, self.usual, missing)


def distribution_of(values: Values, most_categories: int = _CATEGORIES) -> Distribution | None:
    """The distribution of a column; None for too few values, and for a number that is constant.

    Of ids of many values it has only how many are missing.

    Counts so far are 0 at the beginning of a log: what comes next is no drift.
    """
    numbers = _numbers(values)
    if values.tokens is not None and values.starts is None:
        codes, counts = np.unique(values.values[values.values >= 0], return_counts=True)
        if counts.sum() < 100:
            return None
        few = 0 < len(codes) <= most_categories
        categories = tuple(sorted(int(one) for one in hashes_of(np.asarray(values.tokens)[codes]))) if few else ()
        return Distribution(categories=categories, shares=tuple(_category_shares(values, categories)))
    real = numbers[~np.isnan(numbers)]
    if len(real) < 100 or real.min() == real.max():
        return None
    edges = np.unique(np.quantile(real, np.linspace(0.1, 1.0, 10), method="inverted_cdf"))
    lowest, highest = float(real.min()), float(real.max())
    # Histories and counts of a young log may well double: that is not far.
    margin = max(3 * (highest - lowest), abs(highest) / 2, 1e-6)
    return Distribution(
        edges=tuple(float(edge) for edge in edges),
        low=lowest - margin,
        high=highest + margin,
        middle=float(np.median(real)),
        shares=tuple(_bin_shares(numbers, edges)),
    )


def distributions(train: Table) -> dict[str, Distribution]:
    """The distribution of each column that a model sees."""
    first, last = np.quantile(train.time, [1 / 3, 2 / 3]) if len(train) else (0, 0)
    early, late = train.where(train.time <= first), train.where(train.time > last)
    distributions = {}
    for name, values in train.inputs():
        if name in (USER_ID, ITEM_ID):
            # Who comes and what is shown is for `unknown_ids`.
            distribution = None if values.tokens is None else distribution_of(values, 0)
        else:
            distribution = distribution_of(values)
        if distribution is not None:
            before = distribution_of(early.columns[name]) if distribution.edges or distribution.categories else None
            usual = 0.0 if before is None or not len(late) else before.distance(late.columns[name]).divergence
            distributions[name] = distribution.model_copy(update={"usual": usual})
    return distributions


def halves_of(table: Table) -> tuple[Table, Table]:
    """The examples up to the middle of the time, and those after it."""
    first = table.time <= np.median(table.time) if len(table) else np.zeros(0, bool)
    return table.where(first), table.where(~first)


class KnownIds(_Frozen):
    """The ids of a column whose hash is below a limit, and how many ids are new in later parts of the same data.

    Args:
      limit: of the hashes.
      hashes: of the ids, uint32 in base64.
      unknown: largest share of ids of a later split that train does not have, or of the later half of train that the
        earlier half does not have.
    """

    limit: int
    hashes: str
    unknown: float

    def unknown_share(self, values: Values, rows: np.ndarray | None = None) -> tuple[float, float, int]:
        """Share of the values that are not known, its error, and the position of one of them; of all rows or some."""
        present = _present(values, rows)
        if not len(present):
            return 0.0, 0.0, 0
        hashes = _hashes(values, present)
        judged = hashes < self.limit
        known = np.isin(hashes, np.frombuffer(base64.b64decode(self.hashes), np.uint32))
        unknown = judged & ~known
        # Rows with the same id are no independent ones.
        error = math.sqrt(max(self.unknown * (1 - self.unknown), 0.1) / max(len(np.unique(hashes[judged])), 1))
        share = float(unknown.sum() / judged.sum()) if judged.any() else 0.0
        return share, error, int(present[np.argmax(unknown)])


class Profile(_Frozen):
    """What a later audit compares with: written with the data's hash, found by that of the served model.

    Args:
      dataset_sha256, record: of which data.
      examples: of its train split.
      share: of the users that were read.
      label_rate: of each split.
      columns: distributions in train.
      ids: ids in train.
    """

    dataset_sha256: str
    record: str
    examples: int
    share: float
    label_rate: dict[str, float]
    columns: dict[str, Distribution]
    ids: dict[str, KnownIds]


def profile_of(table: Table, dataset_sha256: str) -> Profile:
    """The profile of a dataset."""
    train = table.of("train")
    learned = {f.column for f in table.feature_set.features if f.encoding == Encoding.ID}
    later = [part for split in SPLITS[1:] if len(part := table.of(split))]
    halves = halves_of(train)
    ids = {}
    for name, values in train.inputs():
        if name in learned and len(_present(values, None)):
            known = _known_ids(values)
            shares = [known.unknown_share(part.columns[name])[0] for part in later]
            # Ids come and go in any log: how many, its own halves say.
            shares.append(_known_ids(halves[0].columns[name]).unknown_share(halves[1].columns[name])[0])
            ids[name] = known.model_copy(update={"unknown": max(shares)})
    rates = {split: table.of(split).rate for split in SPLITS if (table.split == SPLITS.index(split)).any()}
    return Profile(
        dataset_sha256=dataset_sha256,
        record=table.record,
        examples=len(train),
        share=table.share,
        label_rate=rates,
        columns=distributions(train),
        ids=ids,
    )


def drift(profile: Profile, table: Table) -> Iterator[Finding]:
    """Compares each split of a dataset with the train split of an earlier one: a finding for each check and column."""
    parts = {split: table.of(split) for split in SPLITS if (table.split == SPLITS.index(split)).any()}
    for name, expected in profile.columns.items():
        distances = {
            split: expected.distance(part.columns[name])
            for split, part in parts.items()
            if name in part.columns and len(part) >= 100
        }
        if distances:
            split = max(distances, key=lambda one: (distances[one].stands_out, distances[one].divergence))
            if distances[split].stands_out:
                message = (
                    f"split {split} is distributed otherwise than the data of the served model: {distances[split]}"
                )
                yield Finding("drift", "error", name, message, distances[split].divergence, LIMIT)
    for name, known in profile.ids.items():
        shares = {split: _unknown(known, name, part, profile.share) for split, part in parts.items()}
        split = max(shares, key=lambda one: shares[one][0])
        share, error, example = shares[split]
        limit = known.unknown + UNKNOWN_MORE * (1 - known.unknown)
        if share >= limit and share - known.unknown >= 4 * error:
            message = (
                f"{share:.0%} of the ids of split {split} are unknown to the served model's data; "
                f"{known.unknown:.0%} were new in its own later parts"
            )
            yield Finding("unknown_ids", "error", name, message, share, limit, example)
    expected_rate = profile.label_rate.get("train", math.nan)
    for split, part in parts.items():
        rate = part.rate
        before = profile.label_rate.get(split, expected_rate)
        factor = max(rate, before) / max(min(rate, before), 1e-9)
        if factor >= LABEL_FACTOR and abs(rate - before) > 6 * part.rate_error(before):
            message = f"label rate {rate:.3g} in split {split}, {before:.3g} in the data of the served model"
            yield Finding("label_rate", "error", split, message, rate / max(before, 1e-9), LABEL_FACTOR)


def served_auc(label: np.ndarray, probability: np.ndarray, before: float | None) -> Iterator[Finding]:
    """Looks whether the served model still predicts new labels.

    Args:
      label, probability: of new examples, `[n]`.
      before: AUC that the model had when it was trained; None: not known.
    """
    positive = label > 0.5
    few = int(min(positive.sum(), (~positive).sum()))
    value = auc(label.astype(np.float64), probability)
    if value is None or few < 20:
        return
    if before is None:
        needed = 0.5
    else:
        # Towers for retrieval may never have ranked what was shown: then there is nothing to lose.
        needed = 0.5 + (before - 0.5) / 2 if before >= 0.52 else 0.0
    error = math.sqrt(max(value * (1 - value), 0.05) / few)
    known = "" if before is None else f", and had {before:.3f} when it was trained"
    message = f"the served model's scores have AUC {value:.3f} on {len(label):,} new labels{known}"
    if value + 3 * error < needed:
        yield Finding("served_auc", "error", "label", message, value, needed)
    else:
        yield Finding("served_auc", "info", "label", message, value, needed)


def hashes_of(tokens: np.ndarray) -> np.ndarray:
    """A hash of each string, uint32: the same in every process."""
    checksums = np.fromiter((zlib.crc32(token) for token in tokens), np.uint64, len(tokens))
    with np.errstate(over="ignore"):
        mixed = (checksums + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray((mixed >> np.uint64(32)).astype(np.uint32))


def _hashes(values: Values, positions: np.ndarray) -> np.ndarray:
    if values.tokens is not None:
        return np.asarray(hashes_of(values.tokens)[values.values[positions]])
    distinct, inverse = np.unique(values.values[positions], return_inverse=True)
    return np.asarray(hashes_of(np.array([str(one).encode() for one in distinct], object))[inverse.reshape(-1)])


def _present(values: Values, rows: np.ndarray | None) -> np.ndarray:
    """Positions of the values that are not missing."""
    if values.starts is not None:
        chosen = values if rows is None else values.take(np.flatnonzero(rows))
        return chosen.pairs()[1][:_ELEMENTS]
    return np.flatnonzero(~values.missing if rows is None else ~values.missing & rows)


def _known_ids(values: Values) -> KnownIds:
    hashes = np.unique(_hashes(values, _present(values, None)))
    limit = _HASHES if len(hashes) <= _KNOWN_IDS else int(hashes[_KNOWN_IDS])
    return KnownIds(limit=limit, hashes=base64.b64encode(hashes[hashes < limit].tobytes()).decode(), unknown=0.0)


def _unknown(known: KnownIds, name: str, part: Table, share: float) -> tuple[float, float, str]:
    rows = None
    if name == USER_ID and share < part.share:
        # Of that data only some of the users were read.
        users = part.columns[USER_ID]
        tokens = users.tokens if users.tokens is not None else np.empty(0, object)
        was_read = np.array([zlib.crc32(token) < share * _HASHES for token in tokens] + [False])
        rows = was_read[users.values]
    if name not in part.columns:
        return 0.0, 0.0, ""
    unknown, error, example = known.unknown_share(part.columns[name], rows)
    return unknown, error, part.columns[name].text(example) if unknown else ""


def _numbers(values: Values) -> np.ndarray:
    """The numbers of a column; of lists of ids their lengths, of vectors their elements."""
    if values.starts is None:
        return values.numbers if values.tokens is None else np.empty(0)
    if values.tokens is None and values.values.dtype.kind == "f":
        return values.numbers[values.pairs()[1][:_ELEMENTS]]
    return np.asarray(values.lengths).astype(np.float64)


def _bin_shares(numbers: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Shares of the bins up to each edge, of what lies above, and of missing numbers."""
    real = ~np.isnan(numbers)
    counts = np.bincount(np.searchsorted(edges, numbers[real]), minlength=len(edges) + 1)
    return np.append(counts, (~real).sum()) / max(len(numbers), 1)


def _category_shares(values: Values, categories: tuple[int, ...]) -> np.ndarray:
    tokens = np.empty(0, object) if values.tokens is None else values.tokens
    place = {one: index for index, one in enumerate(categories)}
    # Position -1, a missing value, takes the last one.
    index = np.array([place.get(int(one), len(place)) for one in hashes_of(tokens)] + [len(place) + 1])
    counts = np.bincount(index[values.values], minlength=len(place) + 2)
    return np.asarray(counts / max(len(values.values), 1))


def _divergence(first: np.ndarray, second: np.ndarray) -> float:
    """Jensen-Shannon divergence in bits."""
    mean = (first + second) / 2

    def to_mean(shares: np.ndarray) -> float:
        some = shares > 0
        return float((shares[some] * np.log2(shares[some] / mean[some])).sum())

    return (to_mean(first) + to_mean(second)) / 2
