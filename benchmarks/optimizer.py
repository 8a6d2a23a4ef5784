"""Quality with lazy Adam and with bfloat16: AUC after one pass over a simulated click log."""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from evaluation.pointwise import auc, logloss
from models.registry import build_model
from models.training.compiling import compile_model, precision
from models.training.fit import fit
from models.training.losses import ClickLoss
from runs.provenance import machine
from simulation.ctr_world import ClickLogWorld
from simulation.parameters import TRUTH, ClickLogParameters
from transforms.features import LABEL

VARIANTS = ("lazy", "lazy_other_weights", "dense", "lazy_bfloat16")
"""Other initial weights show how much of a difference is chance."""

LEARNING_RATE = 1e-3
_OTHER_WEIGHTS = 1_000_003
_SCORED_AT_ONCE = 20_000
_Columns = dict[str, np.ndarray]


def bench_optimizer(
    rows: int = 2_000_000,
    test_rows: int = 500_000,
    batch_size: int = 1000,
    repeats: int = 3,
    seed: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measures DeepFM's AUC on unseen rows after one pass with lazy Adam, dense Adam, and lazy Adam in bfloat16.

    Each repeat has another world, other rows and other initial weights, which the three share; a fourth model differs
    from the first in its weights alone.

    Args:
      rows: to train on, rounded down to full batches.
      test_rows: to measure on.
      batch_size: rows of a step.
      repeats: differences are reported for each, and as their mean.
      seed: of the first repeat; the others count up.
      say: receives progress messages.
    """
    aucs: dict[str, list[float]] = {variant: [] for variant in (*VARIANTS, "oracle")}
    loglosses: dict[str, list[float]] = {variant: [] for variant in (*VARIANTS, "oracle")}
    for repeat in range(seed, seed + repeats):
        world = ClickLogWorld(ClickLogParameters(), repeat)
        train, test = world.sample(rows // batch_size * batch_size, 2 * repeat), world.sample(test_rows, 2 * repeat + 1)
        for variant in (*VARIANTS, "oracle"):
            scores = test[TRUTH] if variant == "oracle" else _trained(variant, world, train, test, batch_size, repeat)
            aucs[variant].append(_defined(auc(test[LABEL], scores)))
            loglosses[variant].append(_defined(logloss(test[LABEL], scores)))
            say(f"seed {repeat}, {variant}: AUC {aucs[variant][-1]:.5f}, log loss {loglosses[variant][-1]:.5f}")
    return {
        **_difference("lazy_to_dense", aucs["lazy"], aucs["dense"]),
        **_difference("bfloat16_to_float32", aucs["lazy_bfloat16"], aucs["lazy"]),
        **_difference("other_weights_to_lazy", aucs["lazy_other_weights"], aucs["lazy"]),
        "auc": aucs,
        "logloss": loglosses,
        "settings": {
            "rows": rows,
            "test_rows": test_rows,
            "batch_size": batch_size,
            "learning_rate": LEARNING_RATE,
            "seeds": list(range(seed, seed + repeats)),
            "ids": sum(category.ids for category in ClickLogParameters().categories),
        },
        "machine": machine(),
    }


def _difference(name: str, one: list[float], other: list[float]) -> dict[str, Any]:
    each = [a - b for a, b in zip(one, other, strict=True)]
    return {
        f"auc_{name}": statistics.fmean(each),
        f"auc_{name}_largest": max(each, key=abs),
        f"auc_{name}_each": each,
    }


def _trained(
    variant: str, world: ClickLogWorld, train: _Columns, test: _Columns, batch_size: int, seed: int
) -> np.ndarray:
    """Trains a variant and returns its click probabilities of the test rows."""
    keras.backend.clear_session()
    with precision("mixed_bfloat16" if variant == "lazy_bfloat16" else "float32"):
        weights = seed + _OTHER_WEIGHTS if variant == "lazy_other_weights" else seed
        model = build_model("deepfm", world.model_inputs, world.table_sizes, seed=weights)
    if variant == "dense":
        # Keras' Adam: in each step the moments of every row decay, and every row is updated.
        model.compile(keras.optimizers.Adam(LEARNING_RATE, epsilon=1e-7), ClickLoss())
    else:
        compile_model(model, LEARNING_RATE)
    names = [item.name for item in world.model_inputs]
    batches = tf.data.Dataset.from_tensor_slices(
        (
            {name: train[name].reshape(-1, batch_size) for name in names},
            train[LABEL].reshape(-1, batch_size),
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            lambda _: batches.prefetch(2),
            None,
            Path(folder),
            epochs=1,
            learning_rate=LEARNING_RATE,
            checkpoint_steps=len(train[LABEL]),
            seed=seed,
            progress=False,
        )
    return _scores(model, {name: test[name] for name in names})


def _scores(model: keras.Model, features: _Columns) -> np.ndarray:
    @tf.function(autograph=False, reduce_retracing=True)
    def score(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.sigmoid(model(batch, training=False))

    parts = []
    for start in range(0, len(next(iter(features.values()))), _SCORED_AT_ONCE):
        batch = {name: tf.constant(values[start : start + _SCORED_AT_ONCE]) for name, values in features.items()}
        parts.append(score(batch).numpy())
    return np.concatenate(parts)


def _defined(value: float | None) -> float:
    if value is None:
        raise ValueError("the test rows are all clicked or all not; expected both; take more rows")
    return value
