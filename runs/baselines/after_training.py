"""A model that was just trained, beside baselines on the eval split, before it is exported."""

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from evaluation.comparison import compare
from runs.baselines.beside import predictions, scores_of
from runs.baselines.ranking import Encode, Split
from runs.baselines.verdict import reported
from runs.data import Task
from runs.evaluate import extra_columns, prepared_of, score_files
from runs.plan import Plan
from serving.export.signatures import ServedModel

MAX_EXAMPLES = 100_000
"""Of the eval split that are compared: rows, or candidates of requests."""
_RESAMPLES = 100
_AT_ONCE = {"row": 8192, "request": 256}


def on_eval(plan: Plan, task: Task, model: keras.Model) -> dict[str, Any]:
    """Returns metrics of a model of rows or requests on the eval split, with `baselines`, `gain` and `warnings`.

    Args:
      plan, task: of the run.
      model: trained.
    """
    record, data = task.config.record, plan.dataset
    served = ServedModel(model, task.transform, task.feature_set, record)
    files, info = task.raw_files["eval"], data.records[record]["eval"]
    candidates = (data.feature_set.list_size or 1) if record == "request" else 1
    every = Split(files, info.records * candidates).every(MAX_EXAMPLES)
    extras = extra_columns(data.feature_set)
    scored = score_files(
        lambda examples: served.score(examples),
        files,
        data.feature_set,
        record,
        extras,
        _AT_ONCE[record],
        -(-info.records // every),
        every=every,
    )

    def encode() -> Encode:
        return lambda examples: {name: _dense(value) for name, value in served.features_of(examples).items()}

    identity = {"learned_on": data.sha256}
    fitted = predictions(plan.data_dir, data, task.feature_set, record, encode, files, identity, every)
    comparison = compare(prepared_of(scored), scores_of(scored, fitted), _RESAMPLES, task.config.seed)
    part = {"split": "eval", "one_record_of": every, "examples": len(scored.label)}
    return {**part, **comparison.metrics, **reported(comparison, {} if fitted is None else fitted.notes)}


def _dense(value: Any) -> np.ndarray:
    dense = value.to_tensor() if isinstance(value, tf.RaggedTensor) else value
    return np.asarray(dense)
