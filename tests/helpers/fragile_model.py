"""A model that fails in training on demand; tests copy this file to where a user has models of his own."""

import os
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.ranking.deepfm import DeepFM


class FragileModel(keras.Model):
    """DeepFM, but for its `fault`: `abort` ends the process, `nan` gives no numbers, `raise` an error."""

    def __init__(
        self,
        inputs: Any,
        table_sizes: Any,
        embedding_dim: int = 4,
        hidden_units: Any = (8,),
        dropout: float = 0.0,
        batch_norm: bool = False,
        embedding_l2: float = 0.0,
        seed: int = 1,
        fault: str = "none",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.fault = fault
        self.inner = DeepFM(
            inputs,
            table_sizes,
            embedding_dim=embedding_dim,
            hidden_units=hidden_units,
            dropout=dropout,
            batch_norm=batch_norm,
            embedding_l2=embedding_l2,
            seed=seed,
            name="inner",
        )

    def call(self, features: Any, training: bool | None = None) -> tf.Tensor:
        if self.fault == "abort":
            os.abort()
        if self.fault == "raise":
            raise RuntimeError("this model always fails")
        logits = self.inner(features, training=training)
        return logits * float("nan") if self.fault == "nan" else logits
