"""Small SavedModels with answers that can be worked out by hand."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

BUCKETS = (128, 1024)
WIDTH = 4
COLOURS = ("red", "green", "blue")


def save(module: tf.Module, signatures: Mapping[str, Any], directory: Path) -> Path:
    tf.saved_model.save(module, str(directory), signatures=dict(signatures))
    return directory


def _function(*specs: tf.TensorSpec) -> Callable[[Callable[..., Any]], Any]:
    return tf.function(input_signature=specs, autograph=False)


def half_plus(offset: float, directory: Path) -> Path:
    """y = x / 2 + offset; the `…y3` signatures add 3, the rest `offset`. Any shape of x."""
    module = tf.Module()
    module.half, module.offset, module.three = tf.Variable(0.5), tf.Variable(offset), tf.Variable(3.0)

    def signature(alias: str, addend: tf.Variable, answer: str) -> Any:
        @_function(tf.TensorSpec(None, tf.float32, name=alias))
        def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {answer: module.half * x + addend}

        return call

    signatures = {
        "serving_default": signature("x", module.offset, "y"),
        "regress_x_to_y": signature("inputs", module.offset, "outputs"),
        "classify_x_to_y": signature("inputs", module.offset, "scores"),
        "regress_x2_to_y3": signature("inputs", module.three, "outputs"),
        "classify_x2_to_y3": signature("inputs", module.three, "scores"),
    }
    module.functions = list(signatures.values())
    return save(module, signatures, directory)


def half_plus_two(directory: Path) -> Path:
    return half_plus(2.0, directory)


def half_plus_three(directory: Path) -> Path:
    return half_plus(3.0, directory)


def two_signatures(directory: Path) -> Path:
    """x = 1 gives 1 by default and 2 by `custom`."""
    module = tf.Module()

    @_function(tf.TensorSpec([None], tf.float32, name="x"))
    def once(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x}

    @_function(tf.TensorSpec([None], tf.float32, name="x"))
    def twice(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2.0 * x, "x_again": x}

    return save(module, {"serving_default": once, "custom": twice}, directory)


def three_two_x(directory: Path) -> Path:
    """3 · 2 · x from two variables."""
    module = tf.Module()
    module.a, module.b = tf.Variable(3.0), tf.Variable(2.0)

    @_function(tf.TensorSpec([None], tf.float32, name="x"))
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"output_0": module.a * module.b * x}

    module.call = call
    return save(module, {"serving_default": call}, directory)


def keras_identity(directory: Path) -> Path:
    """A Keras model, [B, 1] → [B, 1], that returns its input."""
    model = keras.Sequential(
        [keras.layers.Input([1], name="x"), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="y")]
    )
    tf.saved_model.save(model, str(directory))
    return directory


def counter(directory: Path) -> Path:
    """Signatures without inputs, and one that adds."""
    module = tf.Module()
    module.count = tf.Variable(0.0)

    @_function()
    def get() -> dict[str, tf.Tensor]:
        return {"output": module.count.read_value()}

    @_function()
    def increase() -> dict[str, tf.Tensor]:
        return {"output": module.count.assign_add(1.0, read_value=True)}

    @_function()
    def reset() -> dict[str, tf.Tensor]:
        return {"output": module.count.assign(0.0, read_value=True)}

    @_function(tf.TensorSpec([], tf.float32, name="delta"))
    def increase_by(delta: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"output": module.count.assign_add(delta, read_value=True)}

    module.functions = [get, increase, reset, increase_by]
    signatures = {"get": get, "increase": increase, "reset": reset, "increase_by": increase_by}
    return save(module, signatures, directory)


def with_default(directory: Path) -> Path:
    """y = x · scale, where scale may be left out and is 3 then."""
    module = tf.Module()

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.float32, name="x"), tf.TensorSpec([], tf.float32, name="scale")],
        autograph=False,
    )
    def call(x: tf.Tensor, scale: tf.Tensor = tf.constant(3.0)) -> dict[str, tf.Tensor]:  # noqa: B008 - exported
        return {"y": x * scale}

    return save(module, {"serving_default": call}, directory)


def colours(directory: Path) -> Path:
    """Position of a colour in a vocabulary that is an asset, -1 for an unknown one; and the text doubled."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    vocabulary = directory.parent / "colours.txt"
    vocabulary.write_text("\n".join(COLOURS) + "\n")
    module = tf.Module()
    module.asset = tf.saved_model.Asset(str(vocabulary))
    initializer = tf.lookup.TextFileInitializer(
        module.asset, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    module.table = tf.lookup.StaticHashTable(initializer, -1)

    @_function(tf.TensorSpec([None], tf.string, name="colour"))
    def call(colour: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"id": module.table.lookup(colour), "same": colour, "twice": tf.strings.join([colour, colour])}

    module.call = call
    saved = save(module, {"serving_default": call}, directory)
    # Only the copy inside the SavedModel may be read from here on.
    vocabulary.unlink()
    return saved


def example_scorer(directory: Path) -> Path:
    """Signatures of examples with a feature x, and `total`: the sum of all x that they were asked about."""
    module = tf.Module()
    module.total = tf.Variable(0.0)

    def signature(outputs: Callable[[tf.Tensor], dict[str, tf.Tensor]]) -> Any:
        @_function(tf.TensorSpec([None], tf.string, name="inputs"))
        def call(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]
            with tf.control_dependencies([module.total.assign_add(tf.reduce_sum(x))]):
                return outputs(x)

        return call

    @_function()
    def total() -> dict[str, tf.Tensor]:
        return {"total": module.total.read_value()}

    signatures = {
        "classify": signature(lambda x: {"scores": x[:, None] * [1.0, 2.0], "classes": tf.fill([tf.size(x), 2], "c")}),
        "regress": signature(lambda x: {"outputs": tf.identity(x)}),
        "wide": signature(lambda x: {"outputs": x[:, None] * [1.0, 2.0]}),
        "total": total,
    }
    return save(module, signatures, directory)


def odds_and_ends(directory: Path) -> Path:
    """One signature for each way to fail."""
    module = tf.Module()

    @_function(tf.TensorSpec([None, None], tf.float32, name="x"))
    def weigh(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.matmul(x, tf.ones([3, 1]))}

    @_function(tf.TensorSpec([None], tf.int64, name="ids"))
    def gather(ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.gather(tf.constant([10.0, 20.0, 30.0]), ids)}

    @_function(tf.TensorSpec([], tf.float32, name="x"))
    def complain(x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.Assert(x < 0.0, ["k" * 3000])]):
            return {"y": tf.identity(x)}

    @_function(tf.TensorSpec([], tf.int64, name="steps"))
    def spin(steps: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.while_loop(lambda i: i < steps, lambda i: [i + 1], [tf.constant(0, tf.int64)])[0]}

    @_function(tf.TensorSpec([None], tf.string, name="examples"))
    def parse(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]}

    @_function(tf.TensorSpec([], tf.int64, name="steps"))
    def grind(steps: tf.Tensor) -> dict[str, tf.Tensor]:
        # One operation, which nothing interrupts.
        side = tf.cast(steps, tf.int32)
        values = tf.reshape(tf.sin(tf.cast(tf.range(side * side), tf.float32)), [side, side])
        return {"y": tf.linalg.svd(values, compute_uv=False)}

    signatures = {"weigh": weigh, "gather": gather, "complain": complain, "spin": spin, "parse": parse, "grind": grind}
    return save(module, signatures, directory)


ECHOED = (
    "float32 float64 float16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool string complex64 complex128"
).split()


def echo(directory: Path) -> Path:
    """One signature for each data type, named by it, that returns its input."""

    def signature(dtype: str) -> Any:
        @_function(tf.TensorSpec(None, tf.as_dtype(dtype), name="x"))
        def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.identity(x)}

        return call

    return save(tf.Module(), {dtype: signature(dtype) for dtype in ECHOED}, directory)


def set_scorer(directory: Path) -> Path:
    """score_n = user · item_n + Σ real items' first feature; XLA-compiled per bucket, and `plain`."""
    module = tf.Module()

    def score(user: tf.Tensor, items: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        total = tf.reduce_sum(items[:, 0] * tf.cast(real, tf.float32))
        return tf.linalg.matvec(items, user[0]) + total

    compiled = tf.function(score, jit_compile=True, autograph=False)
    specs = (
        tf.TensorSpec([1, WIDTH], tf.float32, name="user"),
        tf.TensorSpec([None, WIDTH], tf.float32, name="items"),
    )

    @_function(*specs)
    def bucketed(user: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        number = tf.shape(items)[0]
        fits = tf.debugging.Assert(number <= BUCKETS[-1], ["at most", BUCKETS[-1], "candidates, received", number])

        def branch(size: int) -> Callable[[], tf.Tensor]:
            def run() -> tf.Tensor:
                padded = tf.ensure_shape(tf.pad(items, [[0, size - number], [0, 0]]), [size, WIDTH])
                return compiled(user, padded, tf.range(size) < number)[:number]

            return run

        with tf.control_dependencies([fits]):
            bucket = tf.reduce_sum(tf.cast(number > tf.constant(BUCKETS[:-1]), tf.int32))
        return {"scores": tf.switch_case(bucket, [branch(size) for size in BUCKETS])}

    @_function(*specs)
    def plain(user: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": score(user, items, tf.ones([tf.shape(items)[0]], tf.bool))}

    return save(module, {"serving_default": bucketed, "plain": plain}, directory)
