"""Runs the trials of a search in child processes under one folder, and remembers the finished ones."""

import hashlib
import json
import os
import queue
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from runs.children import Children, import_environment, module_command
from runs.config import RunConfig
from runs.tuning.space import trial_config
from runs.tuning.trial import CHECKPOINTS, LOG, RESULT, TASK, Outcome, read_outcome, write_outcome
from transforms.errors import InputError
from transforms.features import FeatureSet
from transforms.files import write_text
from transforms.records import Items

_MODULE = "runs.tuning.trial"


@dataclass(frozen=True)
class TrialData:
    """What all trials share.

    Args:
      feature_set: the declaration, with the config's changes applied.
      transform: directory of the learned transform.
      train_files, eval_files: transformed TFRecords.
      dataset_sha256: of the raw data.
      raw_files: raw TFRecords of each split, in the order of time.
      items: the dataset's tables of items, with full paths.
      first_time: timestamp of the first event; None: not known.
    """

    feature_set: FeatureSet
    transform: str
    train_files: Sequence[str]
    eval_files: Sequence[str]
    dataset_sha256: str
    raw_files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    items: Items | None = None
    first_time: int | None = None


class TrialRunner:
    """Trains trials, each in a process of its own; a finished one is read, not run again.

    A failed trial counts as finished once another one has succeeded: before that the fault may lie outside.

    Args:
      folder: of the trials; each has one in it, with its task, log and result.
      config: the run, with its section `tuning`.
      data: what the trials train on.
      say: receives lines for the user; from several threads when trials run in parallel.

    Raises:
      InputError: more trials at once than GPUs, or a result that cannot be read.
    """

    def __init__(self, folder: Path, config: RunConfig, data: TrialData, say: Callable[[str], None]):
        self._folder, self._config, self._data, self._say = folder, config, data, say
        self._children = Children()
        self._places: queue.Queue[dict[str, str]] = queue.Queue()
        for place in places(config.tuning.parallel):
            self._places.put(place)
        self._finished = _finished(folder)

    def __call__(self, index: int, values: Mapping[str, Any]) -> Outcome:
        """The outcome of the trial with these values.

        Raises:
          ConsortError: the search was stopped meanwhile.
        """
        known = self._finished.get(_key(values))
        if known is not None:
            self._say(f"trial {index}: done before, {_told(known, self._config)}")
            return known
        place = self._places.get()
        try:
            self._say(f"trial {index}: {', '.join(f'{key}={value}' for key, value in values.items())}")
            outcome = self._run(index, values, place)
        finally:
            self._places.put(place)
        self._say(f"trial {index}: {_told(outcome, self._config)}")
        return outcome

    def close(self) -> None:
        """Ends the trials that run; they are not finished, and the next search goes on with them."""
        self._children.close()

    def _run(self, index: int, values: Mapping[str, Any], place: Mapping[str, str]) -> Outcome:
        folder, tuning = self._trial_folder(index, values), self._config.tuning
        (folder / RESULT).unlink(missing_ok=True)
        try:
            self._write_task(folder, values)
        except InputError as error:
            # Values that are right one by one and not together.
            outcome = Outcome("failed", dict(values), reason=str(error))
            write_outcome(folder, outcome)
            return outcome
        started = time.monotonic()
        command = module_command(_MODULE, str(folder))
        environment = {**import_environment(), **place}
        reason = self._children.run(command, folder / LOG, environment, tuning.memory_gb, tuning.timeout_s)
        if not (folder / RESULT).exists():
            seconds = time.monotonic() - started
            write_outcome(folder, Outcome("failed", dict(values), {}, seconds, reason or "ended without a result"))
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        return read_outcome(folder)

    def _trial_folder(self, index: int, values: Mapping[str, Any]) -> Path:
        name = hashlib.sha256(_key(values).encode()).hexdigest()[:8]
        # Another search may have begun the same trial under another number.
        begun = sorted(self._folder.glob(f"*-{name}"))
        return begun[0] if begun else self._folder / f"{index:04d}-{name}"

    def _write_task(self, folder: Path, values: Mapping[str, Any]) -> None:
        task = {
            "config": trial_config(self._config, values).model_dump(mode="json"),
            "hyperparameters": dict(values),
            "feature_set": self._data.feature_set.model_dump(mode="json"),
            "transform": self._data.transform,
            "train_files": list(self._data.train_files),
            "eval_files": list(self._data.eval_files),
            "raw_files": {split: list(files) for split, files in self._data.raw_files.items()},
            "items": self._data.items.model_dump(mode="json") if self._data.items else None,
            "dataset_sha256": self._data.dataset_sha256,
            "first_time": self._data.first_time,
        }
        write_text(folder / TASK, json.dumps(task, indent=2) + "\n")


def places(parallel: int, devices: Sequence[str] | None = None) -> list[dict[str, str]]:
    """Environments of the trials that run at the same time: a GPU each, or a share of the cores each.

    Args:
      parallel: so many.
      devices: of the GPUs, as CUDA_VISIBLE_DEVICES names them; None looks for them.

    Raises:
      InputError: more trials at once than GPUs.
    """
    devices = _gpus() if devices is None else devices
    if devices and parallel > len(devices):
        raise InputError("tuning.parallel", parallel, f"at most {len(devices)}, one trial a GPU", "lower it")
    if devices:
        return [{"CUDA_VISIBLE_DEVICES": device} for device in devices[:parallel]]
    if parallel == 1:
        return [{}]
    threads = str(max(1, len(os.sched_getaffinity(0)) // parallel))
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return [dict.fromkeys(names, threads) for _ in range(parallel)]


def _gpus() -> list[str]:
    count = len(tf.config.list_physical_devices("GPU"))
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return (named.split(",") if named else [str(number) for number in range(count)])[:count]


def _finished(folder: Path) -> dict[str, Outcome]:
    outcomes = []
    for path in sorted(folder.glob(f"*/{RESULT}")):
        try:
            outcomes.append(read_outcome(path.parent))
        except (TypeError, ValueError) as error:
            fix = "delete that file; the trial runs again"
            raise InputError(str(path), str(error), "a trial's result", fix) from error
    if not any(outcome.status == "completed" for outcome in outcomes):
        return {}
    return {_key(outcome.hyperparameters): outcome for outcome in outcomes}


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def _told(outcome: Outcome, config: RunConfig) -> str:
    if outcome.status == "failed":
        return f"failed: {outcome.reason}"
    objective = config.tuning.objective
    return f"{objective} {outcome.metrics[objective]:.6f} in {outcome.seconds:.1f} s"
