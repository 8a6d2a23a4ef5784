"""The role of this process in a run that is spread over several, by `training.distribution` and TF_CONFIG."""

import contextlib
import faulthandler
import sys
import time
from collections.abc import Callable, Iterator

import tensorflow as tf

from models.training.cluster import (
    Cluster,
    ClusterKind,
    cluster_of,
    is_reachable,
    listening,
    lost_error,
    wait_for,
)
from models.training.distribution import DistributionName, raise_on_lost_worker, strategy_of
from runs.config import RunConfig
from transforms.errors import InputError

CONNECT_PATIENCE_S = 120.0
"""Seconds within which TensorFlow must connect the processes, once all have answered."""
AWAY_PATIENCE_S = 15.0
"""Seconds without an answer of the chief, whose address TensorFlow takes over when training begins."""


_connected = False


def is_connected() -> bool:
    """True if TensorFlow in this process is connected to others; if they are gone, it takes minutes to end."""
    return _connected


class ProcessRole:
    """The role of this process in a run: the only process, the chief, a worker or a parameter server.

    Args:
      distribution: how the run is spread.
      say: receives lines for the user.

    Raises:
      InputError: a distribution over processes without a TF_CONFIG that describes them.
    """

    def __init__(self, distribution: DistributionName, say: Callable[[str], None] = lambda text: None):
        self.distribution, self._say = distribution, say
        kinds: dict[str, ClusterKind] = {"multi_worker": "multi_worker", "parameter_server": "parameter_server"}
        self.cluster: Cluster | None = cluster_of(kinds[distribution]) if distribution in kinds else None
        self._presence = contextlib.ExitStack()
        self._strategy: tf.distribute.Strategy | None = None

    @property
    def is_chief(self) -> bool:
        """True if this process transforms, writes and exports."""
        return self.cluster is None or self.cluster.is_chief

    @property
    def is_server(self) -> bool:
        """True if this process only serves the chief."""
        return self.distribution == "parameter_server" and not self.is_chief

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Waits for the other processes; an error inside that comes of a lost process names it.

        Raises:
          ConsortError: a process did not start, or is gone.
        """
        if self.cluster is None:
            yield
            return
        with self._presence, raise_on_lost_worker(self.cluster):
            self._presence.enter_context(listening(self.cluster))
            wait_for(self.cluster, tuple(self.cluster.jobs), self._say)
            if self.distribution == "multi_worker":
                # TensorFlow wants to know of collectives before it has done anything else.
                self.strategy()
            yield

    def strategy(self) -> tf.distribute.Strategy:
        """The strategy to train under; made once.

        Raises:
          ConsortError: the other processes are gone.
        """
        if self._strategy is None:
            self._presence.close()
            with self._guarded():
                self._strategy = strategy_of(self.distribution, self.cluster)
        return self._strategy

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        global _connected
        if self.cluster is None:
            yield
            return
        _connected = True
        self._say(f"{self.cluster.name} connects; it ends if that takes more than {CONNECT_PATIENCE_S:.0f} s")
        # TensorFlow waits an hour for a process that dies just now, and lets no other Python code run meanwhile.
        faulthandler.dump_traceback_later(CONNECT_PATIENCE_S, exit=True, file=sys.__stderr__ or sys.stderr)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    def wait_until(self, there: Callable[[], bool]) -> None:
        """Waits until the chief has done what `there` looks for.

        Raises:
          ConsortError: the chief is gone.
        """
        seen = time.monotonic()
        while not there():
            if self._chief_answers():
                seen = time.monotonic()
            elif time.monotonic() - seen > AWAY_PATIENCE_S:
                raise lost_error(self._chief)
            time.sleep(0.5)

    def run_server(self, finished: Callable[[], bool]) -> None:
        """Serves the chief until it is done.

        Args:
          finished: returns True once the run's result is there.

        Raises:
          InputError: the port is taken.
          ConsortError: the chief did not come, or is gone before its work was done.
        """
        cluster = self._required_cluster
        name, address = cluster.name, cluster.address
        spec = tf.train.ClusterSpec({job: list(addresses) for job, addresses in cluster.jobs.items()})
        global _connected
        _connected = True
        try:
            server = tf.distribute.Server(spec, job_name=cluster.job, task_index=cluster.index)
        except tf.errors.OpError as error:
            fix = "end the process that holds the port, perhaps an earlier run, or choose another"
            raise InputError(f"TF_CONFIG, {name} at {address}", error.message, "a free port", fix) from error
        self._say(f"{name} serves at {server.target}")
        wait_for(cluster, ("chief",), self._say)
        self.wait_until(lambda: not self._chief_answers() and finished())

    @property
    def _required_cluster(self) -> Cluster:
        if self.cluster is None:
            raise ValueError(f"distribution {self.distribution!r} has one process; expected several; ask for none")
        return self.cluster

    @property
    def _chief(self) -> dict[str, str]:
        """The chief's name and address, if it is another process."""
        first = "chief 0" if "chief" in self._required_cluster.jobs else "worker 0"
        return {name: address for name, address in self._required_cluster.addresses().items() if name == first}

    def _chief_answers(self) -> bool:
        return all(map(is_reachable, self._chief.values()))


def check_one_process(config: RunConfig, where: str) -> None:
    """Refuses a run that is to be spread over processes where there is one.

    Raises:
      InputError: it is.
    """
    if config.training.distribution in ("multi_worker", "parameter_server"):
        fix = "spread it by `consort train`, started on every machine, or choose another distribution"
        raise InputError(f"training.distribution, {where}", repr(config.training.distribution), "none or mirrored", fix)
