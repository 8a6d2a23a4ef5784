"""What optimizers have in common that touch only the rows of a table that the batch looked up."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf
import tf_keras as keras

_KEEPS_DISTINCT = frozenset({"Identity", "Reshape", "StridedSlice"})
_GIVES_DISTINCT = frozenset({"Unique", "UniqueV2", "UniqueWithCounts", "UniqueWithCountsV2"})
Slots = list[tf.Tensor]


class RowSparseOptimizer(keras.optimizers.Optimizer):
    """An optimizer whose step costs the same whatever the size of the embedding tables.

    A sparse gradient (`tf.IndexedSlices`, what a lookup gives) moves the rows that it names, duplicates
    summed first. All other rows, and their state, stay as they are.

    Args:
      learning_rate: a number or a Keras schedule.
      slots: names and first values of what is kept a weight.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        slots: dict[str, float],
        name: str,
    ):
        # With jit_compile Keras would compile each update on a GPU, anew for each number of rows.
        super().__init__(name=name, weight_decay=None, jit_compile=False)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self._slots = slots
        self._scratch = _Scratch(1 + len(slots))

    has_kernel: ClassVar[bool] = False
    """Whether `move_dense` is one fused operation."""

    @abstractmethod
    def moved(self, weights: tf.Tensor, slots: Slots, gradient: tf.Tensor) -> tuple[tf.Tensor, Slots]:
        """Weights and state after a step; all of one shape."""

    def move_dense(self, variable: tf.Variable, slots: list[tf.Variable], gradient: tf.Tensor) -> None:
        """A step of a whole variable; a fused kernel may take the place of the formula."""
        weights, values = self.moved(variable.read_value(), [slot.read_value() for slot in slots], gradient)
        for target, value in zip([variable, *slots], [weights, *values], strict=True):
            target.assign(value)

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._built = True
        self._state = [self._state_of(variable) for variable in var_list]

    def _state_of(self, variable: tf.Variable) -> list[tf.Variable]:
        return [
            self.add_variable_from_reference(
                # Made where the variable lies, which may be another machine.
                variable,
                name,
                initial_value=lambda start=start: tf.fill(variable.shape, tf.cast(start, variable.dtype)),
            )
            for name, start in self._slots.items()
        ]

    def _deduplicate_sparse_grad(self, grads: Sequence[Any]) -> list[Any]:
        # Keras' hook. The lookup layers give distinct rows already; doing it twice would cost a tenth of a step.
        deduplicate = super()._deduplicate_sparse_grad
        return [gradient if _is_distinct(gradient) else deduplicate([gradient])[0] for gradient in grads]

    def update_step(self, gradient: Any, variable: tf.Variable) -> None:
        position = self._index_dict[self._var_key(variable)]
        if not isinstance(gradient, tf.IndexedSlices):
            self.move_dense(variable, self._state[position], tf.cast(gradient, variable.dtype))
            return
        tables, indices = [variable, *self._state[position]], gradient.indices
        before = [tf.gather(table, indices) for table in tables]
        for table, rows in zip(tables, self._moved_rows(position, before, gradient.values), strict=True):
            table.scatter_update(tf.IndexedSlices(rows, indices))

    def _moved_rows(self, position: int, before: list[tf.Tensor], gradient: tf.Tensor) -> list[tf.Tensor]:
        gradient = tf.cast(gradient, before[0].dtype)
        if not self.has_kernel or tf.distribute.has_strategy():
            weights, slots = self.moved(before[0], before[1:], gradient)
            return [weights, *slots]
        # The kernel on a copy of the rows takes half the time of the formula in single operations.
        rows = self._scratch.rows(position, before[0])
        for row, values in zip(rows, before, strict=True):
            row.assign(values)
        self.move_dense(rows[0], rows[1:], gradient)
        return [row.read_value() for row in rows]


class _Scratch:
    """Room for the rows that a step works on: a row and its state. No state itself, so never saved."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._rows: dict[int, list[tf.Variable]] = {}

    def rows(self, position: int, like: tf.Tensor) -> list[tf.Variable]:
        """Variables `[any, W]` for the table at that position of the optimizer's list."""
        if position not in self._rows:
            width = like.shape[1:]
            with tf.init_scope():
                empty = tf.zeros([0, *width], like.dtype)
                self._rows[position] = [
                    tf.Variable(empty, trainable=False, shape=[None, *width], name="scratch")
                    for _ in range(self._count)
                ]
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
