"""What all models over field embeddings share."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import tensorflow as tf
import tf_keras as keras

from models.layers.axes import merge_leading, split_leading
from models.layers.field_embeddings import FieldEmbeddings
from models.layers.interleaved_embeddings import L2Scope
from transforms.features import ModelInput


class FieldModel(keras.Model, abc.ABC):
    """Embeddings of the fields, and a head that makes one logit of them.

    The head knows nothing of the lookup: `interact` takes vectors from anywhere, so that peers may
    share one lookup, each head on its own slice. A subclass makes its layers in `__init__`, and gives
    `head` and `get_config`.

    Args:
      inputs: the features, as `FeatureSet.model_inputs` gives them.
      table_sizes: ids of each space, padding included.
      embedding_dim: width of every embedding.
      embedding_l2: L2 on the rows that a training batch looks up; see `FieldEmbeddings`.
      seed: of all weights and of dropout.
      l2_scope: rows that the L2 is of: `batch` or `table`; see `FieldEmbeddings`.
      jit_compile: the head is compiled by XLA, the lookup not: on GPUs that pays, on CPUs seldom.

    Call arguments:
      features: by name, as `FieldEmbeddings` takes them.

    Output shape: logits `[B]`; `[B, M]` if a feature has candidates. They are float32 under a
    mixed-precision policy, too.
    """

    uses_linear: ClassVar[bool] = False
    """Whether the head takes linear terms; the tables hold a linear weight a row only then."""

    def __init__(
        self,
        inputs: Sequence[ModelInput],
        table_sizes: Mapping[str, int],
        embedding_dim: int = 16,
        embedding_l2: float = 0.0,
        seed: int = 1,
        l2_scope: L2Scope = "batch",
        jit_compile: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.embeddings = FieldEmbeddings(
            inputs, table_sizes, embedding_dim, self.uses_linear, embedding_l2, l2_scope, seed
        )
        self.compiles_head = jit_compile
        self._compiled_head: Any = None

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        embeddings, linear = self.embeddings(features, training=training)
        return self.interact(embeddings, linear, training=training)

    def interact(self, embeddings: tf.Tensor, linear: tf.Tensor | None, training: bool | None = None) -> tf.Tensor:
        """Logits from what was looked up, by the head alone.

        Args:
          embeddings: `[..., F, D]`.
          linear: `[..., F]`; None if the class has `uses_linear` False.
          training: as in `call`.

        Returns:
          `[...]`.
        """
        vectors = tf.cast(merge_leading(embeddings, 2), self.compute_dtype)
        terms = merge_leading(linear, 1) if linear is not None else None
        logits = tf.cast(self._head()(vectors, terms, training), self.variable_dtype)
        return split_leading(logits, embeddings, 2)

    def _head(self) -> Any:
        if not self.compiles_head:
            return self.head
        if self._compiled_head is None:
            # The first call makes the variables, which XLA cannot.
            self._compiled_head = tf.function(self.head, jit_compile=True, autograph=False)
            return self.head
        return self._compiled_head

    @abc.abstractmethod
    def head(self, embeddings: tf.Tensor, linear: tf.Tensor | None, training: bool | None) -> tf.Tensor:
        """Logits `[N]` of vectors `[N, F, D]` and linear terms `[N, F]`."""

    def build_head(self) -> None:
        """Makes the head's variables, and leaves the tables unmade."""
        fields, width = len(self.embeddings.field_names), self.embeddings.embedding_dim
        linear = tf.zeros([1, fields], self.compute_dtype) if self.uses_linear else None
        self.interact(tf.zeros([1, fields, width], self.compute_dtype), linear, training=False)

    def get_config(self) -> dict[str, Any]:
        config = self.embeddings.get_config()
        shared = ("inputs", "table_sizes", "embedding_dim", "embedding_l2", "seed", "l2_scope")
        return {"name": self.name, **{key: config[key] for key in shared}, "jit_compile": self.compiles_head}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        return cls(**config)
