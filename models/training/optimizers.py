"""Adam, Adagrad and FTRL that update only the rows of an embedding table that the batch looked up."""

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

    A sparse gradient (`tf.IndexedSlices`, as a lookup produces) updates the rows that it names, after duplicates have
    been summed. All other rows, and their state, stay as they are.

    Args:
      learning_rate: a number or a Keras schedule.
      slots: names and initial values of the state that is kept for each weight.
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
    """True if `update_dense` is one fused operation."""
    settings: ClassVar[tuple[str, ...]] = ()
    """Names of the arguments beside `learning_rate`, each kept as an attribute."""

    def get_config(self) -> dict[str, Any]:
        rate = self._serialize_hyperparameter(self._learning_rate)
        return {"name": self.name, "learning_rate": rate, **{name: getattr(self, name) for name in self.settings}}

    @abstractmethod
    def updated(self, weights: tf.Tensor, slots: Slots, gradient: tf.Tensor) -> tuple[tf.Tensor, Slots]:
        """Returns the weights and their state after a step; all of one shape."""

    def update_dense(self, variable: tf.Variable, slots: list[tf.Variable], gradient: tf.Tensor) -> None:
        """Applies a step to a whole variable; a fused kernel may replace the formula."""
        weights, values = self.updated(variable.read_value(), [slot.read_value() for slot in slots], gradient)
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
                # Created on the variable's device, which may be on another machine.
                variable,
                name,
                initial_value=lambda start=start: tf.fill(variable.shape, tf.cast(start, variable.dtype)),
            )
            for name, start in self._slots.items()
        ]

    def _deduplicate_sparse_grad(self, grads: Sequence[Any]) -> list[Any]:
        # Keras' hook. The lookup layers produce distinct rows already; repeating it would cost a tenth of a step.
        deduplicate = super()._deduplicate_sparse_grad
        return [gradient if _is_distinct(gradient) else deduplicate([gradient])[0] for gradient in grads]

    def update_step(self, gradient: Any, variable: tf.Variable) -> None:
        position = self._index_dict[self._var_key(variable)]
        if not isinstance(gradient, tf.IndexedSlices):
            self.update_dense(variable, self._state[position], tf.cast(gradient, variable.dtype))
            return
        tables, indices = [variable, *self._state[position]], gradient.indices
        before = [tf.gather(table, indices) for table in tables]
        for table, rows in zip(tables, self._updated_rows(position, before, gradient.values), strict=True):
            table.scatter_update(tf.IndexedSlices(rows, indices))

    def _updated_rows(self, position: int, before: list[tf.Tensor], gradient: tf.Tensor) -> list[tf.Tensor]:
        gradient = tf.cast(gradient, before[0].dtype)
        if not self.has_kernel or tf.distribute.has_strategy():
            weights, slots = self.updated(before[0], before[1:], gradient)
            return [weights, *slots]
        # The kernel on a copy of the rows takes half the time of the formula in single operations.
        rows = self._scratch.rows(position, before[0])
        for row, values in zip(rows, before, strict=True):
            row.assign(values)
        self.update_dense(rows[0], rows[1:], gradient)
        return [row.read_value() for row in rows]


@keras.utils.register_keras_serializable(package="consort")
class LazyAdam(RowSparseOptimizer):
    """Adam whose step costs the same whatever the size of the embedding tables.

    A dense gradient g at step t updates its variable as Adam does:

      m = beta_1 m + (1 - beta_1) g
      v = beta_2 v + (1 - beta_2) g^2
      w = w - learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    A sparse one does the same to the rows that it names. All other rows, and their moments, stay as they are, where
    Adam would decay every moment and update every row. t is the global step, not the number of updates of the row.

    Reference: Kingma & Ba, "Adam" (ICLR 2015), algorithm 1 in the form before section 2.1.

    Args:
      learning_rate: a number or a Keras schedule.
      beta_1: decay of the first moment.
      beta_2: decay of the second moment.
      epsilon: added to the root of the second moment.
    """

    has_kernel = True
    settings = ("beta_1", "beta_2", "epsilon")

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        name: str = "LazyAdam",
    ):
        super().__init__(learning_rate, {"m": 0.0, "v": 0.0}, name)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def updated(self, weights: tf.Tensor, slots: Slots, gradient: tf.Tensor) -> tuple[tf.Tensor, Slots]:
        momentum, velocity = slots
        power_1, power_2 = self._powers(weights.dtype)
        momentum += (1 - self.beta_1) * (gradient - momentum)
        velocity += (1 - self.beta_2) * (tf.square(gradient) - velocity)
        rate = tf.cast(self.learning_rate, weights.dtype) * tf.sqrt(1 - power_2) / (1 - power_1)
        return weights - rate * momentum / (tf.sqrt(velocity) + self.epsilon), [momentum, velocity]

    def update_dense(self, variable: tf.Variable, slots: list[tf.Variable], gradient: tf.Tensor) -> None:
        dtype = variable.dtype
        power_1, power_2 = self._powers(dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=slots[0].handle,
            v=slots[1].handle,
            beta1_power=power_1,
            beta2_power=power_2,
            lr=tf.cast(self.learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=gradient,
        )

    def _powers(self, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        step = tf.cast(self.iterations + 1, dtype)
        return tf.pow(tf.cast(self.beta_1, dtype), step), tf.pow(tf.cast(self.beta_2, dtype), step)


@keras.utils.register_keras_serializable(package="consort")
class LazyAdagrad(RowSparseOptimizer):
    """Adagrad whose step costs the same whatever the size of the embedding tables.

      n = n + g^2
      w = w - learning_rate g / (sqrt(n) + epsilon)

    A row that a batch does not look up has g = 0 in dense Adagrad too: lazy and dense updates are the same.

    Reference: Duchi et al., "Adaptive Subgradient Methods" (JMLR 2011), equation 1 with a diagonal G.

    Args:
      learning_rate: a number or a Keras schedule.
      initial_accumulator: n at the start; above 0 it damps the first steps.
      epsilon: added to the root.
    """

    settings = ("initial_accumulator", "epsilon")

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-2,
        initial_accumulator: float = 0.1,
        epsilon: float = 1e-7,
        name: str = "LazyAdagrad",
    ):
        super().__init__(learning_rate, {"accumulator": initial_accumulator}, name)
        self.initial_accumulator, self.epsilon = initial_accumulator, epsilon

    def updated(self, weights: tf.Tensor, slots: Slots, gradient: tf.Tensor) -> tuple[tf.Tensor, Slots]:
        accumulator = slots[0] + tf.square(gradient)
        rate = tf.cast(self.learning_rate, weights.dtype)
        return weights - rate * gradient / (tf.sqrt(accumulator) + self.epsilon), [accumulator]


@keras.utils.register_keras_serializable(package="consort")
class LazyFtrl(RowSparseOptimizer):
    """FTRL-Proximal whose step costs the same whatever the size of the embedding tables.

      sigma = (sqrt(n + g^2) - sqrt(n)) / alpha
      z = z + g - sigma w
      n = n + g^2
      w = 0 where |z| <= l1, else -(z - sign(z) l1) / ((beta + sqrt(n)) / alpha + l2)

    alpha is `learning_rate`. With l1 > 0 rare rows become exact zeros. A row starts with
    z = -w (beta + sqrt(n)) / alpha - w l2, so that its first step begins at its initial weight
    (McMahan starts every weight at 0, which embeddings must not).

    Reference: McMahan et al., "Ad Click Prediction: a View from the Trenches" (KDD 2013), algorithm 1.

    Args:
      learning_rate: a number or a Keras schedule.
      initial_accumulator: n at the start.
      beta: smooths the first steps.
      l1: strength of the absolute penalty.
      l2: strength of the squared penalty.
    """

    settings = ("initial_accumulator", "beta", "l1", "l2")

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 5e-2,
        initial_accumulator: float = 0.1,
        beta: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        name: str = "LazyFtrl",
    ):
        super().__init__(learning_rate, {"accumulator": initial_accumulator, "linear": float("nan")}, name)
        self.initial_accumulator, self.beta, self.l1, self.l2 = initial_accumulator, beta, l1, l2

    def updated(self, weights: tf.Tensor, slots: Slots, gradient: tf.Tensor) -> tuple[tf.Tensor, Slots]:
        accumulator, linear = slots
        alpha = tf.cast(self.learning_rate, weights.dtype)
        # NaN marks a weight without an update yet: its z follows from its initial value.
        linear = tf.where(tf.math.is_nan(linear), -weights * self._scale(accumulator, alpha), linear)
        grown = accumulator + tf.square(gradient)
        linear += gradient - (tf.sqrt(grown) - tf.sqrt(accumulator)) / alpha * weights
        kept = tf.sign(linear) * tf.maximum(tf.abs(linear) - self.l1, 0)
        return -kept / self._scale(grown, alpha), [grown, linear]

    def _scale(self, accumulator: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
        return (self.beta + tf.sqrt(accumulator)) / alpha + self.l2


class _Scratch:
    """Buffers for the rows that a step works on and their state; never saved."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._rows: dict[int, list[tf.Variable]] = {}

    def rows(self, position: int, like: tf.Tensor) -> list[tf.Variable]:
        """Returns variables `[any, W]` for the table at that position of the optimizer's list."""
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
