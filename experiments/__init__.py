"""Tables of the papers, made again: grids of runs, their committed results, and the pages rendered from them."""

from transforms.one_keras import require_legacy_keras

require_legacy_keras()
