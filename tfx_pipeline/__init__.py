"""The TFX pipeline: wiring, nodes, custom components, gates."""

from transforms.one_keras import require_legacy_keras

require_legacy_keras()
