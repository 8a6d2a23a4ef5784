"""The signatures of an exported model: raw features in, the trained preprocessing inside."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from transforms.features import CANDIDATE, Column, FeatureSet, RecordKind, Shape
from transforms.ops.missing import is_real
from transforms.schema import parse_spec, tf_dtype

DEFAULT, EXAMPLES, TRANSFORM = "serving_default", "examples", "transform_features"
PROBABILITY, LOGIT = "probability", "logit"


def request_columns(feature_set: FeatureSet, record: RecordKind) -> tuple[Column, ...]:
    """The raw columns that a request carries; for request records also the `candidate` mask."""
    mask = (feature_set.column(CANDIDATE),) if record == "request" else ()
    return feature_set.raw_inputs() + mask


class ServedModel(tf.Module):
    """A model behind its trained preprocessing.

    Args:
      model: takes transformed features, gives logits.
      transform: the learned transform.
      feature_set: what the raw features are.
      record: the record kind that the model was trained on.
    """

    def __init__(
        self, model: keras.Model, transform: tft.TFTransformOutput, feature_set: FeatureSet, record: RecordKind
    ):
        super().__init__(name="served_model")
        self._model = model
        # An attribute, so that the vocabularies are tracked and saved as assets.
        self._transform = transform.transform_features_layer()
        self._columns = request_columns(feature_set, record)
        self._record: RecordKind = record
        self._list_size = feature_set.list_size
        self._inputs = tuple(i.name for i in feature_set.model_inputs(record))
        self._spec = parse_spec(feature_set, record, tuple(column.name for column in self._columns))

    def _features(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        transformed = self._transform(dict(raw))
        return {name: transformed[name] for name in self._inputs}

    def _answer(self, raw: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        logit = tf.cast(self._model(self._features(raw), training=False), tf.float32)
        return {PROBABILITY: tf.sigmoid(logit), LOGIT: logit}

    def score(self, examples: Sequence[bytes]) -> np.ndarray:
        """Probabilities of raw records, computed here and now: what every later answer must equal."""
        raw = tf.io.parse_example(list(examples), self._spec)
        scores: np.ndarray = self._answer(raw)[PROBABILITY].numpy()
        return scores

    def signatures(self) -> dict[str, Callable[..., Any]]:
        """By name: `serving_default` on plain tensors, `examples` and `transform_features` on tf.Examples."""
        plain = {column.name: self._tensor_spec(column) for column in self._columns}
        serialized = tf.TensorSpec([None], tf.string, name=EXAMPLES)

        @tf.function(input_signature=[plain], autograph=False)
        def serving_default(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return self._answer({column.name: _from_dense(column, raw[column.name]) for column in self._columns})

        @tf.function(input_signature=[serialized], autograph=False)
        def examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._answer(tf.io.parse_example(examples, self._spec))

        @tf.function(input_signature=[serialized], autograph=False)
        def transform_features(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            features = self._features(tf.io.parse_example(examples, self._spec))
            return {name: _dense(value) for name, value in features.items()}

        return {DEFAULT: serving_default, EXAMPLES: examples, TRANSFORM: transform_features}

    def _tensor_spec(self, column: Column) -> tf.TensorSpec:
        sizes = {Shape.SCALAR: [None], Shape.RAGGED: [None, None], Shape.CANDIDATES: [None, self._list_size]}
        return tf.TensorSpec(sizes[column.shape(self._record)], tf_dtype(column), name=column.name)


def _from_dense(column: Column, values: tf.Tensor) -> Any:
    if not column.variable_length:
        return values
    real = tf.reshape(is_real(tf.reshape(values, [-1])), tf.shape(values))
    return tf.ragged.boolean_mask(values, real).with_row_splits_dtype(tf.int64)


def _dense(values: Any) -> tf.Tensor:
    return values.to_tensor() if isinstance(values, tf.RaggedTensor) else tf.identity(values)
