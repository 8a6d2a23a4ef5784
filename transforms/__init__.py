"""Raw logs to tf.Example records, and records to model features."""

from transforms.one_keras import require_legacy_keras

require_legacy_keras()
