"""Compiles a model with the default optimizer, loss and metrics; precision and learning-rate schedule."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

import tf_keras as keras

from models.training.losses import ClickLoss, Examples, LogLoss
from models.training.optimizers import LazyAdagrad, LazyAdam, LazyFtrl, RowSparseOptimizer

AUC_THRESHOLDS = 1000
"""Thresholds of the AUC reported while training, whose memory does not grow; `evaluation.metrics` has the exact one."""

OptimizerName = Literal["adam", "adagrad", "ftrl"]
Precision = Literal["float32", "mixed_bfloat16"]
OPTIMIZERS: dict[str, Callable[[Any], RowSparseOptimizer]] = {
    "adam": LazyAdam,
    "adagrad": LazyAdagrad,
    "ftrl": LazyFtrl,
}


def compile_model(
    model: keras.Model,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    optimizer: OptimizerName = "adam",
) -> None:
    """Compiles a model with a row-sparse optimizer, the click loss, and the metrics `auc`, `logloss` and `examples`.

    A `PeerModel` has custom losses and metrics, and gets the optimizer only.

    Args:
      model: gives logits `[B]` or `[B, M]`.
      learning_rate: a number or a schedule.
      optimizer: `adam`, `adagrad` or `ftrl`; each updates only the rows of a table that a batch looks up.

    Raises:
      ValueError: no such optimizer.
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer is {optimizer!r}; expected one of {', '.join(OPTIMIZERS)}; choose one")
    chosen = OPTIMIZERS[optimizer](learning_rate)
    if getattr(model, "has_own_losses", False):
        model.compile(optimizer=chosen)
        return
    auc = keras.metrics.AUC(num_thresholds=AUC_THRESHOLDS, from_logits=True, name="auc")
    model.compile(optimizer=chosen, loss=ClickLoss(), metrics=[Examples()], weighted_metrics=[auc, LogLoss()])


def exponential_decay(
    learning_rate: float, epochs: float, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns an exponential decay to a tenth: lr(t) = learning_rate 10^(-t / (epochs steps_per_epoch)).

    Reference: "Mutual Learning for Finetuning Click-Through Rate Prediction Models", section 4.1: a
    tenth after three epochs.
    """
    return keras.optimizers.schedules.ExponentialDecay(learning_rate, max(1, round(epochs * steps_per_epoch)), 0.1)


@contextlib.contextmanager
def precision(name: Precision) -> Iterator[None]:
    """Sets the precision of models built inside: `float32`, or `mixed_bfloat16`, with weights, sums, logits in float32.

    Raises:
      ValueError: no such precision.
    """
    if name not in get_args(Precision):
        raise ValueError(f"precision is {name!r}; expected one of {', '.join(get_args(Precision))}; choose one")
    before: Any = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
