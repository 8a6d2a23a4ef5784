"""Adam that touches only the rows of a table that the batch looked up."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

_KEEPS_DISTINCT = frozenset({"Identity", "Reshape", "StridedSlice"})
_GIVES_DISTINCT = frozenset({"Unique", "UniqueV2", "UniqueWithCounts", "UniqueWithCountsV2"})


@keras.utils.register_keras_serializable(package="consort")
class LazyAdam(keras.optimizers.Optimizer):
    """Adam whose step costs the same whatever the size of the embedding tables.

    A dense gradient g at step t moves its variable as Adam does:

      m = beta_1 m + (1 - beta_1) g
      v = beta_2 v + (1 - beta_2) g^2
      w = w - learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    A sparse one (`tf.IndexedSlices`, what a lookup gives) does the same to the rows that it names,
    duplicates summed first. All other rows, and their moments, stay as they are, where Adam would
    decay every moment and move every row. t is the global step, not the row's own number of updates.

    Reference: Kingma & Ba, "Adam" (ICLR 2015), algorithm 1 in the form before section 2.1.

    Args:
      learning_rate: a number or a Keras schedule.
      beta_1: decay of the first moment.
      beta_2: decay of the second moment.
      epsilon: added to the root of the second moment.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str = "LazyAdam",
    ):
        # With jit_compile Keras would compile each update on a GPU, anew for each number of rows.
        super().__init__(name=name, weight_decay=None, jit_compile=False)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self._scratch = _Scratch()

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        self._momentums = [self.add_variable_from_reference(variable, "m") for variable in var_list]
        self._velocities = [self.add_variable_from_reference(variable, "v") for variable in var_list]

    def _deduplicate_sparse_grad(self, grads: Sequence[Any]) -> list[Any]:
        # Keras' hook. The lookup layers give distinct rows already; doing it twice would cost a tenth of a step.
        return [g if _is_distinct(g) else super(LazyAdam, self)._deduplicate_sparse_grad([g])[0] for g in grads]

    def update_step(self, gradient: Any, variable: tf.Variable) -> None:
        position = self._index_dict[self._var_key(variable)]
        state = (variable, self._momentums[position], self._velocities[position])
        if not isinstance(gradient, tf.IndexedSlices):
            self._adam(state, gradient)
            return
        # The fused kernel of dense Adam on a copy of the rows: half the time of the formula in single operations.
        rows = self._scratch.rows(position, variable)
        for row, table in zip(rows, state, strict=True):
            row.assign(tf.gather(table, gradient.indices))
        self._adam(rows, gradient.values)
        for row, table in zip(rows, state, strict=True):
            table.scatter_update(tf.IndexedSlices(row.read_value(), gradient.indices))

    def _adam(self, state: Sequence[tf.Variable], gradient: tf.Tensor) -> None:
        variable, momentum, velocity = state
        dtype = variable.dtype
        beta_1, beta_2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.handle,
            v=velocity.handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=tf.cast(self.learning_rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "learning_rate": self._serialize_hyperparameter(self._learning_rate),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }


class _Scratch:
    """Room for the rows that a step works on: a row, its two moments. No state, so never saved."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[tf.Variable, ...]] = {}

    def rows(self, position: int, variable: tf.Variable) -> tuple[tf.Variable, ...]:
        """Three variables `[any, W]` for the table `[V, W]` at that position of the optimizer's list."""
        if position not in self._rows:
            width = variable.shape[1:]
            with tf.init_scope():
                empty = tf.zeros([0, *width], variable.dtype)
                self._rows[position] = tuple(
                    tf.Variable(empty, trainable=False, shape=[None, *width], name="scratch") for _ in range(3)
                )
        return self._rows[position]


def _is_distinct(gradient: Any) -> bool:
    """True if a sparse gradient's indices come straight from `tf.unique`; dense ones have none to check."""
    if not isinstance(gradient, tf.IndexedSlices):
        return True
    tensor = gradient.indices
    operation = getattr(tensor, "op", None)  # None in eager mode
    while operation is not None and operation.type in _KEEPS_DISTINCT:
        tensor = operation.inputs[0]
        operation = tensor.op
    return operation is not None and operation.type in _GIVES_DISTINCT and tensor is operation.outputs[0]
