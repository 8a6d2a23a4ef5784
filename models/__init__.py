"""Keras layers, models, metrics and training; TensorFlow and tf_keras only."""

from transforms.one_keras import require_legacy_keras

require_legacy_keras()
