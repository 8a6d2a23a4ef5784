"""A ranker with attention over the history: the cascade's last stage, which teaches the towers."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.mlp import MLP
from models.layers.seeds import derived_seed
from models.layers.set_vectors import SetVectors
from models.layers.target_attention import TargetAttention
from models.layers.tiled_dense import TiledDense
from models.preranking.set_model import SetModel, flat_fields
from transforms.features import ModelInput


@keras.utils.register_keras_serializable(package="consort")
class TargetAttentionRanker(SetModel):
    """Scores a candidate from all fields, their products with the user's, and the history as the candidate sees it.

    h = MLP([c ; TargetAttention(c, history) ; u ; <c_f, u_g> for all fields]), logit = w h + b; h, the output
    of the last hidden layer, is what CS3 shares with the towers.

    Reference: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction" (KDD 2018).

    Args:
      inputs: the features of rows or of requests; lists are the history.
      table_sizes: ids of each vocabulary, padding included.
      embedding_dim: width of every embedding.
      hidden_units: widths of the MLP's hidden layers, at least two; the last is h.
      dropout: share of hidden activations dropped in training.
      batch_norm: must be False.
      embedding_l2: L2 on the rows that a training batch looks up; see `FieldEmbeddings`.
      seed: of all weights and of dropout.
      attention_width: of the attention.

    Call arguments, output shape: as `SetModel`.

    Raises:
      ValueError: less than two hidden layers, or `batch_norm`.
    """

    has_hidden = True

    def __init__(
        self,
        inputs: Sequence[ModelInput],
        table_sizes: Mapping[str, int],
        embedding_dim: int = 16,
        hidden_units: Sequence[int] = (256, 128, 64),
        dropout: float = 0.0,
        batch_norm: bool = False,
        embedding_l2: float = 0.0,
        seed: int = 1,
        attention_width: int = 32,
        **kwargs: Any,
    ):
        super().__init__(inputs, table_sizes, embedding_dim, embedding_l2, seed, **kwargs)
        if len(hidden_units) < 2:
            raise ValueError(f"hidden_units is {list(hidden_units)}; expected at least two widths; the last is shared")
        if batch_norm:
            raise ValueError("batch_norm is True; expected False, as an online stream has no still batch; leave it out")
        self.hidden_units, self.dropout, self.attention_width = tuple(hidden_units), dropout, attention_width
        has_history = "history" in self.roles.values()
        self.attention = TargetAttention(attention_width, seed=derived_seed(seed, "attention")) if has_history else None
        self.first = TiledDense(self.hidden_units[0], derived_seed(seed, "first"))
        self.mlp = MLP(self.hidden_units[1:], dropout, seed=derived_seed(seed, "mlp"))
        self.last = MLP(output_units=1, seed=derived_seed(seed, "last"))

    @property
    def hidden_width(self) -> int:
        """Of h."""
        return self.hidden_units[-1]

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

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden_units": list(self.hidden_units),
            "dropout": self.dropout,
            "attention_width": self.attention_width,
        }
