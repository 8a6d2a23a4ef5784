"""The tuner: Keras Tuner's oracles propose, processes of our own train.

Keras Tuner's own tuners refuse tf_keras models, train in this process, whose memory they fill up, and
take a search for done in which every trial failed. Its files are not whole after a kill, so a search
is resumed from our results: the oracle is asked again from its seed on and gets the known answers at once.
"""

import hashlib
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine import base_tuner
from keras_tuner.engine import trial as trial_module

from runs.tuning.config import Domain, Range, TuningConfig
from runs.tuning.space import choices_of, values_of
from runs.tuning.trial import Outcome
from transforms.errors import ConsortError

Run = Callable[[int, Mapping[str, Any]], Outcome]
"""Runs the trial of a number with its values, by keys of the run file."""

_STATE = "keras_tuner"
_MAX_REASONS = 5


class IsolatedTuner(base_tuner.BaseTuner):
    """Searches with trials that cannot harm each other or the search.

    Results reach the oracle in the order in which it proposed the trials, so that the same seed gives
    the same trials, in parallel and after a kill.

    Args:
      settings: the run file's section `tuning`.
      seed: of the run.
      directory: for Keras Tuner's own files, which nobody reads back.
      run: see `Run`; called from several threads if `settings.parallel` is above 1.
      close: ends the trials that run, when the search is left before its end.
    """

    def __init__(
        self, settings: TuningConfig, seed: int, directory: Path, run: Run, close: Callable[[], None] = lambda: None
    ):
        self.settings, self._run, self._close = settings, run, close
        self._outcome_of: dict[int, Outcome] = {}
        super().__init__(oracle_of(settings, seed), directory=str(directory), project_name=_STATE, overwrite=True)
        self.oracle.verbose = 0

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Runs all trials.

        Raises:
          ConsortError: every one of them failed.
        """
        # Random trials do not depend on results: all may wait for a place at once.
        ahead = self.settings.parallel if self.settings.algorithm == "bayesian" else self.settings.max_trials
        pending: deque[tuple[trial_module.Trial, Future[dict[str, float]]]] = deque()
        with ThreadPoolExecutor(self.settings.parallel) as pool:
            try:
                exhausted = False
                while pending or not exhausted:
                    while not exhausted and len(pending) < ahead:
                        trial = self.oracle.create_trial(f"{self.tuner_id}-{len(self.oracle.trials)}")
                        exhausted = trial.status != trial_module.TrialStatus.RUNNING
                        if not exhausted:
                            pending.append((trial, pool.submit(self.run_trial, trial)))
                    if pending:
                        self._end(*pending.popleft())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._close()
                raise
        if self.failed == len(self._outcome_of):
            raise ConsortError(_all_failed(list(self.outcomes.values())))

    def run_trial(self, trial: trial_module.Trial, *fit_args: Any, **fit_kwargs: Any) -> dict[str, float]:
        """Metrics of a trial, which a process of its own trains.

        Raises:
          FailedTrialError: it failed; the message is the reason.
        """
        values = values_of(self.settings.space, trial.hyperparameters.values)
        outcome = self._run(int(trial.trial_id), values)
        score = outcome.metrics.get(self.settings.objective, math.nan)
        if outcome.status == "completed" and not math.isfinite(score):
            reason = f"{self.settings.objective} is {score}, which is not a finite number"
            outcome = Outcome("failed", values, outcome.metrics, outcome.seconds, reason, outcome.peak_gb)
        self._outcome_of[int(trial.trial_id)] = outcome
        if outcome.status == "failed":
            raise keras_tuner.errors.FailedTrialError(outcome.reason)
        return outcome.metrics

    @property
    def outcomes(self) -> dict[int, Outcome]:
        """Of the trials that have ended, by their numbers, in order."""
        return dict(sorted(self._outcome_of.items()))

    @property
    def failed(self) -> int:
        """Number of failed trials."""
        return sum(outcome.status == "failed" for outcome in self._outcome_of.values())

    def _end(self, trial: trial_module.Trial, metrics: Future[dict[str, float]]) -> None:
        try:
            objective = self.settings.objective
            self.oracle.update_trial(trial.trial_id, {objective: metrics.result()[objective]})
            trial.status = trial_module.TrialStatus.COMPLETED
        except keras_tuner.errors.FailedTrialError as error:
            trial.status, trial.message = trial_module.TrialStatus.FAILED, str(error)
        self.on_trial_end(trial)

    def search_space_summary(self, extended: bool = False) -> None:
        """Says nothing: stdout is for results."""

    def results_summary(self, num_trials: int = 10) -> None:
        """Says nothing: stdout is for results."""


class _BayesianOracle(keras_tuner.oracles.BayesianOptimizationOracle):
    """Proposes nothing twice, which Keras Tuner's does where choices are few."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        proposed: dict[str, Any] = super().populate_space(trial_id)
        if any(trial.hyperparameters.values == proposed["values"] for trial in self.trials.values()):
            return dict(keras_tuner.oracles.RandomSearchOracle.populate_space(self, trial_id))
        return proposed


def oracle_of(settings: TuningConfig, seed: int) -> keras_tuner.Oracle:
    """What proposes the values of a search."""
    space = keras_tuner.HyperParameters()
    for key, domain in settings.space.items():
        _declare(space, key, domain)
    arguments = {
        "objective": keras_tuner.Objective(settings.objective, settings.direction),
        "max_trials": settings.max_trials,
        "hyperparameters": space,
        # Keras Tuner takes consecutive seeds for consecutive values, and chooses one itself instead of 0.
        "seed": 1 + int.from_bytes(hashlib.sha256(f"tuning {seed}".encode()).digest()[:3], "big"),
        "max_retries_per_trial": 0,
        "max_consecutive_failed_trials": settings.max_trials + 1,
    }
    if settings.algorithm == "random":
        return keras_tuner.oracles.RandomSearchOracle(**arguments)
    initial = settings.initial_points or max(3, len(settings.space) + 1)
    return _BayesianOracle(num_initial_points=initial, **arguments)


def _declare(space: keras_tuner.HyperParameters, key: str, domain: Domain) -> None:
    if not isinstance(domain, Range):
        space.Choice(key, choices_of(domain))
    elif domain.whole:
        space.Int(key, domain.min, domain.max, sampling="log" if domain.log else "linear")
    else:
        space.Float(key, domain.min, domain.max, sampling="log" if domain.log else "linear")


def _all_failed(outcomes: Sequence[Outcome]) -> str:
    reasons = Counter(str(outcome.reason) for outcome in outcomes).most_common(_MAX_REASONS)
    lines = "\n".join(f"  - {count} of {len(outcomes)}: {reason}" for reason, count in reasons)
    fix = "change tuning.space or the run file by these reasons; the same command tries all trials again"
    return f"every trial failed; expected at least one with a finite score:\n{lines}\nFix: {fix}"
