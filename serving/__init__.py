"""Export, contract, client and a local server that speaks TensorFlow Serving's gRPC."""

from transforms.one_keras import require_legacy_keras

require_legacy_keras()
