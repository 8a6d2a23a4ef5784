"""Requests as arrays in memory: what a model sees, the masks, the labels and, where it is known, the truth."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from transforms.features import CANDIDATE, STAGE, ModelInput, Shape, Split


@dataclass(frozen=True)
class Requests:
    """R requests with up to M candidates and up to N events of history, padded at the end.

    Args:
      features: by name: `[R]` of the request, `[R, N]` of the history, `[R, M]` of the candidates.
      history_length: `[R]`.
      candidate, exposed: bool `[R, M]`.
      label: float32 `[R, M]`; means nothing where not exposed.
      user: index of the user, -1 = missing, `[R]`.
      stage: how far a candidate got, `[R, M]`; None if the source does not say.
      truth: probability of a click, `[R, M]`; None where nobody knows it.
      logging_score: by which the log's policy ordered, `[R, M]`; None if not logged.
    """

    features: Mapping[str, np.ndarray]
    history_length: np.ndarray
    candidate: np.ndarray
    exposed: np.ndarray
    label: np.ndarray
    user: np.ndarray
    stage: np.ndarray | None = None
    truth: np.ndarray | None = None
    logging_score: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    def take(self, which: np.ndarray | slice) -> "Requests":
        """Some of them."""
        own = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        parts = {name: value[which] for name, value in own.items()}
        return replace(self, features={name: value[which] for name, value in self.features.items()}, **parts)

    def batches(self, inputs: tuple[ModelInput, ...], size: int, order: np.ndarray | None = None) -> Iterator[tuple]:
        """`(features, label, weight)` as our models take them, `size` requests at once.

        Args:
          inputs: of the model.
          size: requests of a batch; the last one may be short.
          order: of the requests; None keeps theirs.
        """
        for start in range(0, len(self), size):
            yield self._batch(inputs, slice(start, start + size) if order is None else order[start : start + size])

    def _batch(self, inputs: tuple[ModelInput, ...], which: np.ndarray | slice) -> tuple:
        part = self.take(which)
        features: dict[str, tf.Tensor | tf.RaggedTensor] = {}
        for item in inputs:
            values = tf.convert_to_tensor(part.features[item.name])
            if item.shape is Shape.RAGGED:
                values = tf.RaggedTensor.from_tensor(values, tf.convert_to_tensor(part.history_length))
            features[item.name] = values
        features[CANDIDATE] = tf.convert_to_tensor(part.candidate)
        if part.stage is not None:
            features[STAGE] = tf.convert_to_tensor(part.stage)
        weight = (part.exposed & part.candidate).astype(np.float32)
        return features, tf.convert_to_tensor(part.label), tf.convert_to_tensor(weight)


@dataclass(frozen=True)
class Data:
    """A data set as arrays.

    Args:
      inputs: of a model.
      table_sizes: ids of each vocabulary, padding included.
      splits: the requests of each.
      about: where they come from, for a reader.
    """

    inputs: tuple[ModelInput, ...]
    table_sizes: Mapping[str, int]
    splits: Mapping[Split, Requests]
    about: Mapping[str, object]
