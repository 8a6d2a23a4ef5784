"""The front door: command line, run configuration, presets, demo, doctor."""

from consort.checkout import alias_packages
from transforms.one_keras import require_legacy_keras

require_legacy_keras()
alias_packages()
