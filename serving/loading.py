"""Loads exported models, whose graphs are looked at first: the one place that does."""

import os
from typing import Any

import tensorflow as tf

from transforms.graph_operations import check_saved_model


def load_saved_model(directory: str | os.PathLike[str]) -> Any:
    """`tf.saved_model.load` of a graph that reaches out of TensorFlow nowhere.

    Raises:
      InputError: the graph holds an operation that touches files, the network, Python or compiled code.
    """
    check_saved_model(directory)
    return tf.saved_model.load(str(directory))
