"""CS3: two towers that learn online from each other and from the ranker behind them."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.cotraining.peers import PeerModel
from models.layers.vector_store import VectorStore
from models.ranking.target_attention_ranker import TargetAttentionRanker
from models.retrieval.tower_model import Extras, TowerModel
from transforms.features import TIMESTAMP

Batch = Mapping[str, Any]


@keras.utils.register_keras_serializable(package="consort")
class CS3(PeerModel):
    """Two towers with caches of what the other tower (CTS) and the ranker (CMS) made of an id, and that ranker.

    With u_t, v_t the towers' outputs and h_t the ranker's last hidden layer for event t of user i and item j:

      CTS  where y = 1:  c_i <- alpha c_i + (1 - alpha) v_t,  c_j <- alpha c_j + (1 - alpha) u_t
      CMS  always:       s_i <- beta s_i + (1 - beta) h_t,    s_j <- beta s_j + (1 - beta) h_t

    The user's tower sees [x_i ; c_i ; s_i], the item's [x_j ; c_j ; s_j]: a step reads all caches, takes its
    gradients, and only then writes, in the order of time. So a batch never sees what its own labels left. The
    caches are state, not parameters: no gradient enters them. CAS is an option of the towers. Data must come
    once, in order: reset the caches (`reset_caches`) before a second pass.

    Reference: "Efficient Online Capability Synergy for Two-Tower Recommendation" (CS3, 2026, arXiv 2604.19269).
    The losses, log loss of both, are not published.

    Args:
      towers: built with `extra_widths` of this class as `user_extra` and `item_extra`.
      ranker: trained on the same batches.
      cts, cms: the mechanisms.
      alpha, beta: their shares of the old vector.
      user_feature, item_feature: the ids by which vectors are kept.
      leaky: writes before it reads, which leaks labels: a control that looks too good, never to be used.

    Call arguments: as `PeerModel`, of rows; `timestamp` orders the events of a batch, else their place does.

    Output shape: a dict of logits `[B]`: `peer_0`, the towers', and `peer_1`, the ranker's.

    Raises:
      ValueError: towers of other widths, or an id feature that is not an input.
    """

    loss_names = ("bce", "ranker")

    def __init__(
        self,
        towers: TowerModel,
        ranker: TargetAttentionRanker,
        cts: bool = True,
        cms: bool = True,
        alpha: float = 0.8,
        beta: float = 0.8,
        user_feature: str = "user_id",
        item_feature: str = "item_id",
        leaky: bool = False,
        **kwargs: Any,
    ):
        super().__init__([towers, ranker], **kwargs)
        self.towers, self.ranker = towers, ranker
        self.cts, self.cms, self.alpha, self.beta, self.leaky = cts, cms, alpha, beta, leaky
        self.id_features = {"user": user_feature, "item": item_feature}
        expected = self.extra_width(towers.vector_width, ranker.hidden_width, cts, cms)
        for side, found in towers.extra_widths.items():
            if found != expected:
                raise ValueError(
                    f"towers have {side}_extra {found}; expected {expected}, the width of the caches; build them with "
                    f"user_extra={expected}, item_extra={expected}"
                )
        widths = {"cross": towers.vector_width if cts else 0, "cascade": ranker.hidden_width if cms else 0}
        decays = {"cross": alpha, "cascade": beta}
        self.stores = {
            f"{kind}_{side}": VectorStore(self._ids_of(side), width, decays[kind], name=f"{kind}_{side}")
            for kind, width in widths.items()
            if width
            for side in self.id_features
        }

    @staticmethod
    def extra_width(vector_width: int, hidden_width: int, cts: bool = True, cms: bool = True) -> int:
        """What `user_extra` and `item_extra` of the towers must be."""
        return (vector_width if cts else 0) + (hidden_width if cms else 0)

    def _ids_of(self, side: str) -> int:
        name = self.id_features[side]
        spaces = {item.name: item.space for item in self.embeddings.inputs}
        space = spaces.get(name)
        if space is None:
            known = ", ".join(key for key, value in spaces.items() if value is not None)
            raise ValueError(f"{side}_feature is {name!r}; expected an id among the inputs: {known}; name one")
        return self.embeddings.table_sizes[space]

    def call(self, features: Batch, training: bool | None = None, with_sides: bool = False) -> Any:
        of_towers, of_ranker = self.embeddings(features, training=training, as_sets=True)
        extras = self._extras(features)
        user, item = self.towers.both(of_towers, extras, training)
        hidden = self.ranker.hidden(of_ranker, training)
        found = (self.towers.similarity((user, item)), self.ranker.logit_of(hidden))
        logits = {name: tf.squeeze(own, 1) for name, own in zip(self.peer_names, found, strict=True)}
        return (logits, [[user, item[:, 0]], [hidden[:, 0]]]) if with_sides else logits

    def _extras(self, features: Batch) -> Extras:
        def cached(side: str) -> tf.Tensor:
            ids = features[self.id_features[side]]
            parts = [store(ids) for name, store in self.stores.items() if name.endswith(side)]
            return tf.concat(parts, axis=-1) if parts else tf.zeros([tf.size(ids), 0])

        return Extras(cached("user"), cached("item")[:, tf.newaxis])

    def loss_terms(self, clicks: Clicks, logits: Any, sides: Any) -> dict[str, tf.Tensor]:
        return {"bce": clicks.log_loss(logits[0]), "ranker": clicks.log_loss(logits[1])}

    def monitored(self, terms: Mapping[str, tf.Tensor], click_losses: Any) -> tf.Tensor:
        return click_losses[0]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        clicks = Clicks.of(data)
        if self.leaky:
            _, sides = self(clicks.features, training=False, with_sides=True)
            self.write(clicks, sides)
        return super().train_step(data)

    def after_step(self, clicks: Clicks, sides: Any) -> None:
        if not self.leaky:
            self.write(clicks, sides)

    def write(self, clicks: Clicks, sides: Any) -> None:
        """Writes the caches.

        Args:
          clicks: events whose labels are known.
          sides: what the model gave for them: `[[u, v], [h]]`.
        """
        (user, item), (hidden,) = sides
        features, size = clicks.features, tf.size(clicks.label)
        times = features[TIMESTAMP] if TIMESTAMP in features else tf.range(size, dtype=tf.int64)
        clicked = clicks.label * clicks.exposed > 0
        opposite = {"user": item, "item": user}
        for name, store in self.stores.items():
            kind, _, side = name.partition("_")
            is_cross = kind == "cross"
            vectors, mask = (opposite[side], clicked) if is_cross else (hidden, clicks.exposed > 0)
            store.write(features[self.id_features[side]], vectors, times, mask)

    def reset_caches(self) -> None:
        """Forgets what the caches hold, as before a second pass over the same data."""
        for store in self.stores.values():
            store.reset()

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        towers, ranker = config.pop("peers")
        own = ("cts", "cms", "alpha", "beta", "leaky")
        return {
            **config,
            "towers": towers,
            "ranker": ranker,
            **{name: getattr(self, name) for name in own},
            "user_feature": self.id_features["user"],
            "item_feature": self.id_features["item"],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "CS3":
        models = {name: keras.utils.deserialize_keras_object(config.pop(name)) for name in ("towers", "ranker")}
        return cls(**models, **config)
