"""What makes an exported graph quick, and that it changes no answer."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.core.protobuf import saved_model_pb2

from models.preranking.set_ranker import SetRanker
from serving.export.graph import constant_weights, let_functions_be_inlined
from tests.helpers.served_towers import ToyTowers, user_inputs
from transforms.features import ModelInput, Shape

INPUTS = (
    ModelInput(name="user", entity="user", shape=Shape.SCALAR, vocabulary="user"),
    ModelInput(name="item", entity="item", shape=Shape.CANDIDATES, vocabulary="item"),
    ModelInput(name="price", entity="item", shape=Shape.CANDIDATES, vocabulary=None),
)
BATCH = {
    "user": np.array([1, 2]),
    "item": np.array([[1, 2, 3], [4, 0, 1]]),
    "price": np.array([[0.5, -1.0, 2.0], [0.1, 0.0, 0.3]], np.float32),
}


def _ranker() -> SetRanker:
    model = SetRanker(INPUTS, {"user": 4, "item": 6}, embedding_dim=4, hidden_units=(8, 4), width=4, heads=2)
    model(BATCH)
    random = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign_add(random.normal(0.0, 0.3, weight.shape).astype(np.float32))
    return model


def _traced(model: keras.Model) -> tf.types.experimental.ConcreteFunction:
    return tf.function(lambda: model(BATCH, training=False), autograph=False).get_concrete_function()


def test_weights_of_the_head_are_constants_of_what_is_traced_and_variables_again_afterwards() -> None:
    model = _ranker()
    before = {id(weight) for weight in model.trainable_weights}
    expected = model(BATCH).numpy()
    with constant_weights(model):
        function = _traced(model)
    assert {variable.name.partition("/")[2] for variable in function.graph.variables} == {
        weight.name.partition("/")[2] for weight in model.embeddings.trainable_weights
    }
    np.testing.assert_allclose(function().numpy(), expected, rtol=1e-6, atol=1e-6)
    assert {id(weight) for weight in model.trainable_weights} == before
    assert len(_traced(model).graph.variables) == len(before)
    for weight in model.trainable_weights:
        weight.assign(tf.zeros_like(weight))
    assert not model(BATCH).numpy().any()
    np.testing.assert_allclose(function().numpy(), tf.zeros_like(expected) + function().numpy())


def test_an_error_while_tracing_leaves_the_variables_in_place() -> None:
    model = _ranker()
    with pytest.raises(RuntimeError, match="stop"), constant_weights(model):
        assert not isinstance(model.first._own, tf.Variable)
        raise RuntimeError("stop")
    assert isinstance(model.first._own, tf.Variable)


class Scaled(keras.layers.Layer):
    """A layer that needs its weight as a variable."""

    def build(self, input_shape: object) -> None:
        self.scale = self.add_weight(name="scale", shape=[])

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * self.scale.read_value()


def test_weights_of_custom_layers_and_large_ones_and_those_of_mixed_precision_stay_variables() -> None:
    large = keras.layers.Dense(600)
    mixed = keras.layers.Dense(2, dtype="mixed_bfloat16")
    model = keras.Sequential([Scaled(), large, mixed])
    model(tf.ones([1, 500]))
    with constant_weights(model):
        assert isinstance(model.layers[0].scale, tf.Variable)
        assert isinstance(large.kernel, tf.Variable) and not isinstance(large.bias, tf.Variable)
        assert isinstance(mixed.kernel, tf.Variable) and isinstance(mixed.bias, tf.Variable)
        model(tf.ones([1, 500]))
    assert isinstance(large.bias, tf.Variable)


def _operations(directory: Path, signature: str, inputs: dict[str, np.ndarray]) -> set[str]:
    """Returns the operations of the graph that a session runs, after TensorFlow has optimized it."""
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        chosen = v1.saved_model.loader.load(session, ["serve"], str(directory)).signature_def[signature]
        ran, options = v1.RunMetadata(), v1.RunOptions(output_partition_graphs=True)
        fed = {chosen.inputs[name].name: value for name, value in inputs.items()}
        session.run([info.name for info in chosen.outputs.values()], fed, options, ran)
    return {node.op for graph in ran.partition_graphs for node in graph.node}


def test_a_session_runs_an_exported_signature_as_one_graph(towers: ToyTowers) -> None:
    operations = _operations(towers.version, "user_embedding", user_inputs(towers, 2))
    assert "LookupTableFindV2" in operations and "StatefulPartitionedCall" not in operations


def test_stateful_operations_of_functions_are_named_once(towers: ToyTowers, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes((towers.version / "saved_model.pb").read_bytes())
    let_functions_be_inlined(tmp_path)
    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    functions = [function for one in saved.meta_graphs for function in one.graph_def.library.function]
    lookups = [(f, node.name) for f in functions for node in f.node_def if node.op == "LookupTableFindV2"]
    assert lookups and all(function.control_ret[name] == name for function, name in lookups)
    for function in functions:
        assert len(function.signature.control_output) == len(set(function.signature.control_output))
        assert set(function.signature.control_output) == set(function.control_ret)
