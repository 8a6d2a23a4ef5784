"""Loads exported models, whose graphs are checked first, and scores raw records with them: no other file loads any."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.export.signatures import EXAMPLES, PROBABILITY
from transforms.errors import InputError
from transforms.files import check_no_pattern
from transforms.graph_operations import check_saved_model


def load_saved_model(directory: str | os.PathLike[str]) -> Any:
    """`tf.saved_model.load` of a graph that reaches out of TensorFlow nowhere.

    Raises:
      InputError: the graph holds an operation that touches files, the network, Python or compiled code.
    """
    check_saved_model(directory)
    return tf.saved_model.load(str(directory))


class Scorer:
    """An exported model, loaded.

    Args:
      directory: a SavedModel of `export_model`.

    Raises:
      InputError: it cannot be loaded.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self._loaded = loaded_with(directory, EXAMPLES)
        self._signature = self._loaded.signatures[EXAMPLES]

    def __call__(self, examples: tf.Tensor | Iterable[bytes]) -> np.ndarray:
        """Returns probabilities of serialized raw records: [B], or [B, M] for request records."""
        if not isinstance(examples, tf.Tensor):
            examples = tf.constant(list(examples), tf.string)
        scores: np.ndarray = self._signature(examples=examples)[PROBABILITY].numpy()
        return scores

    def has(self, signature: str) -> bool:
        """Returns True if the model has a signature of that name."""
        return signature in self._loaded.signatures

    def ask(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Returns the outputs of any signature; all inputs are required, as Python's loader has no defaults."""
        function = self._loaded.signatures[signature]
        known = function.structured_input_signature[1]
        sent = {name: tf.constant(values, known[name].dtype) for name, values in inputs.items()}
        return {name: value.numpy() for name, value in function(**sent).items()}


def loaded_with(directory: str | os.PathLike[str], signature: str) -> Any:
    """Loads an exported model with a signature; keep the model as long as its signatures.

    Raises:
      InputError: it cannot be loaded, or lacks the signature.
    """
    check_no_pattern(directory, "the model's folder")
    try:
        loaded = load_saved_model(directory)
        loaded.signatures[signature]
    except InputError:
        raise
    # The loader's errors about damaged files.
    except (OSError, LookupError, ValueError, tf.errors.OpError) as error:
        fix = "export the model again"
        raise InputError(str(directory), f"no intact SavedModel ({error})", "one of `consort export`", fix) from error
    return loaded
