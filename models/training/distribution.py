"""Strategies of tf.distribute to train under, and what is then done by one process, or by each for its own part."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import tensorflow as tf

from models.training.cluster import Cluster, lost
from transforms.errors import ConsortError

DistributionName = Literal["none", "mirrored", "multi_worker", "parameter_server"]
_DYING_S = 5.0
"""A process that is killed breaks its connections a moment before its port is free."""
SHARDED_ROWS = 1 << 16
"""A table of fewer rows lies whole on one parameter server."""


def strategy_of(name: DistributionName, cluster: Cluster | None = None) -> tf.distribute.Strategy:
    """A strategy to build and fit models under.

    Args:
      name: `none`; `mirrored`, a replica a GPU of this machine, or a logical CPU device where there is
        none; `multi_worker`, the same on several machines; `parameter_server`, weights on other machines.
      cluster: of the latter two, from TF_CONFIG.

    Raises:
      ValueError: a strategy of several processes without a cluster.
    """
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if cluster is None:
        raise ValueError(f"distribution {name!r} has no cluster; expected that of TF_CONFIG; give `cluster_of(name)`")
    # Of the resolvers this one alone knows how many GPUs there are.
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver(rpc_layer="grpc")
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    return tf.distribute.ParameterServerStrategy(resolver, table_partitioner(len(cluster.jobs["ps"])))


def table_partitioner(num_shards: int, min_rows: int = SHARDED_ROWS) -> Any:
    """Cuts tables into shards of rows, and nothing else: layers work on their kernels as a whole."""

    def partition(shape: tf.TensorShape, dtype: tf.DType) -> list[int]:
        is_table = shape.rank == 2 and shape[0] >= min_rows
        return [num_shards if is_table else 1] + [1] * (shape.rank - 1)

    return partition


def cluster_under(strategy: tf.distribute.Strategy) -> Cluster | None:
    """The processes that a strategy works with; None if it is one alone."""
    # With parameter servers TensorFlow keeps it elsewhere.
    resolver: Any = strategy.cluster_resolver or getattr(strategy, "_cluster_resolver", None)
    jobs = {} if resolver is None else resolver.cluster_spec().as_dict()
    if resolver is None or resolver.task_type not in jobs:
        return None
    return Cluster({job: tuple(addresses) for job, addresses in jobs.items()}, resolver.task_type, resolver.task_id)


def has_servers(strategy: tf.distribute.Strategy) -> bool:
    """Whether the weights lie on parameter servers."""
    return isinstance(strategy, tf.distribute.ParameterServerStrategy)


def num_servers(strategy: tf.distribute.Strategy) -> int:
    """Parameter servers; 0 where each process has the weights itself."""
    cluster = cluster_under(strategy)
    return len(cluster.jobs["ps"]) if cluster is not None and has_servers(strategy) else 0


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes checkpoints, logs and models; the others must not."""
    cluster = cluster_under(strategy)
    return cluster is None or cluster.is_chief


def worker_shard(dataset: tf.data.Dataset, strategy: tf.distribute.Strategy) -> tf.data.Dataset:
    """This process's part of each batch, where each process trains on a part; the whole batches elsewhere.

    Every process must be given the same batches in the same order. The parts of a batch together are
    the batch; where a batch has fewer elements than there are processes some parts are empty.
    """
    cluster = cluster_under(strategy)
    if cluster is None or has_servers(strategy):
        return dataset
    workers = [(job, index) for job in ("chief", "worker") for index in range(len(cluster.jobs.get(job, ())))]
    position = workers.index((cluster.job, cluster.index))

    def cut(*batch: Any) -> Any:
        return slice_of(batch if len(batch) > 1 else batch[0], position, len(workers))

    return dataset.map(cut, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def slice_of(batch: Any, position: int | tf.Tensor, count: int) -> Any:
    """The elements of a batch that one of `count` takes: a consecutive piece."""
    position = tf.cast(position, tf.int64)
    first = tf.nest.flatten(batch)[0]
    size = first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first, out_type=tf.int64)[0]
    begin, end = size * position // count, size * (position + 1) // count
    return tf.nest.map_structure(lambda values: values[begin:end], batch)


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Returns when every process that trains on a part has come here."""
    if cluster_under(strategy) is not None and not has_servers(strategy):
        ones = strategy.run(lambda: tf.ones([]))
        strategy.reduce(tf.distribute.ReduceOp.SUM, ones, axis=None)


def unshard(variables: Iterable[tf.Variable]) -> list[Any]:
    """The same variables, a table that is cut into shards once, as one."""
    found: dict[int, Any] = {}
    for variable in variables:
        table = variable._sharded_container() if hasattr(variable, "_sharded_container") else variable
        found.setdefault(id(table), table)
    return list(found.values())


def _silent(cluster: Cluster, patience_s: float) -> dict[str, str]:
    """Who does not answer; where all do, it looks again for a while."""
    deadline = time.monotonic() + patience_s
    while not (silent := cluster.silent()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return silent


@contextlib.contextmanager
def raise_on_lost_worker(cluster: Cluster | None) -> Iterator[None]:
    """Says which process has gone, where TensorFlow says that a collective or a call was aborted.

    Args:
      cluster: None: there is no other process.

    Raises:
      ConsortError: another process has gone, or the connection to it.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if cluster is None:
            raise
        is_broken = isinstance(error, tf.errors.UnavailableError | tf.errors.AbortedError) or "Collective" in str(error)
        silent = _silent(cluster, _DYING_S if is_broken else 0.0)
        if silent:
            raise lost(silent) from error
        if is_broken:
            raise ConsortError(
                f"the connection to the other processes broke ({str(error)[:200]}). Fix: look at their output, then "
                "start the same command again on each process; the run continues from its last checkpoint"
            ) from error
        raise
