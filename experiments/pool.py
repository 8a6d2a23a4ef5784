"""Tasks with prerequisites, in worker processes of a few threads each."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from transforms.errors import ConsortError
from transforms.one_keras import require_legacy_keras

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def run_tasks(
    tasks: Mapping[str, tuple[Any, ...]],
    needs: Mapping[str, Sequence[str]],
    work: Callable[..., Any],
    done: Callable[[str, Any], None],
    workers: int,
    threads: int = 1,
    tasks_per_worker: int = 12,
) -> None:
    """Runs `work(*arguments)` for each task, those first that others wait for.

    Args:
      tasks: arguments by name, in the order wanted.
      needs: names of tasks that must be done before one; those that are not among `tasks` are done.
      work: a function of a module; with several workers its arguments and its result are pickled.
      done: called with the name and the result of each as it ends, in this process.
      workers: processes; 0 works in this one, with the threads that it has.
      threads: of each worker process.
      tasks_per_worker: on average; then new processes take their place: TensorFlow gives not all memory back.

    Raises:
      ConsortError: a worker was ended from outside; what is done stays done.
    """
    if workers == 0:
        for name in _in_order(tasks, needs):
            done(name, work(*tasks[name]))
        return
    queue = _Queue(tasks, needs, work, done, workers)
    with _environment(threads):
        while queue.waiting:
            # Not `max_tasks_per_child`: Python 3.11 may then lose all workers, and wait for ever.
            queue.run_some(workers * tasks_per_worker)


@dataclass
class _Queue:
    """Tasks that are left. Args: as of `run_tasks`."""

    tasks: Mapping[str, tuple[Any, ...]]
    needs: Mapping[str, Sequence[str]]
    work: Callable[..., Any]
    done: Callable[[str, Any], None]
    workers: int

    def __post_init__(self) -> None:
        self.waiting, self._unfinished = list(self.tasks), set(self.tasks)

    def run_some(self, at_most: int) -> None:
        """Runs up to this number of the tasks, in new processes."""
        # Not forked: TensorFlow may run here already.
        with ProcessPoolExecutor(self.workers, get_context("spawn"), initializer=_start_worker) as pool:
            try:
                self._run_in(pool, at_most)
            except BrokenProcessPool as error:
                raise ConsortError(
                    "a worker process ended before its work was done, perhaps for lack of memory; expected it to "
                    "finish. Fix: fewer --workers; the same command goes on where this one ended"
                ) from error
            except BaseException:
                # Without this, what is queued would still be run.
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _run_in(self, pool: ProcessPoolExecutor, at_most: int) -> None:
        running, begun = dict[Future[Any], str](), 0
        while True:
            for name in [task for task in self.waiting if not self._unfinished.intersection(self.needs.get(task, ()))]:
                if len(running) == self.workers or begun == at_most:
                    break
                self.waiting.remove(name)
                running[pool.submit(self.work, *self.tasks[name])] = name
                begun += 1
            if not running:
                return
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                name = running.pop(future)
                self.done(name, future.result())
                self._unfinished.remove(name)


def _in_order(tasks: Mapping[str, tuple[Any, ...]], needs: Mapping[str, Sequence[str]]) -> Iterator[str]:
    left = list(tasks)
    while left:
        ready = next(task for task in left if not set(left).intersection(needs.get(task, ())))
        left.remove(ready)
        yield ready


def _start_worker() -> None:
    require_legacy_keras()
    # It warns of functions traced several times, which is what a worker is for.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Variables that the libraries read when a worker loads them."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class TimeLeft:
    """Estimates how long the rest takes, from what was done and how much work each part is.

    Args:
      work: units of work by name, and the kind whose units compare.
      workers: that share it.
    """

    def __init__(self, work: Mapping[str, tuple[str, float]], workers: int):
        self._work, self._workers = dict(work), workers
        self._seconds: dict[str, float] = {}
        self._units: dict[str, float] = {}
        self._left = dict(work)

    def add(self, name: str, seconds: float) -> None:
        """Takes a part that is done."""
        kind, units = self._left.pop(name)
        self._seconds[kind] = self._seconds.get(kind, 0.0) + seconds
        self._units[kind] = self._units.get(kind, 0.0) + units

    @property
    def seconds(self) -> float | None:
        """Estimate in seconds; None before anything was done."""
        total = sum(self._units.values())
        if not total:
            return None
        overall = sum(self._seconds.values()) / total
        pace = {kind: self._seconds[kind] / units for kind, units in self._units.items() if units}
        return sum(units * pace.get(kind, overall) for kind, units in self._left.values()) / self._workers
