"""Speed: what is measured and how; results are committed as JSON."""

from transforms.one_keras import require_legacy_keras

require_legacy_keras()
