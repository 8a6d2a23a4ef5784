"""A ranker with attention over the history: the cascade's last stage, which teaches the towers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import derived_seed
from models.layers.dense import TiledDense
from models.layers.mlp import MLP
from models.layers.set_vectors import SetVectors, flat_fields
from models.layers.target_attention import TargetAttention
from models.preranking.set_model import SetModel
from models.table_model import ModelOptions
from transforms.features import ModelInput


@dataclass(frozen=True)
class TargetAttentionRankerOptions(ModelOptions):
    """The options of `TargetAttentionRanker`.

    Args:
      hidden_units: widths of the MLP's hidden layers, at least two; the last is h.
      batch_norm: must be False.
      attention_width: width of the queries, keys and output of the attention over the history.
    """

    hidden_units: Sequence[int] = (256, 128, 64)
    attention_width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.hidden_units) < 2:
            raise ValueError(
                f"hidden_units is {list(self.hidden_units)}; expected at least two widths; the last is shared"
            )
        if self.batch_norm:
            raise ValueError("batch_norm is True; expected False, as an online stream has no still batch; leave it out")


@keras.utils.register_keras_serializable(package="consort")
class TargetAttentionRanker(SetModel):
    """Scores a candidate from all fields, their products with the user's, and the history as the candidate sees it.

    h = MLP([c ; TargetAttention(c, history) ; u ; <c_f, u_g> for all fields]), logit = w h + b; h, the output
    of the last hidden layer, is what CS3 shares with the towers.

    Reference: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction" (KDD 2018).

    Args:
      inputs: the features of rows or of requests; lists are the history.
      table_sizes: ids of each vocabulary, padding included.
      **options: see `TargetAttentionRankerOptions`.

    Call arguments, output shape: as `SetModel`.

    Raises:
      ValueError: less than two hidden layers, or `batch_norm`.
    """

    has_hidden = True
    options: TargetAttentionRankerOptions

    def __init__(self, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any):
        super().__init__(inputs, table_sizes, **options)
        chosen = self.options
        attention = TargetAttention(chosen.attention_width, seed=derived_seed(chosen.seed, "attention"))
        self.attention = attention if "history" in self.roles.values() else None
        first, *deep = chosen.hidden_units
        self.first = TiledDense(first, derived_seed(chosen.seed, "first"))
        self.mlp = MLP(deep, chosen.dropout, seed=derived_seed(chosen.seed, "mlp"))
        self.last = MLP(output_units=1, seed=derived_seed(chosen.seed, "last"))

    @property
    def hidden_width(self) -> int:
        """Width of the last hidden layer h."""
        return self.options.hidden_units[-1]

    def hidden(self, vectors: SetVectors, training: bool | None = None) -> tf.Tensor:
        """h `[B, M, H]`."""
        offered, user = flat_fields(vectors.candidates), flat_fields(vectors.request)
        products = flat_fields(tf.einsum("bfd,bmgd->bmfg", vectors.request, vectors.candidates))
        seen = [offered, products]
        if self.attention is not None:
            seen.append(self.attention(offered, flat_fields(vectors.history), vectors.history_mask))
        first = tf.nn.relu(self.first((tf.concat(seen, axis=-1), user)))
        return self.mlp(first, training=training)

    def logit_of(self, hidden: tf.Tensor) -> tf.Tensor:
        """Logits `[B, M]` of h."""
        return tf.squeeze(self.last(hidden), -1)

    def head(self, vectors: SetVectors, training: bool | None) -> tf.Tensor:
        return self.logit_of(self.hidden(vectors, training))

    @property
    def output_bias(self) -> Any:
        return self.last.output_bias
