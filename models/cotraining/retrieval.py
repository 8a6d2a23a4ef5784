"""The recipe of retrieval: two towers that learn by a softmax over the catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models.cotraining.base import Recipe, Trained
from models.layers.table_start import EMBEDDING_STDDEV
from models.retrieval.catalogue_softmax import (
    CUT_OFFS,
    DAY,
    RECALL,
    SHOWN_RECALL,
    RetrievalOptions,
    RetrievalTraining,
)
from models.retrieval.tower_model import ScaledProduct, TowerModel
from models.training.fit import FitResult
from models.training.job import FitSettings, RetrievalData, TrainingJob

_CALIBRATED_ROWS = 200_000
_HALVINGS = 9


def recent_shares(data: RetrievalData, half_life: float) -> np.ndarray:
    """Returns the share of each trained item in the train clicks, of which a click of age a counts 2^(-a / half-life).

    It is mixed with 1 % of a uniform share, so that none is 0.

    Args:
      data: the clicks.
      half_life: in days; 0: all clicks count alike.
    """
    weights = np.ones(len(data.times))
    if half_life:
        weights = 0.5 ** ((data.times.max() - data.times) / DAY / half_life)
    counts = np.bincount(data.places, weights, minlength=data.trained_items)
    return np.asarray(0.99 * counts / counts.sum() + 0.01 / data.trained_items)


def best_half_life(data: RetrievalData) -> float:
    """Returns the half-life in days with which popularity in the train split best tells the clicks of the eval split.

    Compared are half-lives of 1, 1/2, ... 1/256 of the train split's time, and none (0), by the mean over eval clicks
    of ln p(item), with p the item's share by `recent_shares`.
    """
    known = data.eval_places[data.eval_places >= 0]
    span = float(np.ptp(data.times)) / DAY if len(data.times) else 0.0
    if not len(known) or span <= 0:
        return 0.0
    half_lives = (0.0, *(span / 2**halving for halving in range(_HALVINGS)))
    return max(half_lives, key=lambda one: float(np.log(recent_shares(data, one)[known]).mean()))


def train_retrieval(
    job: TrainingJob,
    towers: TowerModel,
    options: RetrievalOptions,
    settings: FitSettings,
    directory: Path,
    batch_size: int | None = None,
) -> tuple[FitResult, dict[str, Any]]:
    """Trains towers in place, and calibrates their logit.

    Args:
      job: of the run.
      towers: not yet built.
      options: of the softmax.
      settings: of this fit.
      directory: of its checkpoints.
      batch_size: None: that of the run.

    Returns:
      The result of the fit, and what to report.
    """
    if job.retrieval is None:
        raise ValueError("the job has no data for retrieval; expected the catalogue of the run; give it")
    data = job.retrieval(not options.log_loss_weight, batch_size)
    half_life = best_half_life(data) if options.half_life_days is None else options.half_life_days
    chosen = {**options.values(RetrievalOptions), "half_life_days": half_life}
    _start_embeddings(job, towers, options.embedding_stddev)
    if options.softmax_weight and not options.exposure_correction and len(data.places):
        _start_at_popularity(towers, data, options, half_life)
    model = RetrievalTraining(towers, data, _unknown_user(job, towers, options), job.seed, **chosen)
    recall = SHOWN_RECALL if options.exposure_correction else RECALL
    result = job.fit(
        model,
        directory,
        settings,
        job.seed,
        train_dataset=lambda epoch: data.train(job.seed, epoch),
        eval_dataset=data.eval,
        steps_per_epoch=data.steps_per_epoch,
        monitor=None if data.eval is None else f"{recall}@{CUT_OFFS[-1]}",
    )
    softmax = "full" if data.trained_items <= options.full_softmax_items else "mixed negatives"
    scale, bias = calibrate(towers, job.eval_dataset or job.train_dataset(job.seed, 0))
    report = {"half_life_days": half_life, "softmax": softmax, "items": data.trained_items}
    return result, {**report, "logit_scale": scale, "logit_bias": bias}


def _start_embeddings(job: TrainingJob, towers: TowerModel, stddev: float) -> None:
    """Widens the embeddings that the towers start with; those of unknown ids become 0."""
    towers.build_variables()
    embeddings = towers.embeddings
    if embeddings.number_vectors is not None:
        embeddings.number_vectors.assign(embeddings.number_vectors * (stddev / EMBEDDING_STDDEV))
    if embeddings.table is None:
        return
    known = np.zeros([embeddings.num_rows, 1], np.float32)
    for vocabulary, size in embeddings.table_sizes.items():
        first = embeddings.first_rows[vocabulary]
        known[first : first + job.in_vocabulary_ids.get(vocabulary, size)] = stddev / EMBEDDING_STDDEV
    embeddings.table.assign(embeddings.table * known)


def _start_at_popularity(towers: TowerModel, data: RetrievalData, options: RetrievalOptions, half_life: float) -> None:
    """Lets towers that can begin by retrieving what is popular lately, from which they learn to differ."""
    known = {one.name for one in towers.embeddings.inputs if one.vocabulary is not None and one.width is None}
    if options.item_feature not in data.items or options.item_feature not in known:
        return
    shares = recent_shares(data, half_life)
    ids = data.items[options.item_feature][: data.trained_items]
    rows, index = np.unique(ids, return_inverse=True)
    means = np.bincount(index, shares) / np.bincount(index)
    towers.initialize_item_bias(options.item_feature, rows, options.temperature * np.log(means / shares.min()))


def _unknown_user(job: TrainingJob, towers: TowerModel, options: RetrievalOptions) -> int | None:
    inputs = {one.name: one for one in towers.embeddings.inputs}
    user = inputs.get(options.user_feature)
    if user is None or user.vocabulary is None or user.width is not None or towers.roles[user.name] != "request":
        return None
    size = towers.embeddings.table_sizes[user.vocabulary]
    known = job.in_vocabulary_ids.get(user.vocabulary, size)
    return known if known < size else 0


def calibrate(towers: TowerModel, dataset: tf.data.Dataset) -> tuple[float, float]:
    """Sets the scale and the bias of the logit to those of least log loss; the scale stays above 0.

    Newton's method on ln(1 + exp(z)) - y z, z = scale <u, v> + bias, over at most some 200,000 rows.

    Args:
      towers: trained.
      dataset: rows with labels of both kinds; of one kind alone nothing is changed.

    Returns:
      Scale and bias.
    """
    similarity = towers.similarity
    products, labels, weights, rows = [], [], [], 0
    product = tf.function(lambda features: tf.reduce_sum(_pair(towers, features), axis=-1), autograph=False)
    for batch in dataset:
        features, label, weight = keras.utils.unpack_x_y_sample_weight(batch)
        products.append(product(features).numpy().astype(np.float64))
        labels.append(label.numpy().astype(np.float64))
        weights.append(np.ones(len(labels[-1])) if weight is None else weight.numpy().astype(np.float64))
        rows += len(labels[-1])
        if rows >= _CALIBRATED_ROWS:
            break
    if rows:
        fitted = _logistic(np.concatenate(products), np.concatenate(labels), np.concatenate(weights))
        if fitted is not None:
            similarity.scale.assign(fitted[0])
            similarity.bias.assign(fitted[1])
    return float(similarity.scale), float(similarity.bias)


def _pair(towers: TowerModel, features: Any) -> tf.Tensor:
    user, item = towers.both(towers.look_up(features), training=False)
    return tf.cast(user, tf.float32) * tf.cast(item[:, 0], tf.float32)


def _logistic(x: np.ndarray, y: np.ndarray, w: np.ndarray, least: float = 1e-3) -> tuple[float, float] | None:
    """Returns scale and bias of least log loss, the scale at least `least` over the spread of x."""
    total = w.sum()
    rate = (w * y).sum() / total if total else 0.0
    if not 0 < rate < 1:
        return None
    mean = (w * x).sum() / total
    spread = float(np.sqrt((w * (x - mean) ** 2).sum() / total)) or 1.0
    z, theta = (x - mean) / spread, np.array([0.0, np.log(rate / (1 - rate))])

    def loss(theta: np.ndarray) -> float:
        logits = theta[0] * z + theta[1]
        return float((w * (np.logaddexp(0, logits) - y * logits)).sum())

    for _ in range(50):
        p = 1 / (1 + np.exp(-(theta[0] * z + theta[1])))
        gradient = np.array([(w * (p - y) * z).sum(), (w * (p - y)).sum()])
        curve = w * p * (1 - p)
        hessian = np.array([[(curve * z * z).sum(), (curve * z).sum()], [(curve * z).sum(), curve.sum()]])
        step = np.linalg.solve(hessian + 1e-9 * total * np.eye(2), gradient)
        while loss(theta - step) > loss(theta) and np.abs(step).max() > 1e-12:
            step /= 2
        theta = theta - step
        if np.abs(step).max() < 1e-9:
            break
    if theta[0] < least:
        theta = np.array([least, np.log(rate / (1 - rate))])
    scale = theta[0] / spread
    return float(scale), float(theta[1] - scale * mean)


@dataclass(frozen=True)
class RetrievalRecipe(Recipe, RetrievalOptions):
    """Trains two towers to retrieve: clicked items against all others (`RetrievalTraining`).

    The weights of the epoch with the best `catalogue_recall@100` on the eval split (with `exposure_correction` the best
    `shown_recall@100`, by the score that also counts how often items are shown) are kept, and with
    `training.patience` training stops when it no longer gets better. At the end the logit is calibrated on the eval
    split's rows, shown items that were not clicked among them.
    """

    reads_raw_rows: ClassVar[bool] = True

    def row_widths(self, width: int) -> list[int]:
        return [width]

    def check(self, models: Sequence[Any]) -> None:
        check_towers(models[0])

    def train(self, job: TrainingJob, directory: Path) -> Trained:
        towers: Any = job.build(job.seed, None)
        result, report = train_retrieval(job, towers, self, job.settings, directory / "retrieval")
        return Trained(towers, result, {"recipe": "retrieval", "towers": type(towers).__name__, **report})


def check_towers(towers: Any) -> None:
    """Refuses what a softmax over the catalogue cannot train.

    Raises:
      ValueError: no towers, towers that are not compared by a product, or records of requests.
    """
    if not isinstance(towers, TowerModel) or not isinstance(towers.similarity, ScaledProduct):
        raise ValueError(
            f"the model is {type(towers).__name__}; expected two towers that are compared by a product; choose fism, "
            "dssm, dat or transformer_two_tower"
        )
    if any(one.shape.per_candidate for one in towers.embeddings.inputs):
        raise ValueError("records are requests; expected rows, as each click is looked for alone; set record to row")
