"""Gradient boosting by LightGBM, where it is installed: `pip install 'consort-recommenders[baselines]'`."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from runs.baselines.design import Examples

_MAX_TREES, _PATIENCE = 300, 20
_MAX_CATEGORIES = 1000
"""Ids of features with more are taken as numbers: they are ranks by frequency."""


@dataclass(frozen=True)
class Boosted:
    """A fitted model.

    Args:
      model: LightGBM's.
      trees: number of trees that were kept.
    """

    model: Any
    trees: int

    def predict(self, examples: Examples) -> np.ndarray:
        """Returns probabilities, `[n]`."""
        probability: np.ndarray = self.model.predict(_table(examples), num_iteration=self.trees)
        return probability


def boosted(train: Examples, held_out: Examples) -> Boosted | None:
    """Fits up to 300 trees; the log loss of held-out examples says when to stop. Returns None without LightGBM."""
    try:
        lightgbm: Any = import_module("lightgbm")
    except ImportError:
        return None

    first = train.numbers.shape[1]
    largest = train.ids.max(axis=0, initial=0)
    categories = [first + place for place, most in enumerate(largest) if most <= _MAX_CATEGORIES]
    options = {"objective": "cross_entropy", "learning_rate": 0.05, "num_leaves": 31, "verbosity": -1, "seed": 1}
    columns: Any = categories
    data = lightgbm.Dataset(_table(train), train.label, weight=train.weight, categorical_feature=columns)
    against = lightgbm.Dataset(_table(held_out), held_out.label, weight=held_out.weight, reference=data)
    stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
    model = lightgbm.train(options, data, _MAX_TREES, valid_sets=[against], callbacks=[stop])
    return Boosted(model, int(model.best_iteration or model.num_trees()))


def _table(examples: Examples) -> np.ndarray:
    """Returns numbers, ids, and the length of each list, `[n, columns]`."""
    lengths = [np.diff(one.indptr)[:, np.newaxis] for one in examples.lists]
    return np.hstack([examples.numbers, examples.ids.astype(np.float64), *lengths])
