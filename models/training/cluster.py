"""The processes of a distributed run as TF_CONFIG lists them, and which of them are reachable."""

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from transforms.errors import ConsortError, InputError

_LOG = logging.getLogger(__name__)
ClusterKind = Literal["multi_worker", "parameter_server"]
START_PATIENCE_S = 600.0
"""Seconds that a process waits for the others to start."""
LOST_AFTER_S = 30.0
"""Seconds that all workers may be unreachable before a run gives up; one that returns continues."""
_CHECK_EVERY_S = 5.0
_ANSWER_S = 2.0
_EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'
_PAGE = "set it in the environment of every process, each with its own task; see docs/distributed.md"


@dataclass(frozen=True)
class Cluster:
    """The processes of a run, and the position of this one.

    Args:
      jobs: for each of `chief`, `worker` and `ps` the addresses `host:port` of its processes.
      job: name of this process's job.
      index: index of this process in its job.
    """

    jobs: Mapping[str, tuple[str, ...]]
    job: str
    index: int

    @property
    def name(self) -> str:
        """Name of this process, e.g. `worker 1`."""
        return f"{self.job} {self.index}"

    @property
    def address(self) -> str:
        return self.jobs[self.job][self.index]

    @property
    def is_chief(self) -> bool:
        """True if this process writes the run; without a job `chief` that is worker 0."""
        return self.index == 0 and self.job == ("chief" if "chief" in self.jobs else "worker")

    def addresses(self, jobs: Collection[str] = ("chief", "worker", "ps")) -> dict[str, str]:
        """Returns the addresses of the other processes of some jobs, by name."""
        named = {
            f"{job} {index}": address
            for job, addresses in self.jobs.items()
            if job in jobs
            for index, address in enumerate(addresses)
        }
        named.pop(self.name, None)
        return named

    def unreachable(self, jobs: Collection[str] = ("chief", "worker", "ps")) -> dict[str, str]:
        """Returns the other processes of some jobs that accept no connection."""
        return {name: address for name, address in self.addresses(jobs).items() if not is_reachable(address)}


def cluster_of(kind: ClusterKind, environment: Mapping[str, str] | None = None) -> Cluster:
    """Returns the cluster that TF_CONFIG describes.

    Args:
      kind: `multi_worker` takes workers, one of which may be called chief; `parameter_server` takes one
        chief, workers and ps.
      environment: None: that of this process.

    Raises:
      InputError: TF_CONFIG is missing, malformed, or describes another kind of cluster.
    """
    text = (os.environ if environment is None else environment).get("TF_CONFIG", "")
    if not text.strip():
        raise InputError(f"TF_CONFIG, for training.distribution {kind}", "nothing", f"JSON such as {_EXAMPLE}", _PAGE)
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InputError("TF_CONFIG", f"text that is not JSON ({error})", f"JSON such as {_EXAMPLE}", _PAGE) from error
    if not isinstance(values, dict) or not isinstance(values.get("cluster"), dict):
        raise InputError("TF_CONFIG", text, f'an object with "cluster" and "task", such as {_EXAMPLE}', _PAGE)
    jobs = {str(job): _addresses(job, addresses) for job, addresses in values["cluster"].items()}
    _check_jobs(kind, jobs)
    return Cluster(jobs, *_task(values.get("task"), jobs))


def _addresses(job: str, values: Any) -> tuple[str, ...]:
    expected = 'a list of addresses "host:port"'
    if not isinstance(values, list) or not values:
        raise InputError(f"TF_CONFIG, cluster.{job}", repr(values), expected, "give one address a process")
    for value in values:
        host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise InputError(f"TF_CONFIG, cluster.{job}", repr(value), expected, "give host and port")
    return tuple(values)


def _check_jobs(kind: ClusterKind, jobs: Mapping[str, tuple[str, ...]]) -> None:
    known, needed = ({"chief", "worker"}, {"worker"})
    expected = "worker, and perhaps one chief"
    if kind == "parameter_server":
        known, needed, expected = known | {"ps"}, {"chief", "worker", "ps"}, "one chief, worker and ps"
    if not needed <= set(jobs) <= known or len(jobs.get("chief", ("",))) != 1:
        received = ", ".join(f"{len(addresses)} {job}" for job, addresses in jobs.items()) or "no jobs"
        fix = "name these jobs; the chief evaluates, so there is no evaluator"
        raise InputError(f"TF_CONFIG, cluster, for training.distribution {kind}", received, expected, fix)
    everyone = [address for addresses in jobs.values() for address in addresses]
    twice = sorted({address for address in everyone if everyone.count(address) > 1})
    if twice:
        raise InputError("TF_CONFIG, cluster", f"{', '.join(twice)} twice", "one process an address", "correct it")


def _task(values: Any, jobs: Mapping[str, tuple[str, ...]]) -> tuple[str, int]:
    job, index = (values.get("type"), values.get("index")) if isinstance(values, dict) else (None, None)
    # Some launchers write the index as text.
    number = int(index) if isinstance(index, str) and index.isdigit() else index
    size = len(jobs.get(str(job), ()))
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < size:
        sizes = ", ".join(f"{name} 0 to {len(addresses) - 1}" for name, addresses in jobs.items())
        raise InputError("TF_CONFIG, task", repr(values), f"type and index of a process of the cluster: {sizes}", _PAGE)
    return str(job), number


def is_reachable(address: str) -> bool:
    """Returns True if something listens at an address."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def listening(cluster: Cluster) -> Iterator[None]:
    """Accepts connections at this process's address, until TensorFlow does so itself.

    Raises:
      InputError: something else listens there.
    """
    port = int(cluster.address.rpartition(":")[2])
    try:
        listener = socket.create_server(("", port), backlog=64)
    except OSError as error:
        where = f"TF_CONFIG, {cluster.name} at {cluster.address}"
        fix = "end the process that holds the port, perhaps an earlier run, or choose another"
        raise InputError(where, str(error), "a free port", fix) from error

    def accept() -> None:
        with contextlib.suppress(OSError):  # Closed below.
            while True:
                listener.accept()[0].close()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        # On Linux closing alone would leave `accept` waiting, and the port taken.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def wait_for(
    cluster: Cluster,
    jobs: Collection[str],
    say: Callable[[str], None] = lambda text: None,
    patience_s: float = START_PATIENCE_S,
) -> None:
    """Waits until each other process of some jobs has been reachable once.

    Raises:
      ConsortError: one of them did not.
    """
    missing, started, next_message = cluster.addresses(jobs), time.monotonic(), 0.0
    while missing := {name: address for name, address in missing.items() if not is_reachable(address)}:
        waited = time.monotonic() - started
        if waited > patience_s:
            raise ConsortError(
                f"{listed(missing)} did not start within {patience_s:.0f} s; expected every process of TF_CONFIG. "
                "Fix: start the same command on each, with its own task in TF_CONFIG, and look whether hosts and "
                "ports can be reached"
            )
        if waited >= next_message:
            say(f"waiting for {listed(missing)}")
            next_message = waited + 30
        time.sleep(0.2)


def listed(processes: Mapping[str, str]) -> str:
    """Returns names with addresses, as text."""
    return ", ".join(f"{name} ({address})" for name, address in processes.items())


def lost_error(processes: Mapping[str, str]) -> ConsortError:
    """Returns the error of a process that cannot continue without the given others."""
    return ConsortError(
        f"lost {listed(processes)}; expected every process to run until the end. Fix: look at their output, "
        "then start the same command again on each process; the run continues from its last checkpoint"
    )


class WorkerMonitor:
    """Checks periodically, while a round of steps is waited for, that the other processes are reachable."""

    def __init__(self, cluster: Cluster):
        self._cluster = cluster
        self._logged: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Starts the wait for a round."""
        self._checked = time.monotonic()
        self._all_lost_since: float | None = None

    def check(self) -> None:
        """Logs each lost worker once.

        Raises:
          ConsortError: a parameter server is lost, or all workers are.
        """
        if time.monotonic() - self._checked < _CHECK_EVERY_S:
            return
        servers, workers = self._cluster.unreachable(("ps",)), self._cluster.unreachable(("worker",))
        if servers:
            raise lost_error(servers)
        self._check_workers(workers)
        new = {name: address for name, address in workers.items() if name not in self._logged}
        if new:
            go_on = len(workers) < len(self._cluster.jobs["worker"])
            then = "the others go on" if go_on else f"waiting {LOST_AFTER_S:.0f} s for it to come back"
            _LOG.warning("lost %s; %s", listed(new), then)
        self._logged, self._checked = set(workers), time.monotonic()

    def _check_workers(self, unreachable: dict[str, str]) -> None:
        now = time.monotonic()
        if not unreachable:
            self._all_lost_since = None
        elif self._all_lost_since is None and len(unreachable) == len(self._cluster.jobs["worker"]):
            self._all_lost_since = now
        # Once all were unreachable TensorFlow continues only when all have returned.
        if self._all_lost_since is not None and now - self._all_lost_since > LOST_AFTER_S:
            raise lost_error(unreachable)
