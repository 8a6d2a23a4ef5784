"""DSSM."""

from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.set_vectors import SetVectors
from models.retrieval.tower_model import TowerModel, item_fields, user_fields


@keras.utils.register_keras_serializable(package="consort")
class DSSM(TowerModel):
    """Two towers of dense layers.

    u = MLP_u([request ; mean of history ; extra]), v = MLP_v([item ; extra]), logit = scale <u, v> + bias

    Reference: Huang et al., "Learning Deep Structured Semantic Models for Web Search using Clickthrough
    Data" (CIKM 2013), with ids for words.

    Args, call arguments, output shape: as `TowerModel`.
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.towers = self._dense_towers()

    def user_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.towers["user"](user_fields(vectors, extra), training=training)

    def item_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.towers["item"](item_fields(vectors, extra), training=training)
