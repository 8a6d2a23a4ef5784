"""DUET's set-wise ranker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf
import tf_keras as keras

from models.layers.arguments import derived_seed
from models.layers.dense import ResumableDropout
from models.layers.linear_attention import FeatureMap, LinearAttention, degree_range, update_range
from models.layers.mlp import MLP
from models.layers.recency import Recency
from models.layers.set_dense import SetDense, StreamNorm
from models.layers.set_vectors import FactoredFields, SetVectors, flat_fields
from models.preranking.set_model import SetModel
from models.table_model import ModelOptions
from transforms.features import ModelInput, Shape

STREAMS = ("history", "candidates")
MAX_AGE = 512
"""Greatest age of history elements that `Recency` tells apart if the input has no `max_length`."""


@dataclass(frozen=True)
class SetRankerOptions(ModelOptions):
    """The options of `SetRanker`.

    Args:
      hidden_units: widths of the MLP's hidden layers; at least one.
      batch_norm: must be False: a set is normalized by layer.
      width: width of each attention stream, all heads together.
      heads: attention heads of each stream.
      feature_map: feature map of the linear attention of both streams; `exact` is softmax attention in O(M N); see
        `LinearAttention`.
      streams: attention over the `history`, over the `candidates`, or both; empty makes the model a point-wise MLP.
      recency: True adds learned vectors for how many events ago an element of the history was.
      cross: True feeds the MLP with inner products of a candidate's fields and the user's, too.
      field_dropout: share of the candidates' and of the user's fields that are hidden in training, drawn for each
        request and hidden for all its candidates; peers with different seeds get different views.
      outputs: logits of each candidate; more than one for heads on a shared backbone.
    """

    hidden_units: Sequence[int] = (256, 128, 64)
    width: int = 64
    heads: int = 4
    feature_map: FeatureMap = "elu1"
    streams: Sequence[Literal["history", "candidates"]] = ("history", "candidates")
    recency: bool = True
    cross: bool = True
    field_dropout: float = 0.0
    outputs: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        # One order, so that equal models have equal configs.
        object.__setattr__(self, "streams", tuple(name for name in STREAMS if name in self.streams))
        if not self.hidden_units:
            raise ValueError("hidden_units is empty; expected at least one width; give one")
        if self.batch_norm:
            raise ValueError("batch_norm is True; expected False, as a set ranker normalizes by layer; leave it out")


@keras.utils.register_keras_serializable(package="consort")
class SetRanker(SetModel):
    """Scores a whole candidate set in one pass, each candidate in the light of the history and of the others.

    With C the candidates' vectors, S the history's, u the user's and the context's, X the inner
    products of each candidate's fields with those of u:

      (3) F_cs = attention of C over S
      (4) F_cc = attention of C over C
      H = [C ; LayerNorm(F_cs) ; LayerNorm(F_cc) ; u, tiled ; X],  logits = MLP(H)

    Both streams are `LinearAttention`, normalized by their degrees (7), so that time and memory grow as M + N.

    Reference: "Dual Model Co-Training for Entire Space CTR Prediction" (DUET, 2025, arXiv 2510.24369),
    section 3.1 and equations 3, 4 and 7. Widths, phi, C and X in H are not published, and chosen here.

    Args:
      inputs: the features of request records, as `FeatureSet.model_inputs` gives them; lists are the history.
      table_sizes: ids of each vocabulary, padding included.
      **options: see `SetRankerOptions`.

    Call arguments, output shape: as `SetModel`.

    Raises:
      ValueError: no hidden layer, `batch_norm`, an unknown stream, or features without candidates.
    """

    options: SetRankerOptions

    def __init__(self, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any):
        super().__init__(inputs, table_sizes, **options)
        if not any(item.shape.per_candidate for item in self.embeddings.inputs):
            raise ValueError(
                "no feature has candidates; expected request records, of which each holds a list of them; "
                "set `record: request` in the run file"
            )
        chosen, seed = self.options, self.options.seed
        self.outputs = chosen.outputs
        self.hiding = {
            side: ResumableDropout(chosen.field_dropout, derived_seed(seed, f"hidden {side} fields"))
            for side in ("request", "candidates")
            if chosen.field_dropout
        }
        for layer in self.hiding.values():
            # Its state belongs to the model from the start, whether it was ever called or not.
            layer.build(None)
        has_history = any(item.shape is Shape.RAGGED for item in self.embeddings.inputs)
        used = [name for name in STREAMS if name in chosen.streams and (name == "candidates" or has_history)]
        attention = (chosen.width, chosen.heads, chosen.feature_map)
        self.attentions = {name: LinearAttention(*attention, derived_seed(seed, f"{name} stream")) for name in used}
        self.norms = {name: StreamNorm(chosen.width) for name in used}
        self.degrees = {name: degree_range(name) for name in used}
        self.ages = Recency(_max_age(self.embeddings.inputs)) if chosen.recency and "history" in used else None
        first, *deep = chosen.hidden_units
        asked, offered = (list(self.roles.values()).count(role) for role in ("request", "candidates"))
        own = offered * chosen.embedding_dim + len(used) * chosen.width + (asked * offered if chosen.cross else 0)
        self.first = SetDense(first, own, asked * chosen.embedding_dim, derived_seed(seed, "first"))
        self.mlp = MLP(deep, chosen.dropout, output_units=chosen.outputs, seed=derived_seed(seed, "mlp"))

    def head(self, vectors: SetVectors, training: bool | None) -> tf.Tensor:
        if self.hiding and training:
            vectors = self._hidden(vectors)
        streams = self._attended(vectors.fields, vectors, training)
        hidden = tf.nn.relu(self.first(vectors.fields, streams, vectors.request, cross=self.options.cross))
        logits = self.mlp(hidden, training=training)
        return tf.squeeze(logits, -1) if self.outputs == 1 else logits

    def _hidden(self, vectors: SetVectors) -> SetVectors:
        """Returns vectors in which some fields of each request are zeros and the others are scaled up."""
        shown = {side: tf.ones_like(getattr(vectors, side)[..., :1]) for side in self.hiding}
        # A field is hidden for all candidates of a request alike.
        shown["candidates"] = shown["candidates"][:, :1]
        kept = {side: self.hiding[side](ones, training=True) for side, ones in shown.items()}
        hidden = vectors._replace(**{side: getattr(vectors, side) * mask for side, mask in kept.items()})
        if vectors.factored is None:
            return hidden
        numbers, width = vectors.factored.vectors.shape
        others, last = tf.split(kept["candidates"][..., 0], [-1, numbers], axis=-1)
        mask = tf.concat([tf.repeat(others, width, axis=-1), last], axis=-1)
        return hidden._replace(factored=vectors.factored._replace(columns=vectors.factored.columns * mask))

    def _attended(
        self, candidates: FactoredFields, vectors: SetVectors, training: bool | None
    ) -> list[tuple[tf.Tensor, StreamNorm]]:
        """Returns each stream, standardized, and the layer that did it."""
        results = []
        for name, attention in self.attentions.items():
            keys: Any = candidates
            mask = vectors.candidate_mask
            if name == "history":
                keys, mask = flat_fields(vectors.history), vectors.history_mask
                keys = keys if self.ages is None else self.ages(keys, mask)
            attended, degrees = attention(candidates, keys, mask)
            if training:
                update_range(
                    self.degrees[name], degrees, vectors.candidate_mask & tf.reduce_any(mask, 1, keepdims=True)
                )
            results.append((self.norms[name](attended), self.norms[name]))
        return results

    def with_output(self, output: int) -> "SetRanker":
        alone = type(self).from_config({**self.get_config(), "outputs": 1})
        alone.embeddings.build(None)
        alone.build_head()
        for target, source in zip(alone.weights, self.weights, strict=True):
            value = tf.convert_to_tensor(source)
            # The last layer's kernel and bias have a column an output.
            target.assign(value if value.shape == target.shape else value[..., output : output + 1])
        return alone

    @property
    def output_bias(self) -> Any:
        return self.mlp.output_bias


def _max_age(inputs: Sequence[ModelInput]) -> int:
    limits = [item.max_length for item in inputs if item.shape is Shape.RAGGED]
    return MAX_AGE if None in limits else max(limit for limit in limits if limit is not None)
