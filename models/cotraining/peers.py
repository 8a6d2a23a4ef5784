"""Several models trained side by side on the same batches, from one lookup."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.configured_model import ConfiguredModel
from models.cotraining.clicks import Clicks
from models.layers.interleaved_embeddings import InterleavedEmbeddings
from models.layers.linear_attention import Extreme
from models.table_model import TableModel
from models.training.compiling import AUC_THRESHOLDS
from models.training.distribution import unshard
from models.training.fit import FitResult
from models.training.losses import ClickLoss, Examples


class PeerModel(ConfiguredModel, abc.ABC):
    """K models that see the same batches; a subclass says what they learn, and what from each other.

    The peers may be of different classes and sizes, but take the same features. Their tables are the
    columns of one interleaved table: one lookup and one row update serve all. Each keeps parameters of
    its own, and as the optimizer works weight by weight, one optimizer is as good as K.

    Args:
      peers: models of which no table has been built yet; each starts from its own seed.
      **options: of the class's declaration.

    Call arguments:
      features: by name, as `FieldEmbeddings` takes them.
      with_sides: gives a pair, of which the second part holds each peer's side outputs.

    Output shape: a dict `peer_0`, `peer_1`, ... of logits of a click, `[B]`, or `[B, M]` if a feature has
    candidates. A peer with several such outputs stands for as many. `compile(metrics=...)` gives each
    metric once a peer, as Keras does for named outputs.

    Raises:
      ValueError: no peer; peers whose features or table sizes differ.
    """

    has_own_losses = True

    def __init__(self, peers: Sequence[TableModel], **options: Any):
        super().__init__(**options)
        self.peers = _checked(peers)
        self.side_outputs = self.count_side_outputs(peers)
        first = self.peers[0].embeddings
        parts = [part for peer in self.peers for part in peer.embeddings.parts]
        self.embeddings = InterleavedEmbeddings(first.inputs, first.table_sizes, parts)
        self._click_loss = ClickLoss()
        self._examples = Examples()
        names = ["loss", "logloss", *(f"loss/{term}" for term in self.loss_names)]
        self._means = {name: keras.metrics.Mean(name=name) for name in names}
        self._peer_loglosses = [keras.metrics.Mean(name=f"logloss/{name}") for name in self.peer_names]
        self._peer_aucs = [
            keras.metrics.AUC(num_thresholds=AUC_THRESHOLDS, from_logits=True, name=f"auc/{name}")
            for name in self.peer_names
        ]
        for index, peer in enumerate(self.peers if len(self.peers) > 1 else ()):
            for metric in peer.metrics:
                if isinstance(metric, Extreme):
                    metric.suffix = f"/peer_{index}"

    def count_side_outputs(self, peers: Sequence[TableModel]) -> tuple[int, ...]:
        """Returns for each peer how many of its outputs, the last ones, predict something else than clicks.

        Raises:
          ValueError: the peers are not those that the class needs.
        """
        return (0,) * len(peers)

    @property
    @abc.abstractmethod
    def loss_names(self) -> tuple[str, ...]:
        """Terms of the loss."""

    @abc.abstractmethod
    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        """Returns the terms of the loss, whose sum is minimized.

        Args:
          clicks: labels and masks of the batch.
          logits: logits of a click for each of `peer_names`, float32, in the labels' shape.
          sides: each peer's side outputs, likewise.

        Returns:
          One scalar for each of `loss_names`.
        """

    @property
    def peer_names(self) -> tuple[str, ...]:
        """Names of the outputs that predict clicks."""
        return tuple(f"peer_{k}" for k in range(len(self._owners())))

    def _owners(self) -> list[tuple[int, int]]:
        """Returns the peer's index, and the index among its outputs, of each output that predicts clicks."""
        sides = zip(self.peers, self.side_outputs, strict=True)
        return [(k, output) for k, (peer, side) in enumerate(sides) for output in range(peer.outputs - side)]

    def call(self, features: Mapping[str, Any], training: bool | None = None, with_sides: bool = False) -> Any:
        vectors = self.embeddings(features, training=training, as_sets=self.peers[0].as_sets)
        clicked: list[tf.Tensor] = []
        sides: list[list[tf.Tensor]] = []
        for peer, peer_vectors, side in zip(self.peers, vectors, self.side_outputs, strict=True):
            scores = peer.score(peer_vectors, features, training)
            outputs = tf.unstack(scores, axis=-1) if peer.outputs > 1 else [scores]
            clicked += outputs[: peer.outputs - side]
            sides.append(outputs[peer.outputs - side :])
        logits = dict(zip(self.peer_names, clicked, strict=True))
        return (logits, sides) if with_sides else logits

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        clicks = Clicks.of(data)
        with tf.GradientTape() as tape:
            outputs, sides, terms = self._terms(clicks, training=True)
            loss = tf.add_n(list(terms.values()))
            regular = tf.add_n(self.losses) if self.losses else 0.0
            # Keras sums the replicas' gradients; see `batch_mean`.
            objective = (loss + regular) / self.distribute_strategy.num_replicas_in_sync
        self.optimizer.minimize(objective, self.trainable_variables, tape=tape)
        self.after_step(clicks, outputs, sides)
        return self._logs(clicks, outputs, {**terms, "total": loss + regular})

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        clicks = Clicks.of(data)
        outputs, _, terms = self._terms(clicks, training=False)
        return self._logs(clicks, outputs, {**terms, "total": tf.add_n(list(terms.values()))})

    def _terms(self, clicks: Clicks, training: bool) -> tuple[dict[str, tf.Tensor], Any, dict[str, tf.Tensor]]:
        results = self(clicks.features, training=training, with_sides=True)
        outputs, sides = tf.nest.map_structure(lambda value: tf.cast(value, tf.float32), results)
        return outputs, sides, self.loss_terms(clicks, list(outputs.values()), sides)

    def after_step(self, clicks: Clicks, logits: Mapping[str, tf.Tensor], sides: Any) -> None:
        """Runs after the optimizer's step, with the logits and side outputs that the batch gave before it."""

    def _logs(
        self, clicks: Clicks, outputs: Mapping[str, tf.Tensor], terms: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        label, weight = clicks.label, clicks.weight
        total = tf.cast(tf.size(label), tf.float32) if weight is None else tf.reduce_sum(tf.cast(weight, tf.float32))
        by_peer = [self._click_loss(label, logits, weight) for logits in outputs.values()]
        self._means["loss"].update_state(terms["total"], total)
        self._means["logloss"].update_state(self.monitored(terms, by_peer), total)
        for name in self.loss_names:
            self._means[f"loss/{name}"].update_state(terms[name], total)
        self._examples.update_state(label, label)
        for logloss, auc, loss, logits in zip(self._peer_loglosses, self._peer_aucs, by_peer, outputs.values()):
            logloss.update_state(loss, total)
            auc.update_state(label, logits, weight)
        self.watch(clicks, list(outputs.values()))
        if self.compiled_metrics is not None:
            labels = dict.fromkeys(outputs, label)
            weights = None if weight is None else dict.fromkeys(outputs, weight)
            self.compiled_metrics.update_state(labels, dict(outputs), weights)
        return self.get_metrics_result()

    def monitored(self, terms: Mapping[str, tf.Tensor], click_losses: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns the value that decides on the best epoch: the mean of the peers' log losses on exposed records."""
        return tf.add_n(list(click_losses)) / len(click_losses)

    def watch(self, clicks: Clicks, logits: Sequence[tf.Tensor]) -> None:
        """Updates a subclass's own metrics."""

    def build_variables(self) -> None:
        self.embeddings.build(None)
        for peer in self.peers:
            peer.build_head()

    def initialize_bias(self, base_rate: float) -> None:
        """Lets untrained peers begin with a share of clicks; see `TableModel.initialize_bias`. They must be built."""
        for peer, side in zip(self.peers, self.side_outputs, strict=True):
            peer.initialize_bias(base_rate, peer.outputs - side)

    def load_peer(self, index: int, model: TableModel) -> None:
        """Gives a peer the weights of a model of its own kind, such as a pretrained one. Both must be built.

        Raises:
          ValueError: the model is of another class, or its features, vocabulary or sizes differ.
        """
        peer = self.peers[index]
        received, expected = _identity(model), _identity(peer)
        if received != expected:
            raise ValueError(
                f"peer {index} is {_differing(received, expected)}; "
                f"the checkpoint is {_differing(expected, received)}; "
                "pretrain it with the features, the vocabulary and the options of the peer"
            )
        columns = self.embeddings.columns(index)
        for shared, source in zip(_rows(self.embeddings), _rows(model.embeddings), strict=True):
            _set_columns(shared, columns, source)
        for target, source in zip(head_weights(peer), head_weights(model), strict=True):
            target.assign(tf.convert_to_tensor(source))

    def peer(self, index: int) -> TableModel:
        """Returns the model of an output, with copies of its weights and without the other models."""
        owner, output = self._owners()[index]
        peer = self.peers[owner]
        alone = type(peer).from_config(peer.get_config())
        alone.embeddings.build(None)
        alone.build_head()
        columns = self.embeddings.columns(owner)
        for shared, target in zip(_rows(self.embeddings), _rows(alone.embeddings), strict=True):
            target.assign(tf.gather(shared, columns, axis=1))
        for target, source in zip(head_weights(alone), head_weights(peer), strict=True):
            target.assign(tf.convert_to_tensor(source))
        return alone.with_output(output) if peer.outputs > 1 else alone

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "peers": [keras.utils.serialize_keras_object(peer) for peer in self.peers]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "PeerModel":
        peers = [keras.utils.deserialize_keras_object(peer, custom_objects) for peer in config.pop("peers")]
        return cls(peers=peers, **config)


def head_weights(model: TableModel) -> list[tf.Variable]:
    """Returns the weights of a model except its tables; a sharded weight appears once."""
    tables = {id(weight) for weight in unshard(model.embeddings.weights)}
    return [weight for weight in unshard(model.weights) if id(weight) not in tables]


def _rows(embeddings: InterleavedEmbeddings) -> list[tf.Variable]:
    return [rows for rows in (embeddings.table, embeddings.number_vectors) if rows is not None]


def _set_columns(target: tf.Variable, columns: list[int], source: tf.Variable) -> None:
    values = target.numpy()
    values[:, columns] = source.numpy()
    target.assign(values)


def _identity(model: TableModel) -> dict[str, Any]:
    """Returns the configuration that two models must share for the weights of one to fit the other."""
    config = {key: value for key, value in model.get_config().items() if key not in ("name", "seed")}
    return {"class": type(model).__name__, **config}


def _differing(one: dict[str, Any], other: dict[str, Any]) -> str:
    different = [key for key in one if one.get(key) != other.get(key)]
    return ", ".join(f"{key} {one[key]}" for key in different) or "the same"


def _checked(peers: Sequence[TableModel]) -> list[TableModel]:
    if not peers:
        raise ValueError("peers is empty; expected at least one model; give K >= 1 peers")
    first = peers[0].embeddings
    if len({peer.as_sets for peer in peers}) > 1:
        classes = ", ".join(type(peer).__name__ for peer in peers)
        raise ValueError(
            f"peers are {classes}: some read requests as sets, others candidate by candidate; expected one kind, as "
            "they share one lookup; choose models of one kind"
        )
    for index, peer in enumerate(peers):
        embeddings = peer.embeddings
        if embeddings.inputs != first.inputs:
            names = sorted({item.name for item in embeddings.inputs} ^ {item.name for item in first.inputs})
            raise ValueError(
                f"the features of peer {index} differ from those of peer 0 ({', '.join(names) or 'another order'}); "
                "expected the same features for all peers, as they share one lookup; build all from one FeatureSet"
            )
        if embeddings.table_sizes != first.table_sizes:
            raise ValueError(
                f"peer {index} has table sizes {embeddings.table_sizes}, peer 0 {first.table_sizes}; "
                "expected one vocabulary for all peers; build all from one transform"
            )
    return list(peers)


def check_peers(models: Sequence[Any]) -> None:
    """Refuses what cannot be a peer.

    Raises:
      ValueError: a model whose table others cannot share.
    """
    for model in models:
        if not isinstance(model, TableModel):
            raise ValueError(
                f"{type(model).__name__} cannot be a peer; expected a TableModel, whose table peers can share; "
                "derive it from consort.models.table_model.TableModel"
            )


def best_peer(result: FitResult, num_peers: int) -> int:
    """Returns the peer with the least eval log loss at the kept weights; the first peer if nothing was evaluated."""
    return min(range(num_peers), key=lambda index: result.best.get(f"eval_logloss/peer_{index}", 0.0))
