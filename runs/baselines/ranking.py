"""Baselines of rankers and pre-rankers: the mean rate, logistic regression, gradient boosting, the logging policy."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from runs.baselines.boosting import boosted
from runs.baselines.cache import Predictions
from runs.baselines.design import Design, Examples, examples_of, joined
from runs.baselines.logistic import fit_best
from transforms.features import CANDIDATE, EXPOSED, LABEL, WEIGHT, FeatureSet, ModelInput, RecordKind
from transforms.input import serialized
from transforms.schema import parse_spec

MEAN_RATE, LOGISTIC_REGRESSION, GRADIENT_BOOSTING = "mean_rate", "logistic_regression", "gradient_boosting"
LOGGING_POLICY = "logging_policy"
MAX_EXAMPLES, MAX_VALUES = 100_000, 4_000_000
"""Of the train split, at most, that baselines are fitted on: examples, and values that are not 0."""
MAX_HELD_OUT = 50_000
"""Examples of the eval split, at most, by which settings are chosen."""
_AT_ONCE: dict[RecordKind, int] = {"row": 8192, "request": 256}

Encode = Callable[[tf.Tensor], Mapping[str, Any]]
"""The learned transform: takes serialized raw records, returns the inputs of a model, lists padded with 0."""


@dataclass(frozen=True)
class Reader:
    """Reads raw records as examples of simple models.

    Args:
      feature_set: of the dataset.
      inputs: of the model.
      record: `row` or `request`.
      encode: the learned transform.
    """

    feature_set: FeatureSet
    inputs: Sequence[ModelInput]
    record: RecordKind
    encode: Encode

    def batches(self, files: Sequence[str], shown: bool, every: int = 1) -> Iterator[tuple[np.ndarray, Examples]]:
        """Yields the examples of records, with the mask `[B]` or `[B, M]` that says which ones they are.

        Args:
          files: TFRecords of raw records.
          shown: of requests, only the candidates that were shown; else all real ones.
          every: read one record of so many.
        """
        spec = parse_spec(self.feature_set, self.record, (LABEL, WEIGHT, CANDIDATE, EXPOSED))
        for batch in serialized(files, _AT_ONCE[self.record], every=every):
            raw = {name: value.numpy() for name, value in tf.io.parse_example(batch, spec).items()}
            label = raw[LABEL]
            chosen = np.ones(label.shape, bool)
            if self.record == "request":
                chosen = raw[CANDIDATE] == 1
                chosen &= (raw[EXPOSED] == 1) if shown else True
            features = {name: np.asarray(value) for name, value in self.encode(batch).items()}
            weight = raw.get(WEIGHT, np.ones(label.shape))
            yield chosen, examples_of(self.inputs, self.record, features, label, weight, chosen)

    def examples(self, files: Sequence[str], every: int) -> Examples:
        """Returns the examples that were shown."""
        return joined([part for _, part in self.batches(files, shown=True, every=every)])


@dataclass(frozen=True)
class Split:
    """Raw records of one split.

    Args:
      files: TFRecords.
      examples: rows, or candidates shown.
    """

    files: Sequence[str]
    examples: int

    def every(self, most: int) -> int:
        """Returns how many records stand for one that is read, for about `most` examples."""
        return max(1, -(-self.examples // most))


def predict(reader: Reader, train: Split, held_out: Split, files: Sequence[str], every: int = 1) -> Predictions:
    """Fits all baselines and applies them.

    Args:
      reader: of the records.
      train: to fit on.
      held_out: decides between settings: the eval split.
      files: TFRecords to predict for.
      every: predict for one record of so many.

    Returns:
      The predictions, `[n]` for rows, `[R, M]` for requests.
    """
    examples = reader.examples(train.files, train.every(MAX_EXAMPLES))
    examples = examples.take(slice(None, None, max(1, -(-examples.values // MAX_VALUES))))
    decide = reader.examples(held_out.files, held_out.every(MAX_HELD_OUT))
    rate = float(examples.weight @ examples.label / max(examples.weight.sum(), 1e-12))
    notes: dict[str, Any] = {"fitted_on": len(examples), "train_examples": train.examples}
    models: dict[str, Callable[[Examples], np.ndarray]] = {MEAN_RATE: lambda one: np.full(len(one), rate)}
    if 0 < rate < 1:
        design = Design(examples)
        matrix = design.matrix(examples)
        model = fit_best(matrix, examples.label, examples.weight, (design.matrix(decide), decide.label, decide.weight))
        notes[LOGISTIC_REGRESSION] = {"c": model.c, "columns": matrix.shape[1]}
        models[LOGISTIC_REGRESSION] = lambda one: model.predict(design.matrix(one))
        trees = boosted(examples, decide)
        if trees is not None:
            notes[GRADIENT_BOOSTING] = {"trees": trees.trees}
            models[GRADIENT_BOOSTING] = trees.predict
    parts: dict[str, list[np.ndarray]] = {name: [] for name in models}
    for chosen, one in reader.batches(files, shown=False, every=every):
        for name, apply in models.items():
            values = np.zeros(chosen.shape)
            values[chosen] = apply(one) if len(one) else 0.0
            parts[name].append(values)
    return Predictions({name: np.concatenate(values) for name, values in parts.items()}, notes)
