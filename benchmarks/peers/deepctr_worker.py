"""DeepCTR's DeepFM, trained as `Model.fit` trains it."""

import importlib.metadata
from typing import Any

import tensorflow as tf
import tf_keras as keras
from deepctr.feature_column import SparseFeat
from deepctr.models import DeepFM

from benchmarks.peers.task import Task, field_sizes, make_batches
from benchmarks.peers.worker import Run, serve


def prepare(task: Task) -> tuple[Run, dict[str, Any]]:
    """Keras' own training function over `tf.data`: what `fit` runs, without its callbacks."""
    tf.config.threading.set_intra_op_parallelism_threads(task.threads)
    tf.config.threading.set_inter_op_parallelism_threads(task.threads)
    keras.utils.set_random_seed(task.seed)
    names = [f"field_{field}" for field in range(task.fields)]
    columns = [SparseFeat(name, size, task.width) for name, size in zip(names, field_sizes(task))]
    # Its regularisers cover whole tables in each step; the common model has none.
    plain = {} if task.as_shipped else {"l2_reg_linear": 0.0, "l2_reg_embedding": 0.0, "l2_reg_dnn": 0.0}
    model = DeepFM(columns, columns, dnn_hidden_units=task.hidden_units, seed=task.seed, **plain)
    model.compile("adam", "binary_crossentropy")
    train, batches = model.make_train_function(), _batches(task, names)

    def run(steps: int) -> float:
        loss = float("nan")
        for _ in range(steps):
            loss = float(train(batches)["loss"])
        return loss

    about = {
        "versions": {name: importlib.metadata.version(name) for name in ("deepctr", "tensorflow", "tf-keras")},
        "optimizer": type(model.optimizer).__name__,
    }
    return run, about


def _batches(task: Task, names: list[str]) -> Any:
    ids, labels = make_batches(task)
    features = {name: ids[..., field, None].astype("int32") for field, name in enumerate(names)}
    return iter(tf.data.Dataset.from_tensor_slices((features, labels[..., None])).repeat().prefetch(2))


if __name__ == "__main__":
    serve(prepare)
