"""Strategies of tf.distribute, and what depends on them: the chief's work, shards of batches and tables, barriers."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import tensorflow as tf

from models.training.cluster import Cluster, lost_error
from transforms.errors import ConsortError

DistributionName = Literal["none", "mirrored", "multi_worker", "parameter_server"]
_DYING_S = 5.0
"""Patience with a broken connection: a process that is killed breaks it a moment before its port is closed."""
SHARDED_ROWS = 1 << 16
"""Tables of fewer rows are not sharded over parameter servers."""


def strategy_of(name: DistributionName, cluster: Cluster | None = None) -> tf.distribute.Strategy:
    """Returns the strategy to build and fit models under.

    Args:
      name: `none`; `mirrored`, a replica a GPU of this machine, or a logical CPU device where there is
        none; `multi_worker`, the same on several machines; `parameter_server`, weights on other machines.
      cluster: cluster of the latter two, from TF_CONFIG.

    Raises:
      ValueError: a strategy of several processes without a cluster.
    """
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if cluster is None:
        raise ValueError(f"distribution {name!r} has no cluster; expected that of TF_CONFIG; give `cluster_of(name)`")
    # The only resolver that knows the number of GPUs.
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver(rpc_layer="grpc")
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy(resolver)
    return tf.distribute.ParameterServerStrategy(resolver, table_partitioner(len(cluster.jobs["ps"])))


def table_partitioner(num_shards: int, min_rows: int = SHARDED_ROWS) -> Any:
    """Returns a partitioner that shards tables by rows, and no other variable: layers need their kernels unsharded."""

    def partition(shape: tf.TensorShape, dtype: tf.DType) -> list[int]:
        is_table = shape.rank == 2 and shape[0] >= min_rows
        return [num_shards if is_table else 1] + [1] * (shape.rank - 1)

    return partition


def cluster_under(strategy: tf.distribute.Strategy) -> Cluster | None:
    """Returns the processes that a strategy works with; None for a single process."""
    # With parameter servers TensorFlow keeps it elsewhere.
    resolver: Any = strategy.cluster_resolver or getattr(strategy, "_cluster_resolver", None)
    jobs = {} if resolver is None else resolver.cluster_spec().as_dict()
    if resolver is None or resolver.task_type not in jobs:
        return None
    return Cluster({job: tuple(addresses) for job, addresses in jobs.items()}, resolver.task_type, resolver.task_id)


def has_servers(strategy: tf.distribute.Strategy) -> bool:
    """Returns True if the weights are on parameter servers."""
    return isinstance(strategy, tf.distribute.ParameterServerStrategy)


def num_servers(strategy: tf.distribute.Strategy) -> int:
    """Returns the number of parameter servers; 0 where each process holds the weights itself."""
    cluster = cluster_under(strategy)
    return len(cluster.jobs["ps"]) if cluster is not None and has_servers(strategy) else 0


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns True if this process writes checkpoints, logs and models; the others must not."""
    cluster = cluster_under(strategy)
    return cluster is None or cluster.is_chief


def worker_shard(dataset: tf.data.Dataset, strategy: tf.distribute.Strategy) -> tf.data.Dataset:
    """Returns this worker's shard of each batch; the batches unchanged where workers do not train on shards.

    Every process must pass the same batches in the same order. The shards of a batch make up the batch; some are
    empty where a batch has fewer elements than there are processes.
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
    """Returns one of `count` consecutive slices of a batch."""
    position = tf.cast(position, tf.int64)
    first = tf.nest.flatten(batch)[0]
    size = first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first, out_type=tf.int64)[0]
    begin, end = size * position // count, size * (position + 1) // count
    return tf.nest.map_structure(lambda values: values[begin:end], batch)


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Waits until every process that trains on a shard has called it."""
    if cluster_under(strategy) is not None and not has_servers(strategy):
        ones = strategy.run(lambda: tf.ones([]))
        strategy.reduce(tf.distribute.ReduceOp.SUM, ones, axis=None)


def unshard(variables: Iterable[tf.Variable]) -> list[Any]:
    """Returns the variables with the shards of each table replaced by the table, once."""
    unsharded: dict[int, Any] = {}
    for variable in variables:
        table = variable._sharded_container() if hasattr(variable, "_sharded_container") else variable
        unsharded.setdefault(id(table), table)
    return list(unsharded.values())


def _unreachable(cluster: Cluster, patience_s: float) -> dict[str, str]:
    """Returns the processes that do not answer; checks again for a while if all do."""
    deadline = time.monotonic() + patience_s
    while not (unreachable := cluster.unreachable()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return unreachable


@contextlib.contextmanager
def raise_on_lost_worker(cluster: Cluster | None) -> Iterator[None]:
    """Turns TensorFlow's error about an aborted collective or call into one that names the lost process.

    Args:
      cluster: None: a single process.

    Raises:
      ConsortError: another process, or the connection to it, is lost.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if cluster is None:
            raise
        is_broken = isinstance(error, tf.errors.UnavailableError | tf.errors.AbortedError) or "Collective" in str(error)
        unreachable = _unreachable(cluster, _DYING_S if is_broken else 0.0)
        if unreachable:
            raise lost_error(unreachable) from error
        if is_broken:
            raise ConsortError(
                f"the connection to the other processes broke ({str(error)[:200]}). Fix: look at their output, then "
                "start the same command again on each process; the run continues from its last checkpoint"
            ) from error
        raise
