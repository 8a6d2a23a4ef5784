"""Reads what TensorFlow Transform has learned: the one place that loads its graph, which is looked at first."""

import os
from pathlib import Path

import tensorflow_transform as tft

from transforms.graph_operations import check_saved_model


def read_transform(folder: str | os.PathLike[str]) -> tft.TFTransformOutput:
    """The learned transform in a folder of TensorFlow Transform (`transform_fn` and metadata).

    Raises:
      InputError: its graph holds an operation that touches files, the network, Python or compiled code.
    """
    check_saved_model(Path(folder) / tft.TFTransformOutput.TRANSFORM_FN_DIR)
    return tft.TFTransformOutput(str(folder))
