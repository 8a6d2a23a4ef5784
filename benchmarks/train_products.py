"""The worker of the limit: the matrix products of a training step of the MLP, and nothing else."""

from typing import Any

import tensorflow as tf

from benchmarks.peers.task import Task
from benchmarks.peers.worker import Run, serve
from benchmarks.train_consort import set_threads
from runs.provenance import machine

DTYPES = {"float32": tf.float32, "bfloat16": tf.bfloat16}


def prepare(task: Task) -> tuple[Run, dict[str, Any]]:
    """Each layer has three products: forward, and the gradients of its input and of its kernel."""
    set_threads(task)
    products = make_products(task)

    def run(steps: int) -> float:
        total = 0.0
        for _ in range(steps):
            total = float(products())
        return total

    return run, {"versions": machine()["versions"], "flops": flops(task)}


def widths_of(task: Task) -> list[int]:
    """Returns the widths of the MLP's layers, from its input to its logit."""
    return [task.fields * task.width, *task.hidden_units, 1]


def flops(task: Task) -> int:
    """Returns the floating-point operations of a step's products."""
    widths = widths_of(task)
    return sum(6 * task.batch_size * rows * columns for rows, columns in zip(widths, widths[1:], strict=False))


def make_products(task: Task) -> Any:
    """Returns a compiled function that does the products, and returns a number that depends on each of them."""
    dtype, widths = DTYPES[task.dtype], widths_of(task)

    def drawn(*shape: int) -> tf.Variable:
        values = tf.random.stateless_normal(shape, [task.seed, shape[-1]], stddev=0.01)
        return tf.Variable(tf.cast(values, dtype))

    inputs = [drawn(task.batch_size, width) for width in widths]
    kernels = [drawn(rows, columns) for rows, columns in zip(widths, widths[1:], strict=False)]

    @tf.function(autograph=False)
    def products() -> tf.Tensor:
        corners = []
        for layer, kernel in enumerate(kernels):
            upstream = inputs[layer + 1]
            # Nothing joins the products but one element of each, without which they would not be computed.
            corners.append((inputs[layer] @ kernel)[0, 0])
            corners.append(tf.matmul(upstream, kernel, transpose_b=True)[0, 0])
            corners.append(tf.matmul(inputs[layer], upstream, transpose_a=True)[0, 0])
        return tf.cast(tf.add_n(corners), tf.float32)

    return products


if __name__ == "__main__":
    serve(prepare)
