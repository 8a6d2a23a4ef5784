"""What a batch says of its records: which are real, which were shown, and what was clicked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.replicas import batch_mean
from models.training.losses import cross_entropies
from transforms.features import CANDIDATE, STAGE


@dataclass(frozen=True)
class Clicks:
    """Labels of a batch, and the part of its records that they hold for.

    Args:
      label: in [0, 1]: `[B]` of rows, `[B, M]` of requests.
      weight: of each label: of requests 1 where the candidate is real and was exposed, else 0; None: 1 everywhere.
      features: the batch; its mask `candidate`, if there is one, tells padding.
    """

    label: tf.Tensor
    weight: tf.Tensor | None
    features: Mapping[str, Any]

    @classmethod
    def of(cls, data: Any) -> "Clicks":
        """Of what `fit` gives a train step: features, labels and, of requests, weights."""
        features, label, weight = keras.utils.unpack_x_y_sample_weight(data)
        return cls(label, weight, features)

    @property
    def real(self) -> tf.Tensor:
        """1 for every record or candidate that is no padding, float32."""
        if CANDIDATE in self.features:
            return tf.cast(self.features[CANDIDATE], tf.float32)
        return tf.ones_like(self.label, tf.float32)

    @property
    def exposed(self) -> tf.Tensor:
        """1 where the label is known, float32."""
        if self.weight is None:
            return self.real
        return tf.cast(tf.cast(self.weight, tf.float32) > 0, tf.float32) * self.real

    @property
    def unexposed(self) -> tf.Tensor:
        """1 where a candidate is real and its label unknown, float32."""
        return self.real - self.exposed

    def log_loss(self, logits: tf.Tensor) -> tf.Tensor:
        """Mean log loss over what was exposed."""
        return self.mean_over_exposed(cross_entropies(self.label, logits))

    def mean_over_exposed(self, values: tf.Tensor) -> tf.Tensor:
        """Weighted mean; 0 if nothing was exposed."""
        return batch_mean(values, self.weight)

    def mean_over_unexposed(self, values: tf.Tensor) -> tf.Tensor:
        """Mean; 0 if all were exposed."""
        return batch_mean(values, self.unexposed)

    def mean_over_real(self, values: tf.Tensor) -> tf.Tensor:
        """Mean over all candidates but padding."""
        return batch_mean(values, self.real)

    def stage(self) -> tf.Tensor:
        """How far each candidate got, int64 `[B, M]`.

        Raises:
          ValueError: the records do not say.
        """
        if STAGE not in self.features:
            raise ValueError(
                "the records have no column 'stage'; expected how far each candidate got; choose a source that logs "
                "it, such as simulator or recflow, or a recipe without stages"
            )
        return tf.cast(self.features[STAGE], tf.int64)
