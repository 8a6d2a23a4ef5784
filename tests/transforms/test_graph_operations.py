"""Graphs that reach out of TensorFlow: refused before they are loaded, wherever in the graph they do it."""

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from serving.loading import load_saved_model
from serving.protocol import ServingError
from serving.server.server import LocalServer
from serving.versions import publish
from transforms.errors import InputError
from transforms.graph_operations import check_saved_model
from transforms.transform_graph import read_transform

TEXT = tf.TensorSpec([], tf.string)


class Table(tf.Module):
    """A model of stock operations with a variable and a vocabulary file."""

    def __init__(self, vocabulary):
        super().__init__()
        self.weight = tf.Variable(2.0)
        initializer = tf.lookup.TextFileInitializer(
            vocabulary, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        self.table = tf.lookup.StaticVocabularyTable(initializer, 1)

    @tf.function(input_signature=[TEXT])
    def serve(self, text):
        tf.print("asked", text)
        return {"out": tf.cast(self.table.lookup(text), tf.float32) * self.weight}


def saved(folder, function, **parts):
    module = tf.Module()
    module.weight = tf.Variable(1.0)
    for name, part in parts.items():
        setattr(module, name, part)
    module.serve = tf.function(function, input_signature=[TEXT])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    (folder / "words.txt").write_text("a\nb\n")
    module = Table(str(folder / "words.txt"))
    tf.saved_model.save(module, str(folder / "model"), signatures={"serving_default": module.serve})
    return folder / "model"


def edited(stock, folder, edit):
    """A copy of the stock model's graph, changed."""
    model = saved_model_pb2.SavedModel.FromString((stock / "saved_model.pb").read_bytes())
    edit(model.meta_graphs[0])
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder


def python(text):
    return tf.py_function(lambda value: value, [text], tf.string)


def dataset(text):
    return tf.data.TextLineDataset(text).reduce(tf.constant(""), lambda _, line: line)


def cached(text):
    return tf.data.Dataset.from_tensors(text).cache("cached").reduce(tf.constant(""), lambda _, line: line)


def inner(text):
    return tf.cond(tf.equal(text, ""), lambda: tf.io.read_file("/etc/hostname"), lambda: text)


def outer(text):
    return {"out": tf.cond(tf.equal(text, "a"), lambda: inner(text), lambda: text)}


def printing(text):
    tf.print(text, output_stream="file://printed")
    return text


def saving(text):
    tf.raw_ops.SaveV2(prefix=text, tensors=[1.0], **NAMED)
    return text


NAMED = {"tensor_names": ["a"], "shape_and_slices": [""]}
REACHING = {
    "ReadFile": lambda text: tf.io.read_file(text),
    "WriteFile": lambda text: (tf.io.write_file(text, "x"), text)[1],
    "MatchingFiles": lambda text: tf.io.matching_files(text),
    "EagerPyFunc": python,
    "PyFunc": lambda text: tf.numpy_function(lambda value: value, [text], tf.string),
    "TextLineDataset": dataset,
    "CacheDataset": cached,
    "PrintV2": printing,
    "DecodeProtoV2": lambda text: tf.io.decode_proto(text, "a.B", ["c"], [tf.int64], "/etc/passwd").sizes,
    "SaveV2": lambda text: (
        tf.raw_ops.SaveV2(prefix=text, tensor_names=["a"], shape_and_slices=[""], tensors=[1.0]),
        text,
    )[1],
    "RestoreV2": lambda text: tf.raw_ops.RestoreV2(
        prefix=text, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.string]
    )[0],
}


@pytest.mark.parametrize("operation", REACHING)
def test_a_graph_that_reaches_out_is_refused_and_not_loaded(tmp_path, operation):
    folder = saved(tmp_path / "model", lambda text: {"out": REACHING[operation](text)})
    with pytest.raises(InputError, match=rf"received the operation {operation}\w* .*expected a graph that computes"):
        load_saved_model(folder)


def test_an_operation_in_a_branch_of_a_branch_is_found(tmp_path):
    folder = saved(
        tmp_path / "model", lambda text: {"out": tf.cond(tf.equal(text, "a"), lambda: inner(text), lambda: text)}
    )
    with pytest.raises(InputError, match="the operation ReadFile in "):
        check_saved_model(folder)


def test_what_runs_while_the_model_is_loaded_is_refused_before(tmp_path):
    mark = tmp_path / "written"

    class Writes(tf.lookup.KeyValueTensorInitializer):
        """Fills a table, and writes a file beside."""

        def initialize(self, table):
            tf.io.write_file(str(mark), "x")
            return super().initialize(table)

    table = tf.lookup.StaticHashTable(Writes(["a"], [1]), 0)
    folder = saved(tmp_path / "model", lambda text: {"out": table.lookup(text)}, table=table)
    mark.unlink(missing_ok=True)
    with pytest.raises(InputError, match="the operation WriteFile in "):
        load_saved_model(folder)
    assert not mark.exists()
    tf.saved_model.load(str(folder))
    assert mark.exists(), "the model is harmless, so the test tests nothing"


def test_stock_operations_with_a_vocabulary_variables_and_prints_are_loaded(stock):
    assert load_saved_model(stock).signatures["serving_default"](text=tf.constant("b"))["out"].numpy() == 2.0


def test_a_signature_that_runs_the_models_own_saver_is_refused(stock, tmp_path):
    def expose(graph):
        graph.signature_def["serving_default"].outputs["out"].name = graph.saver_def.save_tensor_name

    with pytest.raises(InputError, match=r"the operation \w+ behind .*which a signature or the start runs"):
        check_saved_model(edited(stock, tmp_path / "model", expose))


def test_a_restoring_that_saves_is_refused(stock, tmp_path):
    def exchange(graph):
        graph.saver_def.restore_op_name = graph.saver_def.save_tensor_name.partition(":")[0]

    with pytest.raises(InputError, match="which restoring the variables runs"):
        check_saved_model(edited(stock, tmp_path / "model", exchange))


def test_an_exposed_function_that_saves_is_refused(stock, tmp_path):
    def expose(graph):
        (name,) = (f.signature.name for f in graph.graph_def.library.function if "traced_save" in f.signature.name)
        graph.object_graph_def.concrete_functions[name].bound_inputs.extend([])

    with pytest.raises(InputError, match=r"the operation \w+ in the function __inference__traced_save"):
        check_saved_model(edited(stock, tmp_path / "model", expose))


def test_a_start_by_a_collection_is_looked_at(stock, tmp_path):
    def begin(graph):
        save = graph.saver_def.save_tensor_name.partition(":")[0]
        graph.collection_def["saved_model_main_op"].node_list.value.append(f"^{save}")

    with pytest.raises(InputError, match="which a signature or the start runs"):
        check_saved_model(edited(stock, tmp_path / "model", begin))


def test_a_graph_in_pieces_beside_the_one_that_was_looked_at_is_refused(stock, tmp_path):
    folder = edited(stock, tmp_path / "model", lambda graph: None)
    check_saved_model(folder)
    (folder / "saved_model.cpb").write_bytes(b"")
    with pytest.raises(InputError, match="a graph in pieces"):
        check_saved_model(folder)


def test_a_transform_that_reaches_out_is_refused(tmp_path):
    saved(tmp_path / "transform_fn", lambda text: {"out": tf.io.read_file(text)})
    with pytest.raises(InputError, match="the operation ReadFile in "):
        read_transform(tmp_path)


def test_a_damaged_or_missing_graph_is_left_to_the_loader(tmp_path):
    check_saved_model(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    check_saved_model(tmp_path)


def test_a_graph_that_reaches_out_is_not_published(tmp_path):
    folder = saved(tmp_path / "model", lambda text: {"out": tf.io.read_file(text)})
    with pytest.raises(InputError, match="the operation ReadFile in "):
        publish(folder, tmp_path / "served")
    assert not (tmp_path / "served").exists()


def test_the_server_does_not_load_a_graph_that_reaches_out(tmp_path):
    mark = tmp_path / "written"
    saved(tmp_path / "base" / "1", lambda text: {"out": (tf.io.write_file(str(mark), text), text)[1]})
    server = LocalServer({"model": tmp_path / "base"}, poll_s=0.05)
    server.start()
    try:
        with pytest.raises(ServingError, match="the operation WriteFile in "):
            server.wait_ready(30)
    finally:
        server.stop()
    assert not mark.exists()
