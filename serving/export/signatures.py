"""The signatures of an exported model: raw features in, the trained preprocessing inside."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from serving.export.graph import constant_weights
from serving.export.request_tensors import TensorFunction
from serving.export.set_scoring import Buckets, SetScoring
from transforms.features import CANDIDATE, Column, FeatureSet, RecordKind, Shape
from transforms.schema import parse_spec

DEFAULT, EXAMPLES, TRANSFORM = "serving_default", "examples", "transform_features"
PLAIN, COMPILED = "plain", "compiled"
"""Of models that read sets: `plain` is `serving_default` by its earlier name, `compiled` the same by XLA."""
LAST_HIDDEN = "last_hidden"
"""Signature of rankers of rows, for distillation; its inputs are those of `serving_default`."""
PROBABILITY, LOGIT, HIDDEN = "probability", "logit", "hidden"


def request_columns(feature_set: FeatureSet, record: RecordKind) -> tuple[Column, ...]:
    """Returns the raw columns of a request; for request records also the `candidate` mask.

    A request also carries the lengths of lists: `with_lengths` adds them.
    """
    mask = (feature_set.column(CANDIDATE),) if record == "request" else ()
    return feature_set.raw_inputs() + mask


class ServedModel(tf.Module):
    """A model behind its trained preprocessing.

    Args:
      model: takes transformed features, gives logits.
      transform: the learned transform.
      feature_set: what the raw features are.
      record: the record kind that the model was trained on.
      buckets: the sizes to compile a `SetModel` for; None for other models, which have no `compiled`.
    """

    def __init__(
        self,
        model: keras.Model,
        transform: tft.TFTransformOutput,
        feature_set: FeatureSet,
        record: RecordKind,
        buckets: Buckets | None = None,
    ):
        super().__init__(name="served_model")
        layer = transform.transform_features_layer()
        self._transform: Callable[..., dict[str, Any]] = lambda raw: layer(raw)
        # An attribute, so that the vocabularies are saved as assets. Not the layer: Keras would trace it once more,
        # and have AutoGraph convert its own code for that, which takes longer than the rest of an export.
        self._resources = tf.train.TrackableView.children(layer)
        # The model is not tracked: its optimizer and metrics would be saved. `signatures` tracks the variables.
        self._constant_weights = partial(constant_weights, model)
        self._plain: Callable[..., tf.Tensor] = lambda features: model(features, training=False)
        self._hidden: Callable[..., tf.Tensor] | None = None
        if record == "row" and getattr(model, "has_hidden", False):
            self._hidden = lambda features: model.hidden(model.look_up(features, training=False), training=False)
        self._bucketed: Callable[..., tf.Tensor] | None = None
        if buckets is not None:
            scoring = SetScoring(model, buckets)
            self._bucketed = lambda features: scoring.bucketed(model.look_up(features, training=False))
        self._max_candidates = buckets.max_candidates if buckets else None
        self._columns = request_columns(feature_set, record)
        self._record: RecordKind = record
        inputs = feature_set.model_inputs(record)
        # A model that reads sets must not take padding for candidates.
        mask = (CANDIDATE,) if record == "request" else ()
        self._inputs = tuple(item.name for item in inputs) + mask
        offered = [(item.name, item.shape, item.width) for item in inputs if item.shape.per_candidate]
        offered += [(name, Shape.CANDIDATES, None) for name in mask]
        self._per_candidate = {name: shape.sizes(None, None, None, width) for name, shape, width in offered}
        self._spec = parse_spec(feature_set, record, tuple(column.name for column in self._columns))

    def features(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the model's inputs, for tracing.

        Args:
          raw: all columns of a request, lists as `tf.RaggedTensor`.
        """
        inputs = self._features({column.name: raw[column.name] for column in self._columns})
        for name, sizes in self._per_candidate.items():
            # The transform takes any number of candidates, but declares the number that it was trained on.
            inputs[name] = tf.compat.v1.placeholder_with_default(inputs[name], sizes)
        return inputs

    def features_of(self, examples: Sequence[bytes] | tf.Tensor) -> dict[str, Any]:
        """Returns the model's inputs for raw records."""
        return self._features(tf.io.parse_example(tf.convert_to_tensor(examples, tf.string), self._spec))

    def _features(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        transformed = self._transform(dict(raw))
        return {name: transformed[name] for name in self._inputs}

    def _answer(self, features: Mapping[str, Any], score: Callable[..., tf.Tensor]) -> dict[str, tf.Tensor]:
        logit = tf.cast(score(features), tf.float32)
        return {PROBABILITY: tf.sigmoid(logit), LOGIT: logit}

    def score(self, examples: Sequence[bytes]) -> np.ndarray:
        """Returns probabilities of raw records, computed eagerly: every later answer must equal them."""
        scores: np.ndarray = self._answer(self.features_of(examples), self._plain)[PROBABILITY].numpy()
        return scores

    def hidden_of(self, features: Mapping[str, Any]) -> np.ndarray | None:
        """Returns the answer of `last_hidden` for the model's inputs; None for a model without it."""
        if self._hidden is None:
            return None
        hidden: np.ndarray = _last_hidden(self._hidden, features)[HIDDEN].numpy()
        return hidden

    def signatures(self) -> dict[str, Callable[..., Any]]:
        """Returns by name: `serving_default` on plain tensors, `examples` and `transform_features` on tf.Examples.

        With buckets `compiled` is the same by XLA, and `plain` another name of `serving_default`, which works on
        servers without XLA. Rankers of rows have `last_hidden` besides.
        """
        serialized = tf.TensorSpec([None], tf.string, name=EXAMPLES)

        @tf.function(input_signature=[serialized], autograph=False)
        def examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._answer(self._features(tf.io.parse_example(examples, self._spec)), self._plain)

        @tf.function(input_signature=[serialized], autograph=False)
        def transform_features(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            features = self._features(tf.io.parse_example(examples, self._spec))
            return {name: _dense(value) for name, value in features.items()}

        on_tensors = {DEFAULT: self._on_tensors(partial(self._answer, score=self._plain))}
        if self._bucketed is not None:
            on_tensors[PLAIN] = on_tensors[DEFAULT]
            bucketed = partial(self._answer, score=self._bucketed)
            on_tensors[COMPILED] = self._on_tensors(bucketed, self._max_candidates)
        if self._hidden is not None:
            on_tensors[LAST_HIDDEN] = self._on_tensors(partial(_last_hidden, self._hidden))
        # Traced once: from functions the saver would trace again.
        traced = {EXAMPLES: examples.get_concrete_function(), TRANSFORM: transform_features.get_concrete_function()}
        with self._constant_weights():
            traced |= {name: function.traced for name, function in on_tensors.items()}
        self._variables = list(
            {id(variable): variable for one in traced.values() for variable in one.graph.variables}.values()
        )
        return traced | {name: function.signature() for name, function in on_tensors.items()}

    def _on_tensors(self, answer: Callable[[dict[str, Any]], Any], max_candidates: int | None = None) -> TensorFunction:
        return TensorFunction(self._columns, self._record, lambda raw: answer(self.features(raw)), max_candidates)


def _last_hidden(hidden: Callable[..., tf.Tensor], features: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    layer = tf.cast(hidden(features), tf.float32)
    # A row that is read as a set has one candidate.
    return {HIDDEN: tf.reshape(layer, [-1, layer.shape[-1]])}


def _dense(values: Any) -> tf.Tensor:
    return values.to_tensor() if isinstance(values, tf.RaggedTensor) else tf.identity(values)
