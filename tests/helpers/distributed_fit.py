"""Fits small models in several processes on loopback; and the same ones in this process, to compare.

`python -m tests.helpers.distributed_fit DISTRIBUTION FOLDER CASE...`, with TF_CONFIG where it takes one.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.source_tree import ROOT

PATIENCE_S = 250.0
SIZES = {"items": 70_000, "users": 12}
"""So many rows that parameter servers share them."""
STEPS = 10
Jobs = dict[str, list[str]]


def rows(epoch: int, size: int = 8 * STEPS - 7) -> Any:
    """Batches of 8, the last one of a single row: with two replicas a part of it is empty."""
    import tensorflow as tf

    random = np.random.default_rng(epoch)
    users, items = random.integers(0, 12, size), random.integers(0, 40, size) * 1_700
    lengths = random.integers(0, 4, size)
    history = tf.RaggedTensor.from_row_lengths(random.integers(0, 40, lengths.sum()) * 1_700, lengths)
    price = random.normal(size=size).astype(np.float32)
    label = ((users + items // 1_700) % 2 == 0).astype(np.float32)
    features = {"user": users, "item": items, "history": history, "price": price}
    return tf.data.Dataset.from_tensor_slices((features, label)).batch(8)


def bad_rows(epoch: int) -> Any:
    """Batches of 8, of which the third has a price that is no number, in its first half."""
    import tensorflow as tf

    def spoilt(index: Any, batch: Any) -> Any:
        features, label = batch
        price = tf.where((index == 2) & (tf.range(tf.size(label)) == 1), float("nan"), features["price"])
        return {**features, "price": price}, label

    return rows(epoch).enumerate().map(spoilt)


def requests(epoch: int, size: int = 8 * STEPS - 3) -> Any:
    """Batches of 8 requests; most of the weight lies on those of odd position, so that parts weigh unequally."""
    import tensorflow as tf

    random = np.random.default_rng(epoch)
    users, items = random.integers(0, 12, size), random.integers(0, 40, (size, 5)) * 1_700
    label = ((users[:, None] + items // 1_700) % 2 == 0).astype(np.float32)
    exposed = random.random((size, 5)) < np.where(np.arange(size) % 8 < 4, 0.1, 0.9)[:, None]
    return tf.data.Dataset.from_tensor_slices(({"user": users, "item": items}, label, exposed)).batch(8)


def padded_requests(epoch: int) -> Any:
    """As `requests`, with many of the candidates of even requests padding, so that parts have unlike real ones."""
    import tensorflow as tf

    def padded(features: Any, label: Any, exposed: Any) -> Any:
        places, requests = tf.range(5), tf.range(tf.shape(label)[0])
        real = places < tf.where((requests % 8 < 4)[:, tf.newaxis], 1 + requests[:, tf.newaxis] % 2, 5)
        return {**features, "candidate": tf.cast(real, tf.int64)}, label, exposed & real

    return requests(epoch).map(padded)


def deepfm(**options: Any) -> Any:
    """A DeepFM on `rows`."""
    from models.ranking.deepfm import DeepFM

    inputs = (_input("user"), _input("item"), _input("history"), _input("price"))
    return DeepFM(inputs, SIZES, embedding_dim=3, hidden_units=(6,), embedding_l2=1e-2, **options)


def group() -> Any:
    """Two peers of different classes on `requests`."""
    from models.cotraining.mutual_learning import MutualLearning
    from models.ranking.dcn import DCN
    from models.ranking.deepfm import DeepFM

    inputs = (_input("user"), _input("item", "candidates"))
    first = DeepFM(inputs, SIZES, embedding_dim=3, hidden_units=(6,), embedding_l2=1e-2, seed=1)
    return MutualLearning([first, DCN(inputs, SIZES, embedding_dim=2, hidden_units=(5,), seed=2)], mutual_weight=3.0)


def normalised() -> Any:
    """A DeepFM on `padded_requests` that normalises over the batch."""
    from models.ranking.deepfm import DeepFM

    inputs = (_input("user"), _input("item", "candidates"))
    return DeepFM(inputs, SIZES, embedding_dim=3, hidden_units=(6,), batch_norm=True)


def _input(name: str, shape: str | None = None) -> Any:
    from transforms.features import ModelInput

    vocabulary = {"user": "users", "item": "items", "history": "items", "price": None}[name]
    shape = shape or ("ragged" if name == "history" else "scalar")
    return ModelInput(name=name, vocabulary=vocabulary, shape=shape, entity="user" if vocabulary == "users" else "item")


CASES: dict[str, tuple[Callable[[], Any], Callable[[int], Any], dict[str, Any]]] = {
    "deepfm": (deepfm, rows, {}),
    "batch_norm": (lambda: deepfm(batch_norm=True), lambda epoch: rows(epoch, 8 * STEPS - 5), {"optimizer": "ftrl"}),
    "padded_requests": (normalised, padded_requests, {"optimizer": "ftrl"}),
    "dropout": (lambda: deepfm(dropout=0.3), rows, {}),
    "mutual_learning": (group, requests, {"optimizer": "adagrad", "learning_rate": 0.1}),
    "bad_price": (deepfm, bad_rows, {"checkpoint_steps": 1}),
    "long": (deepfm, lambda epoch: rows(epoch, 8 * 400), {"epochs": 3, "checkpoint_steps": 100}),
}
"""A model, its batches of an epoch, and arguments of `fit`."""


def fit_case(case: str, folder: Path, strategy: Any = None) -> dict[str, Any]:
    """Fits a case; gives its history, its weights and whether its table lies in shards."""
    import tensorflow as tf

    from models.training.distribution import unshard, worker_shard
    from models.training.fit import fit

    build, batches, options = CASES[case]
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = build()
    result = fit(
        model,
        lambda epoch: worker_shard(batches(epoch), strategy),
        worker_shard(batches(99), strategy),
        folder / case,
        **{"epochs": 2, "learning_rate": 0.01, "progress": False, "checkpoint_steps": 4, **options},
    )
    metrics = {id(weight) for metric in model.metrics for weight in metric.weights}
    weights = [weight for weight in model.weights if id(weight) not in metrics]
    return {
        "history": result.history,
        "weights": [tf.convert_to_tensor(weight).numpy().tolist() for weight in unshard(weights)],
        "shards": len(getattr(model.embeddings.table, "variables", [None])),
        "step": int(model.optimizer.iterations.numpy()),
        "resumed_from": result.resumed_from,
    }


def main() -> None:
    """One process of a cluster; the chief writes FOLDER/CASE.json, and each the error that ends a case."""
    distribution, folder, cases = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    import tensorflow as tf

    from runs.workers import ProcessRole
    from transforms.errors import ConsortError

    if distribution == "mirrored":
        (device,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)
    role = ProcessRole(distribution, lambda text: print(text, file=sys.stderr))  # type: ignore[arg-type]
    if role.is_server:
        role.run_server((folder / f"{cases[-1]}.json").exists)
        return
    with role.connected():
        for case in cases:
            try:
                found = fit_case(case, folder, role.strategy())
            except ConsortError as error:
                (folder / f"{case} {os.getpid()}.error").write_text(str(error))
                continue
            if role.is_chief:
                (folder / f"{case}.json").write_text(json.dumps(found))
    print("done", file=sys.stderr)


def free_jobs(**counts: int) -> Jobs:
    """Addresses on loopback that nobody uses."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(sum(counts.values()))]
        ports = iter([listener.getsockname()[1] for listener in listeners])
        return {job: [f"127.0.0.1:{next(ports)}" for _ in range(count)] for job, count in counts.items()}


def tf_config(jobs: Mapping[str, Sequence[str]], job: str, index: int) -> str:
    """TF_CONFIG of one process."""
    return json.dumps({"cluster": jobs, "task": {"type": job, "index": index}})


class Processes:
    """Processes of one run, by name such as `worker 0`; what they say goes to files."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[object], jobs: Jobs | None = None) -> None:
        """Starts `python -m COMMAND`; with jobs as the one of them that its name says."""
        job, _, index = name.partition(" ")
        extra = {} if jobs is None else {"TF_CONFIG": tf_config(jobs, job, int(index))}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_USE_LEGACY_KERAS": "1", **extra}
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", *map(str, command)],
                cwd=self._folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """Ends one with SIGKILL."""
        process = self._running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def codes(self, patience_s: float = PATIENCE_S) -> dict[str, int]:
        """Waits for all; gives their exit codes. One that does not end in time is a failure."""
        deadline = time.monotonic() + patience_s
        try:
            return {
                name: process.wait(max(0.1, deadline - time.monotonic())) for name, process in self._running.items()
            }
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"not ended in {patience_s} s: {self.said()}") from error

    def said(self) -> dict[str, str]:
        """What each has said so far."""
        return {path.stem: path.read_text()[-3000:] for path in sorted(self._folder.glob("*.log"))}

    def wait_for_words(self, name: str, words: str) -> None:
        """Waits until one of them has said something, whether or not it ends after it."""
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.said().get(name, ""):
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def wait_for(self, there: Callable[[], bool]) -> None:
        """Waits for something that one of them does."""
        deadline = time.monotonic() + PATIENCE_S
        while not there():
            ended = {name: process.poll() for name, process in self._running.items() if process.poll() is not None}
            assert not ended and time.monotonic() < deadline, f"ended: {ended}; {self.said()}"
            time.sleep(0.01)


@contextlib.contextmanager
def processes(folder: Path) -> Iterator[Processes]:
    """Processes of which none is left at the end."""
    found = Processes(folder)
    try:
        yield found
    finally:
        for name in list(found._running):
            with contextlib.suppress(ProcessLookupError):
                found.kill(name)


if __name__ == "__main__":
    main()
