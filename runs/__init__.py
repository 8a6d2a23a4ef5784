"""Runs without TFX: train, evaluate, tune, learn from a stream, and record what made each."""

from transforms.one_keras import require_legacy_keras

require_legacy_keras()
