"""Embeddings and linear terms of one model's fields."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.interleaved_embeddings import EmbeddingPart, FieldVectors, InterleavedEmbeddings, L2Scope
from models.layers.set_vectors import SetVectors
from transforms.features import ModelInput


@keras.utils.register_keras_serializable(package="consort")
class FieldEmbeddings(InterleavedEmbeddings):
    """Turns the features of a batch into one vector and one linear weight a field.

    `InterleavedEmbeddings` for one model: one table `[V, D + 1]` for all vocabularies.

    Args:
      inputs: the features, as `FeatureSet.model_inputs` gives them. Others in a batch are ignored.
      table_sizes: V of each vocabulary, id 0 included.
      embedding_dim: D.
      linear: False leaves the linear weights out.
      embedding_l2: adds `embedding_l2 / 2 * sum of squares` to the loss in training.
      l2_scope: of which rows: `batch` (those looked up) or `table` (all of them).
      seed: seed of the initial embeddings, N(0, 1e-4^2); linear weights start at 0.

    Call arguments:
      features: by name: int64 ids or float32 numbers, `[B]`, lists as `tf.RaggedTensor` `[B, (N)]`, or padded at the
        end, `[B, N]` (see `with_ragged_lists`), candidates `[B, M]`; with `width` `[B, W]` or `[B, M, W]`.
      training: True adds the L2 term, and gives the table a gradient of one row a distinct id.
      as_sets: gives `SetVectors`, for which lists stay whole and nothing is repeated.

    Output shape:
      embeddings `[B, F, D]` and linear terms `[B, F]` (None without `linear`); with any candidate
      field `[B, M, F, D]` and `[B, M, F]`.

    Raises:
      ValueError: a vocabulary has no size; a batch misses a feature or has it in another shape.
      tf.errors.InvalidArgumentError: an id lies outside its vocabulary (on CPU; a GPU reads zeros).
    """

    def __init__(
        self,
        inputs: Sequence[ModelInput],
        table_sizes: Mapping[str, int],
        embedding_dim: int,
        linear: bool = True,
        embedding_l2: float = 0.0,
        l2_scope: L2Scope = "batch",
        seed: int = 1,
        **kwargs: Any,
    ):
        part = EmbeddingPart(embedding_dim, linear, embedding_l2, l2_scope, seed)
        super().__init__(inputs, table_sizes, [part], **kwargs)

    @property
    def embedding_dim(self) -> int:
        """Width of an embedding, D."""
        return self.parts[0].embedding_dim

    def call(  # type: ignore[override]
        self, features: Mapping[str, Any], training: bool | None = None, as_sets: bool = False
    ) -> FieldVectors | SetVectors:
        return super().call(features, training, as_sets)[0]

    def rows(self, vocabulary: str) -> tf.Tensor:
        """The part of the table `[V, D + 1]` that is a vocabulary's own."""
        first = self.first_rows[vocabulary]
        return tf.convert_to_tensor(self.table)[first : first + self.table_sizes[vocabulary]]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        (part,) = config.pop("parts")
        return {**config, **part}
