"""The products of a training step's MLP, by which its speed is judged."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.peers.task import Task
from benchmarks.train_products import flops, make_products

_TASK = Task(fields=3, width=2, hidden_units=(4,), batch_size=5)


def test_a_step_has_three_products_a_layer() -> None:
    # 6 -> 4 -> 1 on 5 rows: forward, and the gradients of input and kernel, two operations a multiplication.
    assert flops(_TASK) == 3 * 2 * 5 * (6 * 4 + 4 * 1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_of_them_are_computed_in_the_type_of_the_task(dtype: str) -> None:
    products = make_products(replace(_TASK, dtype=dtype))
    assert np.isfinite(float(products()))
    graph = products.get_concrete_function().graph
    made = [operation for operation in graph.get_operations() if operation.type == "MatMul"]
    assert len(made) == 6 and {operation.outputs[0].dtype.name for operation in made} == {dtype}
