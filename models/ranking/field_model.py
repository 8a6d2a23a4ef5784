"""The base of models over one list of fields."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from models.layers.axes import merge_leading, split_leading
from models.layers.interleaved_embeddings import FieldVectors
from models.layers.mlp import MLP
from models.table_model import TableModel
from transforms.features import CANDIDATE, ModelInput


class FieldModel(TableModel):
    """A model that scores one row, or one candidate of a request, from the vectors of its fields.

    A subclass declares its options, makes its layers in `__init__`, and gives `head`; one with `has_hidden` also
    `last_hidden`. One that normalizes over the batch takes `real` in its `head`. A run file names it by a short name,
    by an entry point of the group `consort.models`, or by its import path.

    For example:

        @dataclass(frozen=True)
        class BilinearOptions(ModelOptions):
            '''The `Args` of this docstring say what `scale` means.'''

            scale: float = 1.0

        class Bilinear(FieldModel):
            options: BilinearOptions

            def head(self, embeddings, linear, training, real=None):
                return self.options.scale * tf.reduce_sum(tf.reduce_prod(embeddings, axis=1), axis=-1)

    Args, call arguments, output shape: as `TableModel`.
    """

    def __init__(self, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any):
        super().__init__(inputs, table_sizes, **options)
        # A class whose head always normalizes over the batch may say so by an attribute.
        self.batch_norm = bool(getattr(type(self), "batch_norm", False)) or self.options.batch_norm

    def score(self, vectors: FieldVectors, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        return self.interact(vectors, training, features.get(CANDIDATE))

    def interact(
        self, vectors: FieldVectors, training: bool | None = None, candidate: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns the logits of vectors that were looked up; runs the head alone.

        Args:
          vectors: embeddings `[..., F, D]`, and linear terms `[..., F]`, None if the model has `uses_linear` False.
          training: as in `call`.
          candidate: 1 for what is real, `[...]`: a batch is normalized over that alone; None: all is real.

        Returns:
          `[...]`.
        """
        embeddings, linear = vectors
        rows = self._rows(embeddings)
        terms = merge_leading(linear, 1) if linear is not None else None
        arguments: list[Any] = [rows, terms, training]
        if training and self.batch_norm and candidate is not None:
            arguments.append(tf.reshape(tf.cast(candidate, tf.bool), [-1]))
        logits = tf.cast(self._head_function(self.head)(*arguments), self.variable_dtype)
        return split_leading(logits, embeddings, 2)

    def hidden(self, vectors: FieldVectors, training: bool | None = None) -> tf.Tensor:
        embeddings, _ = vectors
        return split_leading(self.last_hidden(self._rows(embeddings), training), embeddings, 2)

    def _rows(self, embeddings: tf.Tensor) -> tf.Tensor:
        return tf.cast(merge_leading(embeddings, 2), self.compute_dtype)

    def last_hidden(self, embeddings: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """h `[N, H]` of vectors `[N, F, D]`; see `hidden`.

        Raises:
          NotImplementedError: the class has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no last hidden layer")

    @abc.abstractmethod
    def head(
        self,
        embeddings: tf.Tensor,
        linear: tf.Tensor | None,
        training: bool | None,
        real: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Logits `[N]` of vectors `[N, F, D]` and linear terms `[N, F]`.

        Args:
          embeddings, linear: of rows, or of candidates, padding included.
          training: as in `call`.
          real: bool `[N]`, given in training to classes with `batch_norm`; False for padding; None: all is real.
        """

    def build_head(self) -> None:
        fields, width = len(self.embeddings.field_names), self.embeddings.embedding_dim
        linear: Any = tf.zeros([1, fields], self.compute_dtype) if self.uses_linear else None
        self.interact((tf.zeros([1, fields, width], self.compute_dtype), linear), training=False)


class DeepFieldModel(FieldModel):
    """A field model whose logit is an MLP's output plus what a subclass adds: logit = MLP(x) + shallow(e, l).

    A subclass makes `mlp` and gives x by `mlp_input`; `shallow` adds the linear terms if the model has `uses_linear`.
    h, the last hidden layer, is the MLP's.
    """

    has_hidden = True
    takes_linear = True
    mlp: MLP

    @property
    def output_mlp(self) -> MLP:
        """The MLP whose last layer gives the logits."""
        return self.mlp

    @abc.abstractmethod
    def mlp_input(
        self, embeddings: tf.Tensor, training: bool | None = None, real: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns x `[N, P]` of vectors `[N, F, D]`; the arguments are those of `head`."""

    def shallow(self, embeddings: tf.Tensor, linear: tf.Tensor | None) -> tf.Tensor | float:
        """Returns what is added to the MLP's output, `[N]`: the sum of the linear terms."""
        return 0.0 if linear is None else tf.reduce_sum(tf.cast(linear, self.variable_dtype), axis=-1)

    def head(
        self,
        embeddings: tf.Tensor,
        linear: tf.Tensor | None,
        training: bool | None,
        real: tf.Tensor | None = None,
    ) -> tf.Tensor:
        deep = self.output_mlp(self.mlp_input(embeddings, training, real), training=training, real=real)
        return self.shallow(embeddings, linear) + tf.squeeze(deep, -1)

    def last_hidden(self, embeddings: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.output_mlp.hidden(self.mlp_input(embeddings, training), training)

    @property
    def output_bias(self) -> Any:
        return self.output_mlp.output_bias


def flat(embeddings: tf.Tensor) -> tf.Tensor:
    """Returns vectors `[N, F, D]` as `[N, F D]`."""
    fields, width = embeddings.shape[1:]
    return tf.reshape(embeddings, [-1, fields * width])


def check_pairs(model: str, inputs: Sequence[ModelInput]) -> None:
    """Refuses inputs of which no pair can be made.

    Args:
      model: that multiplies pairs of fields.
      inputs: its features.

    Raises:
      ValueError: there is one.
    """
    if len(inputs) < 2:
        names = ", ".join(item.name for item in inputs)
        raise ValueError(
            f"{model} multiplies pairs of features and has one, {names}; expected at least two; keep more in the "
            "FeatureSet, or choose deepfm"
        )
