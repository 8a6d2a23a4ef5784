"""Worlds whose truth is known, in vectorized NumPy, and their records: a logging cascade and a click log."""

from transforms.one_keras import require_legacy_keras

require_legacy_keras()
