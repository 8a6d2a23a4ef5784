"""Who takes part in a run of several processes, as TF_CONFIG says, and which of them answer."""

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
"""So long a process waits for the others to start."""
LOST_AFTER_S = 30.0
"""So long all workers may be away before a run gives up; one that is back goes on."""
_LOOK_EVERY_S = 5.0
_ANSWER_S = 2.0
_EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'
_PAGE = "set it in the environment of every process, each with its own task; see docs/distributed.md"


@dataclass(frozen=True)
class Cluster:
    """The processes of a run, and which of them this one is.

    Args:
      jobs: for each of `chief`, `worker` and `ps` the addresses `host:port` of its processes.
      job: of this process.
      index: of this process in its job.
    """

    jobs: Mapping[str, tuple[str, ...]]
    job: str
    index: int

    @property
    def name(self) -> str:
        """This process, e.g. `worker 1`."""
        return f"{self.job} {self.index}"

    @property
    def address(self) -> str:
        return self.jobs[self.job][self.index]

    @property
    def is_chief(self) -> bool:
        """Whether it writes the run; without a job `chief` that is worker 0."""
        return self.index == 0 and self.job == ("chief" if "chief" in self.jobs else "worker")

    def addresses(self, jobs: Collection[str] = ("chief", "worker", "ps")) -> dict[str, str]:
        """Addresses of the other processes of some jobs, by name."""
        named = {
            f"{job} {index}": address
            for job, addresses in self.jobs.items()
            if job in jobs
            for index, address in enumerate(addresses)
        }
        named.pop(self.name, None)
        return named

    def silent(self, jobs: Collection[str] = ("chief", "worker", "ps")) -> dict[str, str]:
        """Of the other processes of some jobs those to which nobody can connect."""
        return {name: address for name, address in self.addresses(jobs).items() if not answers(address)}


def cluster_of(kind: ClusterKind, environment: Mapping[str, str] | None = None) -> Cluster:
    """The cluster that TF_CONFIG describes.

    Args:
      kind: `multi_worker` takes workers, one of which may be called chief; `parameter_server` takes one
        chief, workers and ps.
      environment: None: this process's.

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


def answers(address: str) -> bool:
    """True if something listens there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def present(cluster: Cluster) -> Iterator[None]:
    """Answers at this process's address, until TensorFlow does so itself.

    Raises:
      InputError: something else answers there.
    """
    port = int(cluster.address.rpartition(":")[2])
    try:
        listener = socket.create_server(("", port), backlog=64)
    except OSError as error:
        where = f"TF_CONFIG, {cluster.name} at {cluster.address}"
        fix = "end the process that holds the port, perhaps a run of before, or choose another"
        raise InputError(where, str(error), "a port that nobody uses", fix) from error

    def accept() -> None:
        with contextlib.suppress(OSError):  # Closed, below.
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
    """Waits until each other process of some jobs has answered once.

    Raises:
      ConsortError: one of them did not.
    """
    missing, started, told = cluster.addresses(jobs), time.monotonic(), 0.0
    while missing := {name: address for name, address in missing.items() if not answers(address)}:
        waited = time.monotonic() - started
        if waited > patience_s:
            raise ConsortError(
                f"{listed(missing)} did not start within {patience_s:.0f} s; expected every process of TF_CONFIG. "
                "Fix: start the same command on each, with its own task in TF_CONFIG, and look whether hosts and "
                "ports can be reached"
            )
        if waited >= told:
            say(f"waiting for {listed(missing)}")
            told = waited + 30
        time.sleep(0.2)


def listed(processes: Mapping[str, str]) -> str:
    """Names with addresses."""
    return ", ".join(f"{name} ({address})" for name, address in processes.items())


def lost(processes: Mapping[str, str]) -> ConsortError:
    """What a process says that can't go on without others."""
    return ConsortError(
        f"lost {listed(processes)}; expected every process to go on until the end. Fix: look there for the reason, "
        "then start the same command again on each process; the run continues from its last checkpoint"
    )


class WorkerMonitor:
    """Looks, now and then while a round lasts, whether the other processes still answer."""

    def __init__(self, cluster: Cluster):
        self._cluster = cluster
        self._told: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """A round begins to wait."""
        self._looked = time.monotonic()
        self._away_since: float | None = None

    def look(self) -> None:
        """Tells of each lost worker once.

        Raises:
          ConsortError: a parameter server is lost, or all workers are.
        """
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return
        servers, workers = self._cluster.silent(("ps",)), self._cluster.silent(("worker",))
        if servers:
            raise lost(servers)
        self._check(workers)
        new = {name: address for name, address in workers.items() if name not in self._told}
        if new:
            go_on = len(workers) < len(self._cluster.jobs["worker"])
            then = "the others go on" if go_on else f"waiting {LOST_AFTER_S:.0f} s for it to come back"
            _LOG.warning("lost %s; %s", listed(new), then)
        self._told, self._looked = set(workers), time.monotonic()

    def _check(self, silent: dict[str, str]) -> None:
        now = time.monotonic()
        if not silent:
            self._away_since = None
        elif self._away_since is None and len(silent) == len(self._cluster.jobs["worker"]):
            self._away_since = now
        # Once all were away TensorFlow goes on only when all are back.
        if self._away_since is not None and now - self._away_since > LOST_AFTER_S:
            raise lost(silent)
