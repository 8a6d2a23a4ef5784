"""Fits a model with checkpoints; a killed run continues with the batches and the state that it would have had."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.layers.interleaved_embeddings import InterleavedEmbeddings
from models.layers.lookup import out_of_range
from models.training.checkpoints import Checkpoints, RunState
from models.training.compiling import OptimizerName, compile_model
from models.training.distribution import cluster_under, is_chief, raise_on_lost_worker
from models.training.loops import Loop, loop_of
from models.training.progress import BoardLog, Progress, Reporter, Speed, StepMonitor, check_finite
from transforms.errors import InputError


@dataclass(frozen=True)
class FitResult:
    """Summary of a run; the model holds the weights.

    Args:
      steps: optimizer steps, those before a resume included.
      epochs: completed epochs, likewise.
      best_epoch: the epoch whose weights the model now holds, from 1; without eval data, the last epoch, even if
        incomplete; 0: the weights that `start` gave it.
      history: for each completed epoch `epoch`, `step`, `seconds`, and the metrics: `loss`, `auc`,
        `logloss` on the training data during the epoch, `eval_...` on the eval data after it. In an epoch
        that was resumed the former cover the steps since.
      examples_per_second: training examples, without compilation, checkpoints and evaluations.
      step_seconds: median of a step.
      resumed_from: the step that the run continued from; None for a new run.
      stopped_early: True if patience ran out.
      best: metrics of the weights that the model now holds, as in `history`; those of an epoch that `max_steps`
        ended are `eval_...` alone; empty if there was no eval data.
      start: metrics of the weights that `start` gave the model, in the same form; empty without.
    """

    steps: int
    epochs: int
    best_epoch: int
    history: tuple[dict[str, float], ...]
    examples_per_second: float | None
    step_seconds: float | None
    resumed_from: int | None
    stopped_early: bool
    best: dict[str, float] = field(default_factory=dict)
    start: dict[str, float] = field(default_factory=dict)


def fit(
    model: keras.Model,
    train_dataset: Callable[[int], tf.data.Dataset],
    eval_dataset: tf.data.Dataset | None,
    directory: str | os.PathLike[str],
    *,
    epochs: int,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    optimizer: OptimizerName = "adam",
    patience: int | None = None,
    checkpoint_steps: int = 500,
    keep_checkpoints: int = 2,
    steps_per_execution: int = 1,
    max_steps: int | None = None,
    seed: int = 1,
    steps_per_epoch: int | None = None,
    log_dir: str | os.PathLike[str] | None = None,
    base_rate: float | None = None,
    start: Callable[[keras.Model], bool] | None = None,
    progress: bool | Callable[[Progress], None] = True,
    title: str = "",
    monitor: str | None = None,
) -> FitResult:
    """Fits a model, continuing from the last intact checkpoint in `directory` if there is one.

    A model that is not compiled is compiled by `compile_model`; a compiled one keeps its optimizer, losses and metrics,
    must report `loss`, and does not use `learning_rate` and `optimizer`. With eval data the model ends with the weights
    of the epoch with the least eval log loss or best `monitor`; without, with the last. Its strategy is used.

    Args:
      model: gives logits. Its `reset_state` is called before each epoch, `prepare_evaluation` before each evaluation.
      train_dataset: returns the batches `(features, label[, weight])` of an epoch, from 0; the same ones at every
        call; on each of several workers its shard (`worker_shard`). Label and weight have the logits' shape.
      eval_dataset, directory, epochs: batches of the same form, or None; folder of the checkpoints; passes.
      learning_rate, optimizer: as in `compile_model`.
      patience, monitor: evaluations without a better value before stopping; metric to maximize; None: none, log loss.
      checkpoint_steps, keep_checkpoints: steps between checkpoints, beside an epoch's last; how many to keep.
      steps_per_execution: steps between reports and possible checkpoints.
      max_steps, steps_per_epoch: stop after so many, those before a resume included; if known, the time left is shown.
      seed: seed of TensorFlow's and NumPy's global generators, which Consort's models do not use.
      log_dir, base_rate: folder of TensorBoard's event files; share of clicks for `initialize_bias`; or None.
      start: called with the built model of a new run; True if that now predicts: its weights are those of epoch 0.
      progress, title: True writes lines on stderr that begin with `title`; or a function that takes `Progress`.

    Raises:
      InputError: the data has no batch, or the directory holds another model's checkpoints.
      ConsortError: the loss is not a finite number, or another process is lost; the message names it.
    """
    keras.utils.set_random_seed(seed)
    first = train_dataset(0)
    if not is_chief(model.distribute_strategy):
        progress, log_dir = False, None
    with raise_on_lost_worker(cluster_under(model.distribute_strategy)):
        build_to_train(model, first.element_spec[0], learning_rate, optimizer, base_rate)
        checkpoints = Checkpoints(directory, model, model.optimizer, keep_checkpoints)
        reports = Reporter(progress, BoardLog(log_dir), title, epochs, _total_steps(epochs, steps_per_epoch, max_steps))
        with reports.shown(), loop_of(model, first, eval_dataset, steps_per_execution) as loop:
            limits = (checkpoint_steps, max_steps)
            run = _Run(model, loop, train_dataset, eval_dataset, checkpoints, *limits, reports, monitor)
            return run.to_the_end(epochs, patience, start)


def build_to_train(
    model: keras.Model,
    features: Mapping[str, Any],
    learning_rate: Any,
    optimizer: OptimizerName,
    base_rate: float | None = None,
) -> None:
    """Builds all variables of a model, and compiles one that has no optimizer.

    Args:
      model: see `fit`.
      features: specs of a batch's features.
      learning_rate, optimizer, base_rate: as in `fit`.
    """
    with model.distribute_strategy.scope():
        if getattr(model, "optimizer", None) is None:
            compile_model(model, learning_rate, optimizer)
        model(_zeros(features), training=False)
        model.optimizer.build(model.trainable_variables)
        if base_rate is not None and hasattr(model, "initialize_bias"):
            model.initialize_bias(base_rate)


@contextlib.contextmanager
def _naming_features(model: keras.Model) -> Iterator[None]:
    """Turns the error of a training step on an id outside its vocabulary into one that names the feature."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        embeddings = getattr(model, "embeddings", None)
        if not isinstance(embeddings, InterleavedEmbeddings):
            raise
        for batch in getattr(model.train_function, "batches", []):
            features = keras.utils.unpack_x_y_sample_weight(batch)[0]
            message = out_of_range(embeddings.inputs, embeddings.table_sizes, features)
            if message:
                received, expected, fix = message.split("; ")
                raise InputError("training data", received, expected.removeprefix("expected "), fix) from error
        raise


class _Run:
    def __init__(
        self,
        model: keras.Model,
        loop: Loop,
        train_dataset: Callable[[int], tf.data.Dataset],
        eval_dataset: tf.data.Dataset | None,
        checkpoints: Checkpoints,
        checkpoint_steps: int,
        max_steps: int | None,
        reporter: Reporter,
        monitor: str | None,
    ):
        self.model, self.loop, self.train_dataset, self.eval_dataset = model, loop, train_dataset, eval_dataset
        self.checkpoints, self.checkpoint_steps, self.max_steps = checkpoints, checkpoint_steps, max_steps
        self.reporter, self.speed, self.monitor = reporter, Speed(), monitor
        restored: RunState | None = checkpoints.restore()
        self.resumed_from = restored.step if restored else None
        self.state = restored or RunState()

    def to_the_end(
        self, epochs: int, patience: int | None, start: Callable[[keras.Model], bool] | None = None
    ) -> FitResult:
        if self.resumed_from is None and start is not None and start(self.model) and self.eval_dataset is not None:
            self.state.start = {"epoch": 0, "step": 0, **self._evaluate()}
            self.checkpoints.save_best(0)
        while self.state.epoch < epochs and not self._is_out_of_patience(patience) and not self._is_out_of_steps():
            started = time.perf_counter()
            metrics = self._train()
            if self._is_out_of_steps():
                self.checkpoints.save(self.state)
            else:
                self._finish_epoch(metrics, started)
        best_epoch, best = self._settle()
        return FitResult(
            steps=self.state.step,
            epochs=self.state.epoch,
            best_epoch=best_epoch,
            history=tuple(self.state.history),
            examples_per_second=self.speed.examples_per_second,
            step_seconds=self.speed.step_seconds,
            resumed_from=self.resumed_from,
            stopped_early=self._is_out_of_patience(patience),
            best=dict(best),
            start=dict(self.state.start),
        )

    def _is_out_of_patience(self, patience: int | None) -> bool:
        return patience is not None and self.state.epochs_without_gain >= patience

    def _is_out_of_steps(self) -> bool:
        return self.max_steps is not None and self.state.step >= self.max_steps

    def _train(self) -> dict[str, float]:
        """Trains for the rest of the epoch, or of the steps."""
        state = self.state
        state.ends_here = False
        if state.step_in_epoch == 0 and hasattr(self.model, "reset_state"):
            self.model.reset_state()
        dataset = self.train_dataset(state.epoch).skip(state.step_in_epoch)
        if self.max_steps is not None:
            dataset = dataset.take(self.max_steps - state.step)
        monitor = StepMonitor(state.epoch + 1, self.speed, self.reporter, self._after_step)
        with _naming_features(self.model):
            had_batch = self.loop.train(dataset, monitor)
        metrics = self._metrics() if had_batch else {}
        if state.step_in_epoch == 0:
            raise InputError(
                f"training data, epoch {state.epoch + 1}", "no batch", "at least one", "check the split and its filter"
            )
        return metrics

    def _after_step(self, step: int) -> None:
        due = step // self.checkpoint_steps > self.state.step // self.checkpoint_steps
        self._count(step)
        if due:
            self.checkpoints.save(self.state)

    def _count(self, step: int) -> None:
        self.state.step_in_epoch += step - self.state.step
        self.state.step = step

    def _finish_epoch(self, metrics: dict[str, float], started: float) -> None:
        state = self.state
        row = {"epoch": state.epoch + 1, "step": state.step, **metrics}
        if self.eval_dataset is not None:
            row |= self._evaluate()
            self._compare(row)
        row["seconds"] = time.perf_counter() - started
        state.history.append(row)
        self.reporter.epoch(row)
        state.epoch, state.step_in_epoch = state.epoch + 1, 0
        self.checkpoints.save(state)

    def _compare(self, row: dict[str, float]) -> None:
        state, value = self.state, self._monitored(row)
        if state.best_value is None or value < state.best_value:
            state.best_value, state.best_epoch, state.epochs_without_gain = value, state.epoch + 1, 0
            self.checkpoints.save_best(state.epoch + 1)
        else:
            state.epochs_without_gain += 1

    def _settle(self) -> tuple[int, dict[str, float]]:
        """Leaves the best weights in the model; returns the number of their epoch and their metrics.

        The last checkpoint says which these are, for `read_weights`.
        """
        state = self.state
        under_way = state.epoch + (state.step_in_epoch > 0)
        if self.eval_dataset is None:
            return self._end_here(under_way, {})
        if state.start and (state.best_value is None or self._monitored(state.start) <= state.best_value):
            state.best_value, state.best_epoch = self._monitored(state.start), 0
            self.checkpoints.save(state)
        if state.step_in_epoch > 0 or state.best_epoch is None:  # None: the run so far had no eval data.
            row = {"epoch": under_way, "step": state.step, **self._evaluate()}
            if state.best_value is None or self._monitored(row) < state.best_value:
                return self._end_here(under_way, row)
        best = state.best_epoch
        if best is None:
            raise RuntimeError("no epoch is the best one")
        self.checkpoints.restore_best(best)
        return best, state.history[best - 1] if best else state.start

    def _end_here(self, epoch: int, metrics: dict[str, float]) -> tuple[int, dict[str, float]]:
        if not self.state.ends_here:
            self.state.ends_here = True
            self.checkpoints.save(self.state)
        return epoch, metrics

    def _evaluate(self) -> dict[str, float]:
        self.reporter.evaluating(self.state.epoch + 1)
        if hasattr(self.model, "prepare_evaluation"):
            self.model.prepare_evaluation()
        if self.eval_dataset is None or not self.loop.evaluate(self.eval_dataset):
            raise InputError("eval data", "no batch", "at least one", "check the split, or give None for no evaluation")
        metrics = {f"eval_{name}": value for name, value in self._metrics().items()}
        check_finite("eval log loss", self._monitored(metrics), self.state.epoch + 1, self.state.step, self.state.step)
        return metrics

    def _monitored(self, row: Mapping[str, float]) -> float:
        """Returns the value of which the least is the best."""
        if self.monitor is not None:
            return -row.get(f"eval_{self.monitor}", math.nan)
        return row.get("eval_logloss", row.get("eval_loss", math.nan))

    def _metrics(self) -> dict[str, float]:
        metrics = {name: float(value) for name, value in self.model.get_metrics_result().items() if name != "examples"}
        # A minimum or maximum over no values, as of a metric that only training updates, is infinite.
        return {name: value for name, value in metrics.items() if not math.isinf(value)}


def _total_steps(epochs: int, steps_per_epoch: int | None, max_steps: int | None) -> int | None:
    all_epochs = None if steps_per_epoch is None else epochs * steps_per_epoch
    return min((steps for steps in (all_epochs, max_steps) if steps is not None), default=None)


def _zeros(specs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a batch of one empty record, to build a model's variables before any data is read."""
    return {name: _zero(spec) for name, spec in specs.items()}


def _zero(spec: Any) -> Any:
    if isinstance(spec, tf.RaggedTensorSpec):
        return tf.RaggedTensor.from_row_splits(tf.zeros([0], spec.dtype), tf.constant([0, 0], spec.row_splits_dtype))
    shape = [size or 1 for size in spec.shape]
    return tf.fill(shape, "") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)
