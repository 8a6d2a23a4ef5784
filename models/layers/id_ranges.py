"""Which ids of a batch lie outside their vocabulary."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transforms.features import ModelInput


def out_of_range(inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], features: Mapping[str, Any]) -> str:
    """The first feature with such an id, in words; "" if there is none.

    Args:
      inputs: the features.
      table_sizes: ids of each vocabulary, 0 included.
      features: the batch, in eager mode.
    """
    for item in inputs:
        if item.vocabulary is None or item.name not in features:
            continue
        value, size = features[item.name], table_sizes[item.vocabulary]
        ids = np.asarray(getattr(value, "flat_values", value))
        wrong = ids[(ids < 0) | (ids >= size)]
        if wrong.size:
            return (
                f"feature {item.name!r} has the id {wrong[0]}; expected 0 to {size - 1}, the ids of its vocabulary "
                f"{item.vocabulary!r}; transform the data with the model's own vocabulary"
            )
    return ""
