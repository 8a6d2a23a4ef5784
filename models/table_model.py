"""The base of models over embedding tables: a lookup, and a head that turns its vectors into logits."""

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import tensorflow as tf

from models.configured_model import ConfiguredModel
from models.layers.field_embeddings import FieldEmbeddings
from models.layers.interleaved_embeddings import L2Scope
from models.options import Count, Options
from transforms.features import ModelInput


@dataclass(frozen=True)
class ModelOptions(Options):
    """The options of every model over embedding tables.

    Args:
      embedding_dim: width of every embedding.
      hidden_units: widths of the MLP's hidden layers.
      dropout: share of hidden activations dropped in training.
      batch_norm: True normalizes hidden activations over the batch.
      embedding_l2: L2 regularization of the embeddings; see `FieldEmbeddings`.
      seed: seed of all weights and of dropout.
      l2_scope: rows that `embedding_l2` applies to: those that a training `batch` looks up, or the whole `table`, which
        is slow.
      jit_compile: True compiles the head, not the lookup, with XLA: usually faster on GPUs, seldom on CPUs.
      linear_terms: True adds to the logit one learned weight for each id and each number, False leaves these linear
        terms out; null: as the model's reference has it, but a run that starts as a logistic regression adds them.
    """

    embedding_dim: Count = 16
    hidden_units: Sequence[int] = (400, 200, 100)
    dropout: float = 0.0
    batch_norm: bool = False
    embedding_l2: float = 0.0
    seed: int = 1
    l2_scope: L2Scope = "batch"
    jit_compile: bool = False
    linear_terms: bool | None = None


class TableModel(ConfiguredModel, abc.ABC):
    """Embeddings of the fields, and a head.

    The head knows nothing of the lookup: `interact` takes vectors from anywhere, so that peers may
    share one lookup, each head on its own slice, and a server may compile the head alone.

    Args:
      inputs: the features, as `FeatureSet.model_inputs` gives them.
      table_sizes: ids of each vocabulary, padding included.
      **options: of the class's declaration, which is a `ModelOptions`.

    Call arguments:
      features: by name, as `FieldEmbeddings` takes them; for requests also the mask `candidate`.

    Output shape: logits `[B]` of rows, `[B, M]` of requests; `[B, M, outputs]` of a model with several.
      They are float32 under a mixed-precision policy, too.
    """

    uses_linear: bool = False
    """True if the logit has linear terms; only then the tables have a linear weight a row. Of a class: by default."""
    takes_linear: ClassVar[bool] = False
    """True if the option `linear_terms` can decide on them."""
    as_sets: ClassVar[bool] = False
    """True if `interact` takes `SetVectors`, not `FieldVectors`."""
    has_hidden: ClassVar[bool] = False
    """True if `hidden` returns a last hidden layer, in which the logit is linear."""
    outputs: int = 1

    options: ModelOptions

    def __init__(self, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any):
        super().__init__(**options)
        self.outputs = 1  # Keras has just made it None.
        chosen = self.options
        if chosen.linear_terms is not None:
            self.uses_linear = self._checked_linear(chosen.linear_terms)
        self.embeddings = FieldEmbeddings(
            inputs,
            table_sizes,
            chosen.embedding_dim,
            self.uses_linear,
            chosen.embedding_l2,
            chosen.l2_scope,
            chosen.seed,
        )
        self._compiled_head: Any = None

    def _checked_linear(self, wanted: bool) -> bool:
        if wanted != type(self).uses_linear and not self.takes_linear:
            raise ValueError(
                f"linear_terms is {wanted}; expected {type(self).uses_linear}, as {type(self).__name__} cannot have it "
                "otherwise; leave it out"
            )
        return wanted

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        return self.score(self.look_up(features, training=training), features, training)

    def score(self, vectors: Any, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        """Returns the logits of a batch.

        Args:
          vectors: what was looked up of it.
          features: the batch; models that read no sets take its mask `candidate` from here.
          training: as in `call`.
        """
        return self.interact(vectors, training=training)

    def look_up(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns the input of `interact`."""
        return self.embeddings(features, training=training, as_sets=self.as_sets)

    @abc.abstractmethod
    def interact(self, vectors: Any, training: bool | None = None) -> tf.Tensor:
        """Returns the logits of vectors that were looked up; runs the head alone.

        Args:
          vectors: `FieldVectors`, or `SetVectors` of a class with `as_sets`.
          training: as in `call`.
        """

    def hidden(self, vectors: Any, training: bool | None = None) -> tf.Tensor:
        """The last hidden layer h, of classes with `has_hidden`: all that the deep part's last linear layer reads.

        Args:
          vectors: as `interact` takes them, in the type that the head computes in.
          training: as in `call`.

        Returns:
          `[B, H]` or `[B, M, H]`; M is 1 of rows that are read as sets.

        Raises:
          NotImplementedError: the class has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no last hidden layer")

    def build_variables(self) -> None:
        self.embeddings.build(None)
        self.build_head()

    @abc.abstractmethod
    def build_head(self) -> None:
        """Makes the head's variables, and leaves the tables unmade."""

    @property
    def output_bias(self) -> Any:
        """The variable that is added to the logits, `[]` or `[outputs]`; None: there is none."""
        return None

    def initialize_bias(self, base_rate: float, outputs: int | None = None) -> None:
        """Lets an untrained model that is built begin with a share of clicks, so that no step is spent on finding it.

        Args:
          base_rate: 0 or 1 count as one in a thousand, or all but one.
          outputs: the first so many predict clicks; None: all.
        """
        bias = self.output_bias
        if bias is None:
            return
        rate = min(max(base_rate, 1e-3), 1 - 1e-3)
        clicks = tf.fill(bias.shape, math.log(rate / (1 - rate)))
        if bias.shape.rank and outputs is not None:
            clicks = tf.where(tf.range(bias.shape[0]) < outputs, clicks, tf.zeros_like(clicks))
        bias.assign(clicks)

    def with_output(self, output: int) -> "TableModel":
        """Returns a copy that has only one of several outputs.

        Raises:
          NotImplementedError: the class has no several outputs.
        """
        raise NotImplementedError(f"{type(self).__name__} has one output")

    def _head_function(self, head: Any) -> Any:
        """Returns the head, compiled by XLA if `jit_compile` is True."""
        if not self.options.jit_compile:
            return head
        if self._compiled_head is None:
            # The first call makes the variables, which XLA cannot.
            self._compiled_head = tf.function(head, jit_compile=True, autograph=False)
            return head
        return self._compiled_head

    def get_config(self) -> dict[str, Any]:
        config = self.embeddings.get_config()
        return {**super().get_config(), "inputs": config["inputs"], "table_sizes": config["table_sizes"]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        return cls(**config)
