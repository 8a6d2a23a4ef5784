"""Makes an exported graph quick: what depends on weights alone is constant, and functions can be inlined."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras
from tensorflow.core.protobuf import saved_model_pb2

_MOST_BYTES = 1 << 20
"""Of a weight that becomes a constant; TensorFlow folds no larger ones, and a graph holds each once a signature."""


@contextlib.contextmanager
def constant_weights(model: keras.Model) -> Iterator[None]:
    """Makes the weights of a model's head constants in what is traced meanwhile.

    Then a server works out once what depends on them alone, such as the parts of a kernel side by side. Embeddings stay
    variables, and so do weights of custom layers, which may need them, and those that are cast where they are read.

    Args:
      model: built. One whose head is compiled keeps what it has traced, so all of its weights stay variables.
    """
    if getattr(getattr(model, "options", None), "jit_compile", False):
        yield
        return
    embeddings = getattr(model, "embeddings", None)
    kept = {id(module) for module in (embeddings, *embeddings.submodules)} if embeddings is not None else set()
    replaced: list[tuple[dict[str, Any], str, tf.Variable]] = []
    for module in model.submodules:
        is_known = type(module) is keras.layers.Dense or type(module).__module__.startswith("models.")
        if is_known and id(module) not in kept:
            of_module = vars(module).items()
            replaced += [(vars(module), name, value) for name, value in of_module if _is_small_weight(value)]
    try:
        for attributes, name, variable in replaced:
            attributes[name] = tf.constant(variable.numpy())
        yield
    finally:
        for attributes, name, variable in replaced:
            attributes[name] = variable


def _is_small_weight(value: Any) -> bool:
    if not isinstance(value, tf.Variable) or not value.trainable or hasattr(value, "true_dtype"):
        return False
    return int(value.shape.num_elements() * value.dtype.size) <= _MOST_BYTES


def let_functions_be_inlined(directory: str | os.PathLike[str]) -> None:
    """Names every stateful operation of each function of a SavedModel among what the function has to run.

    They are run anyway. But TensorFlow only makes a function part of the graph that calls it, and optimizes both
    together, if its lookups are known to be run; those of the transform are not, as TensorFlow Transform declares its
    outputs alone.
    """
    path = Path(directory) / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for meta_graph in saved.meta_graphs:
        stateful = {op.name for op in meta_graph.meta_info_def.stripped_op_list.op if op.is_stateful}
        for function in meta_graph.graph_def.library.function:
            for node in function.node_def:
                if node.op in stateful and node.name not in function.control_ret:
                    function.control_ret[node.name] = node.name
                    function.signature.control_output.append(node.name)
    path.write_bytes(saved.SerializeToString(deterministic=True))
