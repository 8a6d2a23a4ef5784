"""Learning from a stream: spans as they arrive, each event once; versions are pushed while a server answers."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from models.training.checkpoints import Checkpoints
from models.training.fit import build_to_train
from models.training.recent_keys import RecentKeys
from runs.config import RunConfig
from runs.online.events import Batch, EventBatches, Intake, chosen
from runs.online.push import Pusher
from runs.online.setup import Setup, prepared
from runs.online.state import OnlineState, SpanCounts
from runs.online.steps import steps_of
from runs.provenance import CHECKPOINT_DIR
from runs.workers import ProcessRole
from transforms.errors import ConsortError, InputError
from transforms.files import check_local, check_model_folder, write_text
from transforms.integrity import check_files
from transforms.locks import check_unlocked, locked
from transforms.records import load_dataset
from transforms.spans import files_of, spans_in

HISTORY_FILE = "online.json"
ENDED_FILE = ".ended"
"""Tells the other processes of a run that the chief has done its work."""
REMEMBERED = 1 << 16
"""Events that a duplicate is looked for among."""


@dataclass(frozen=True)
class OnlineSettings:
    """How a stream is followed.

    Args:
      push_events: events between two pushes; None pushes at the end of each span.
      max_lateness: seconds that an event may be older than the stream; None: any.
      follow: wait for further spans.
      poll_s: seconds between looks for them.
      idle_s: seconds without a new span after which following ends; None: never.
    """

    push_events: int | None = None
    max_lateness: int | None = None
    follow: bool = False
    poll_s: float = 1.0
    idle_s: float | None = None


def learn_online(
    config: RunConfig,
    stream: Path,
    out: Path,
    serve: Path | None,
    settings: OnlineSettings,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Learns from each span of a stream, in the order of their names; goes on where a killed run stopped.

    Each batch is scored before it is learned from, so the metrics of a span are of events that the model had
    not seen. The transform is learned once, from the first span. Under parameter servers each process calls this:
    the chief reads, checkpoints and pushes, the others lend themselves to it.

    Args:
      config: the run; its recipe is one that can learn from a stream.
      stream: folder of spans, each a dataset of rows; see `transforms.spans`.
      out: folder of the run: the transform, checkpoints, and `online.json`, the metrics of each span.
      serve: folder that versions are pushed to, as `serve/<name>/<version>`; None pushes none.
      settings: how the stream is followed.
      say: receives lines for the user.

    Returns:
      The content of `online.json`; of a parameter server or its worker one without events.

    Raises:
      InputError: the stream has no span or one of another kind, a span holds a value that its column cannot have,
        `out` is another run's, or a run is at work there or pushes to the same folder.
      ConsortError: the loss is not a finite number, or another process is gone.
    """
    role = ProcessRole(config.training.distribution, say)
    if role.is_server:
        role.run_server((out / ENDED_FILE).exists)
        return {"events": 0, "pushed": 0, "spans": [{}]}
    check_local(stream, "--stream")
    if serve is not None:
        check_model_folder(serve, "--serve")
    folders = [out] if serve is None else [out, serve / config.name]
    for folder in folders:
        check_unlocked(folder)
    with role.connected(), contextlib.ExitStack() as stack:
        setup = prepared(config, stream, out, say, stack)
        for folder in folders[1:]:
            # Two runs would take each other's version numbers.
            stack.enter_context(locked(folder))
        (out / ENDED_FILE).unlink(missing_ok=True)
        learner = _Learner(setup, serve, settings, say, role.strategy())
        try:
            learner.catch_up()
            for span in _spans(stream, learner.state, settings, say):
                learner.learn(span)
            learner.finish()
        finally:
            learner.close()
        if role.cluster is not None:
            write_text(out / ENDED_FILE, "")
    return learner.report()


def _spans(stream: Path, state: OnlineState, settings: OnlineSettings, say: Callable[[str], None]) -> Iterator[Path]:
    """Spans after those that were learned from, as they come."""
    waited = 0.0
    late: set[str] = set()
    while True:
        spans = spans_in(stream)
        for path in spans:
            if path.name < state.last_span and path.name not in (*state.spans, *late):
                late.add(path.name)
                say(f"span {path.name} came after {state.last_span} was learned from; it is left out")
        ahead = [path for path in spans if path.name > state.last_span]
        if ahead:
            waited = 0.0
            yield ahead[0]
        elif not settings.follow or (settings.idle_s is not None and waited >= settings.idle_s):
            return
        else:
            time.sleep(settings.poll_s)
            waited += settings.poll_s


class _Learner:
    def __init__(
        self,
        setup: Setup,
        serve: Path | None,
        settings: OnlineSettings,
        say: Callable[[str], None],
        strategy: tf.distribute.Strategy,
    ):
        self._setup, self._settings, self._say, self._strategy = setup, settings, say, strategy
        config = setup.config
        more = [features for one in setup.inputs if (features := one.row_features(setup.facts)) is not None]
        self._batches = EventBatches(setup.transform, setup.feature_set, config.training.rows_at_once, more)
        with strategy.scope():
            self._model = setup.model()
        build_to_train(
            self._model, self._batches.element_spec[0], config.training.learning_rate, config.training.optimizer
        )
        self._steps = steps_of(self._model, self._batches.element_spec)
        self._keys = tf.Variable(RecentKeys(REMEMBERED).state, trainable=False)
        metrics = [variable for metric in self._model.metrics for variable in metric.variables]
        self._checkpoints = Checkpoints(
            setup.out / CHECKPOINT_DIR,
            self._model,
            self._model.optimizer,
            config.training.keep_checkpoints,
            OnlineState,
            [self._keys, *metrics],
        )
        self.state: OnlineState = self._checkpoints.restore() or OnlineState()
        if self.state.step:
            say(f"going on after {self.state.events:,} events, in span {self.state.span or self.state.last_span}")
        recent = RecentKeys(REMEMBERED, self._keys.numpy())
        self._intake = Intake(recent, settings.max_lateness, self.state.moment)
        self._pusher = Pusher(setup, serve, say)

    def catch_up(self) -> None:
        """Finds the items of earlier spans again, and pushes what a killed run was about to push."""
        self._pusher.recall(self.state)
        self._push_if_due()

    def learn(self, span: Path) -> None:
        """Learns from a span, or from what is left of it."""
        state, started = self.state, time.perf_counter()
        dataset = self._checked(span)
        files = files_of(span, dataset)
        check_files(files, dataset.feature_set, "row")
        self._pusher.begin(span, dataset)
        if state.span != span.name:
            with self._strategy.scope():
                self._model.reset_metrics()
            state.span, state.step_in_epoch, state.counts = span.name, 0, SpanCounts()
        for raw, batch in self._batches.of(files, state.step_in_epoch):
            taken, counts = self._intake.take(raw)
            self._pusher.see(raw)
            if taken.any():
                self._train(chosen(batch, taken))
            self._count(counts)
            self._push_if_due()
        self._end(span, time.perf_counter() - started)

    def _checked(self, span: Path) -> Any:
        dataset = load_dataset(span)
        if dataset.feature_set.columns != self._setup.columns:
            fix = "make the spans of a stream by one source with one set of options"
            raise InputError(str(span), "a span with other columns", "those of the first span", fix)
        return dataset

    def _train(self, batch: Batch) -> None:
        self._check(self._steps.train(batch))
        self.state.step += 1

    def _count(self, counts: dict[str, int]) -> None:
        state = self.state
        state.step_in_epoch += 1
        state.events += counts["events"]
        state.counts.add(counts)
        state.moment = self._intake.moment
        if state.step_in_epoch % self._setup.config.training.checkpoint_steps == 0:
            self._save()

    def _end(self, span: Path, seconds: float) -> None:
        state = self.state
        self._check(self._steps.wait())
        metrics = {name: float(value) for name, value in self._model.get_metrics_result().items() if name != "examples"}
        state.history.append({"span": span.name, **vars(state.counts), **metrics})  # type: ignore[dict-item]
        state.spans.append(span.name)
        state.span, state.step_in_epoch, state.epoch = "", 0, state.epoch + 1
        self._save()
        write_text(self._setup.out / HISTORY_FILE, json.dumps(self.report(), indent=2) + "\n")
        auc = next((value for name, value in metrics.items() if name in ("auc", "auc/towers")), float("nan"))
        self._say(
            f"{span.name}: {state.history[-1]['events']:,} events in {seconds:.1f} s, before learning from them AUC "
            f"{auc:.4f}, log loss {metrics['logloss']:.4f}"
        )
        self._push_if_due()

    def _push_if_due(self) -> None:
        state, every = self.state, self._settings.push_events
        at_end = every is None and not state.span and state.events > state.pushed_events
        if at_end or (every is not None and state.events // every > state.pushed_events // every):
            self._push()

    def _push(self) -> None:
        """Pushes what is learned so far; a version of that number that is there already is left as it is."""
        if not self._pusher.is_on:
            return
        self._pusher.number(self.state)
        # From here a killed run comes back to this very state, and pushes the same again.
        self._save()
        self._pusher.push(self.state)
        self.state.pushed, self.state.pushed_events = self.state.pushed + 1, self.state.events
        self._save()

    def _check(self, loss: float | None) -> None:
        if loss is not None and not loss < float("inf"):
            raise ConsortError(
                f"the loss is {loss} in span {self.state.span}, by batch {self.state.step_in_epoch + 1}; expected a "
                "finite number. Fix: lower training.learning_rate, or look at the numbers in that span"
            )

    def _save(self) -> None:
        self._check(self._steps.wait())
        self._keys.assign(self._intake.recent.state)
        self._checkpoints.save(self.state)

    def close(self) -> None:
        """Ends what the run has started."""
        self._pusher.close()

    def finish(self) -> None:
        """Pushes what was learned since the last push."""
        if self.state.events > self.state.pushed_events:
            self._push()

    def report(self) -> dict[str, Any]:
        """What happened so far."""
        state = self.state
        return {**self._setup.info, "events": state.events, "pushed": state.pushed, "spans": list(state.history)}
