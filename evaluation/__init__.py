"""Exact offline metrics with bootstrap intervals, in NumPy alone: `evaluation.metrics` has the table of all of them."""

from transforms.one_keras import require_legacy_keras

require_legacy_keras()
