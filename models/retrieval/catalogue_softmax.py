"""Two towers that learn by a softmax over the catalogue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from models.configured_model import ConfiguredModel
from models.layers.replicas import batch_mean
from models.options import Count, Options
from models.retrieval.tower_model import TowerInput, TowerModel
from models.training.job import RetrievalData
from models.training.losses import Examples, cross_entropies
from transforms.features import CATALOGUE_PLACE, TIMESTAMP, ModelInput, Shape

CUT_OFFS = (10, 100)
RECALL, SHOWN_RECALL = "catalogue_recall", "shown_recall"
"""Recall in the catalogue by the score that is served, and by that which also counts how often items are shown."""
DAY = 86_400
_SCORES_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class RetrievalOptions(Options):
    """The options of a softmax over the catalogue.

    Args:
      temperature: t, by which products of vectors are divided in the softmax.
      half_life_days: days after which a click counts half as much, so that the softmax learns what is popular lately;
        0: all clicks count alike; None: chosen by the clicks of the eval split, see `best_half_life`.
      history_dropout: share of the events of each history that a training step leaves out.
      id_dropout: share of the rows whose user id is taken for an unknown one in a training step, so that new users get
        a good vector.
      log_loss_weight: weight of the log loss on all shown rows, which learns from refusals; above 0 all rows are read.
      softmax_weight: weight of the softmax.
      exposure_correction: gamma, the power of an item's impressions in the softmax, so that vectors need not explain
        what is clicked because it is shown often; 0 ignores them, 1 takes items to be shown regardless of the user. For
        logs of shown items; the best epoch is then that with the best `shown_recall@100`.
      full_softmax_items: largest catalogue whose items are all negatives in each step.
      negatives: uniform negatives a step for larger ones, beside the items of the batch.
      embedding_stddev: standard deviation of the embeddings at the start. Products of two small vectors have small
        gradients, so that it must be larger than where an MLP reads them; unknown ids start at 0.
      user_feature: id feature of the user for `id_dropout`.
      item_feature: id feature of the item, whose vectors begin with how popular it is lately (`fism`, without
        `exposure_correction`).
    """

    temperature: float = 1.0
    half_life_days: float | None = None
    history_dropout: float = 0.3
    id_dropout: float = 0.5
    log_loss_weight: float = 0.0
    softmax_weight: float = 1.0
    exposure_correction: float = 0.0
    full_softmax_items: Count = 50_000
    negatives: Count = 4096
    embedding_stddev: float = 0.05
    user_feature: str = "user_id"
    item_feature: str = "item_id"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; expected more than 0; products are divided by it")
        for name in ("history_dropout", "id_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a share in [0, 1); 0 turns it off")
        for name in ("half_life_days", "log_loss_weight", "softmax_weight", "exposure_correction", "embedding_stddev"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} is {value}; expected 0 or more; 0 turns it off")
        if not self.log_loss_weight and not self.softmax_weight:
            raise ValueError("log_loss_weight and softmax_weight are 0; expected a loss; give one of them a weight")


class RetrievalTraining(ConfiguredModel):
    """Two towers that learn to find each clicked item among all items.

    With u_i of the user of a clicked row i, v_j of the items and w_i the weight of a click of age a_i (half-life h):

      loss = sum_i w_i [ ln sum_j exp(s_ij) - s_i,item(i) ] / sum_i w_i,  s_ij = <u_i, v_j> / t,  w_i = 2^(-a_i / h)

    Of catalogues up to `full_softmax_items` j are all items that the train split shows. Of larger ones they are the
    batch's clicked items and some drawn uniformly, m of N; with p_j an item's share of clicks and B the batch's
    clicked rows, s_ij loses ln(B p_j + m / N), how often j is expected among them.

    With `exposure_correction` gamma, s_ij gains gamma ln n_j in the loss, with n_j the rows of the train split that
    show item j (1 for an item without any). If items were shown regardless of the user, clicks would be distributed
    as n_j exp(s_ij), and gamma would be 1. What is shown depends on the user, so that a smaller one is better.

    With `log_loss_weight` the log loss of scale <u, v> + bias on all rows is added.

    Reference: Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations" (RecSys
    2019); Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations" (WWW 2020).

    Args:
      towers: trained in place.
      data: items and clicks.
      unknown_user: id of an unknown user; None: no user id among the towers' inputs.
      seed: of what is dropped and drawn.
      **options: see `RetrievalOptions`; `half_life_days` must be given.

    Call arguments, output shape: as of the towers.
    """

    has_own_losses = True
    options: RetrievalOptions

    def __init__(
        self, towers: TowerModel, data: RetrievalData, unknown_user: int | None = None, seed: int = 1, **options: Any
    ):
        super().__init__(**options)
        self.towers, self.embeddings = towers, towers.embeddings
        self._seed, self._unknown_user = seed, unknown_user
        self._items = {name: tf.constant(values) for name, values in data.items.items()}
        self._trained = data.trained_items
        self._last_time = float(data.times.max(initial=0))
        counts = np.bincount(data.places, minlength=data.trained_items).astype(np.float64)
        self._shares = tf.constant(counts / max(counts.sum(), 1), tf.float32)
        exposure = np.ones(len(next(iter(data.items.values()))))
        exposure[: data.trained_items] = data.shown
        self._exposure = tf.constant(self.options.exposure_correction * np.log(exposure), tf.float32)
        self._is_full = data.trained_items <= self.options.full_softmax_items
        names = ["loss", *(["logloss"] if self.options.log_loss_weight else [])]
        self._means = {name: keras.metrics.Mean(name=name) for name in names}
        kinds = [RECALL, *([SHOWN_RECALL] if self.options.exposure_correction else [])]
        self._recalls = {kind: [_EvalMean(name=f"{kind}@{k}") for k in CUT_OFFS] for kind in kinds}
        self._examples = Examples()
        self._item_vectors: tf.Variable | None = None

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> tf.Tensor:
        return self.towers(features, training=training)

    def build_variables(self) -> None:
        self.towers.build_variables()

    def initialize_bias(self, base_rate: float) -> None:
        if self.options.log_loss_weight:
            self.towers.initialize_bias(base_rate)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        features, label, weight = keras.utils.unpack_x_y_sample_weight(data)
        clicks = self._click_weights(features, label, weight)
        with tf.GradientTape() as tape:
            softmax, logloss = self._loss_terms(features, label, weight, clicks)
            loss = self.options.softmax_weight * softmax + self.options.log_loss_weight * logloss
            regular = tf.add_n(self.towers.losses) if self.towers.losses else 0.0
            objective = (loss + regular) / self.distribute_strategy.num_replicas_in_sync
        self.optimizer.minimize(objective, self._learned(), tape=tape)
        self._means["loss"].update_state(loss, tf.cast(tf.size(label), tf.float32))
        if self.options.log_loss_weight:
            self._means["logloss"].update_state(logloss, tf.cast(tf.size(label), tf.float32))
        self._examples.update_state(label, label)
        return self.get_metrics_result()

    def _learned(self) -> list[tf.Variable]:
        """Returns the weights that have a gradient: the logit's scale and bias are of the log loss alone."""
        fixed = [] if self.options.log_loss_weight else self.towers.similarity.trainable_variables
        return [one for one in self.towers.trainable_variables if all(one is not other for other in fixed)]

    def _loss_terms(self, features: Any, label: Any, weight: Any, clicks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        user, item = self.towers.both(self._dropped(features), training=True)
        logloss = softmax = tf.constant(0.0)
        if self.options.log_loss_weight:
            logits = self.towers.of_rows(self.towers.similarity((user, item)))
            logloss = batch_mean(cross_entropies(label, logits), weight)
        if self.options.softmax_weight:
            clicked = clicks > 0
            users, places = tf.boolean_mask(user, clicked), tf.boolean_mask(features[CATALOGUE_PLACE], clicked)
            losses = self._softmax(tf.cast(users, tf.float32), places)
            softmax = batch_mean(losses, tf.boolean_mask(clicks, clicked))
        return softmax, logloss

    def _click_weights(self, features: Mapping[str, Any], label: tf.Tensor, weight: tf.Tensor | None) -> tf.Tensor:
        clicks = _weighted_clicks(label, weight)
        if self.options.half_life_days:
            age = (self._last_time - tf.cast(features[TIMESTAMP], tf.float64)) / (DAY * self.options.half_life_days)
            clicks *= tf.cast(tf.pow(tf.constant(0.5, tf.float64), age), tf.float32)
        return clicks

    def _dropped(self, features: Mapping[str, Any]) -> TowerInput:
        """Looks up the vectors of a batch, without some users' ids and some events of their histories."""
        options, seed = self.options, tf.stack([tf.constant(self._seed, tf.int64), self.optimizer.iterations])
        if self._unknown_user is not None and options.id_dropout:
            ids = features[options.user_feature]
            drop = tf.random.stateless_uniform(tf.shape(ids), seed) < options.id_dropout
            features = {**features, options.user_feature: tf.where(drop, tf.cast(self._unknown_user, ids.dtype), ids)}
        sets, extras = self.towers.look_up(features, training=True)
        if options.history_dropout:
            drawn = tf.random.stateless_uniform(tf.shape(sets.history_mask), seed + tf.constant([1, 0], tf.int64))
            sets = sets._replace(history_mask=sets.history_mask & (drawn >= options.history_dropout))
        return TowerInput(sets, extras)

    def _softmax(self, users: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each click, `[C]`, of users `[C, W]` and the places of their items `[C]`."""
        if self._is_full:
            scores = tf.matmul(users, self._vectors_of(None, training=True), transpose_b=True)
            scores = scores / self.options.temperature + self._exposure[: self._trained]
            return tf.nn.sparse_softmax_cross_entropy_with_logits(places, scores)
        options, seed = self.options, tf.stack([tf.constant(self._seed + 2, tf.int64), self.optimizer.iterations])
        drawn = tf.random.stateless_uniform([options.negatives], seed, maxval=self._trained, dtype=tf.int64)
        candidates = tf.unique(tf.concat([places, drawn], axis=0))
        expected = tf.cast(tf.size(places), tf.float32) * tf.gather(self._shares, candidates.y)
        expected += options.negatives / self._trained
        scores = tf.matmul(users, self._vectors_of(candidates.y, training=True), transpose_b=True)
        scores = scores / options.temperature + tf.gather(self._exposure, candidates.y) - tf.math.log(expected)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(candidates.idx[: tf.size(places)], scores)

    def _vectors_of(self, places: tf.Tensor | None, training: bool, count: int | None = None) -> tf.Tensor:
        """Returns vectors of the items at these places, `[n, W]`; None: of the first `count`, those of train."""
        first = self._trained if count is None else count
        columns = {name: values[:first] for name, values in self._items.items()}
        if places is not None:
            columns = {name: tf.gather(values, places) for name, values in columns.items()}
        batch = item_batch(self.towers.embeddings.inputs, columns)
        return tf.cast(self.towers.both(self.towers.look_up(batch, training), training)[1][:, 0], tf.float32)

    def prepare_evaluation(self) -> None:
        """Computes the vectors of all items, among which `test_step` looks for the clicked ones."""
        total = len(next(iter(self._items.values())))
        vectors = self._all_vectors(total)
        if self._item_vectors is None:
            # Keras would take a variable that is an attribute for a weight.
            object.__setattr__(self, "_item_vectors", tf.Variable(vectors, trainable=False))
        else:
            self._item_vectors.assign(vectors)

    @tf.function(autograph=False)
    def _all_vectors(self, total: int) -> tf.Tensor:
        return self._vectors_of(None, training=False, count=total)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        features, label, weight = keras.utils.unpack_x_y_sample_weight(data)
        clicks = _weighted_clicks(label, weight)
        user, item = self.towers.both(self.towers.look_up(features), training=False)
        if self.options.log_loss_weight:
            logits = self.towers.of_rows(self.towers.similarity((user, item)))
            self._means["logloss"].update_state(cross_entropies(label, logits), weight)
        clicked = clicks > 0
        users, places = tf.boolean_mask(user, clicked), tf.boolean_mask(features[CATALOGUE_PLACE], clicked)
        losses, *ranks = self._losses_and_ranks(tf.cast(users, tf.float32), places)
        weights, known = tf.boolean_mask(clicks, clicked), tf.cast(places < self._trained, tf.float32)
        self._means["loss"].update_state(losses, weights * known)
        for recalls, rank in zip(self._recalls.values(), ranks, strict=False):
            for k, recall in zip(CUT_OFFS, recalls, strict=True):
                recall.update_state(tf.cast(rank <= k, tf.float32), weights)
        return self.get_metrics_result()

    def _losses_and_ranks(self, users: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns each click's loss among the trained items, and its item's rank among all, ties counted as better.

        The third is the rank by the score with exposure.
        """
        vectors: Any = self._item_vectors
        at_once = max(1, _SCORES_AT_ONCE // vectors.shape[0])

        def some(first: tf.Tensor) -> tf.Tensor:
            scores = tf.matmul(users[first : first + at_once], vectors, transpose_b=True)
            scores /= self.options.temperature
            shown = scores + self._exposure
            of_clicks = [tf.gather(one, places[first : first + at_once], batch_dims=1) for one in (scores, shown)]
            ranks = [
                tf.reduce_sum(tf.cast(one >= target[:, tf.newaxis], tf.float32), axis=1)
                for one, target in zip((scores, shown), of_clicks, strict=True)
            ]
            loss = tf.reduce_logsumexp(shown[:, : self._trained], axis=1) - of_clicks[1]
            values = tf.stack([loss, *ranks], axis=1)
            return tf.pad(values, [[0, at_once - tf.shape(values)[0]], [0, 0]])

        starts = tf.range(0, tf.size(places), at_once)
        values = tf.map_fn(some, starts, fn_output_signature=tf.TensorSpec([at_once, 3], tf.float32))
        return tuple(tf.unstack(tf.reshape(values, [-1, 3])[: tf.size(places)], axis=1))


def _weighted_clicks(label: tf.Tensor, weight: tf.Tensor | None) -> tf.Tensor:
    """Returns the sample weight of each clicked row, `[B]`, and 0 for the others."""
    clicks = tf.cast(label > 0, tf.float32)
    return clicks if weight is None else clicks * tf.cast(weight, tf.float32)


class _EvalMean(keras.metrics.Mean):
    """A mean that is infinite without values, as in training: `fit` leaves such metrics out."""

    def result(self) -> tf.Tensor:
        return tf.where(self.count > 0, super().result(), float("inf"))


def item_batch(inputs: Sequence[ModelInput], columns: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a batch of rows with these items, and without users: ids 0, empty histories.

    Args:
      inputs: of the towers.
      columns: the inputs of items, `[N]` or `[N, W]`.
    """
    count = tf.shape(next(iter(columns.values())))[0]
    batch: dict[str, Any] = dict(columns)
    for one in inputs:
        if one.name in batch:
            continue
        dtype: Any = tf.float32 if one.vocabulary is None else tf.int64
        if one.shape is Shape.RAGGED:
            splits = tf.zeros([count + 1], tf.int64)
            batch[one.name] = tf.RaggedTensor.from_row_splits(tf.zeros([0], dtype), splits, validate=False)
        else:
            batch[one.name] = tf.zeros([count] if one.width is None else [count, one.width], dtype)
    return batch
