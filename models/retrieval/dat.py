"""DAT."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.layers.arguments import derived_seed
from models.layers.dense import Dense
from models.layers.set_vectors import SetVectors
from models.layers.tower_caches import SIDES
from models.retrieval.tower_model import TowerModel, TowerOptions, checked_id, item_fields, user_fields

_ROLES = {"user": "request", "item": "candidates"}


@dataclass(frozen=True)
class DATOptions(TowerOptions):
    """The options of `DAT`.

    Args:
      user_feature: id feature of the user, from which the user's augmented vector is made.
      item_feature: id feature of the item, from which the item's augmented vector is made.
      lambda_user: weight of the users' mimic loss; 0 turns it off.
      lambda_item: weight of the items' mimic loss; 0 turns it off.
    """

    user_feature: str = "user_id"
    item_feature: str = "item_id"
    lambda_user: float = 0.5
    lambda_item: float = 0.5


@keras.utils.register_keras_serializable(package="consort")
class DAT(TowerModel):
    """Two towers, each with a vector of its id that mimics what the other tower says of the id's clicks.

    With e_u, e_v the embeddings of the two ids, and p_u, p_v the towers' outputs:

      a_u = P_u e_u,  a_v = P_v e_v
      p_u = MLP_u([request ; mean of history ; extra ; a_u]),  p_v = MLP_v([item ; extra ; a_v])
      logit = scale <p_u, p_v> + bias

    Training adds the adaptive-mimic loss, in which the outputs are constants:

      lambda_user mean[y (a_u - p_v)^2] + lambda_item mean[y (a_v - p_u)^2]

    over all rows and the W elements of a vector, so that rows without a click teach a_u and a_v nothing here.

    In the paper a_u and a_v stand in tables of their own, a free vector of width W an id. Here they are learned
    linear maps, without a bias, of the embeddings that the towers read: no second table, but all a_u lie in a
    space of at most `embedding_dim` dimensions, the mimic loss moves the shared embeddings, and missing ids
    have a = 0. Where W is much more than `embedding_dim`, that mimics less than a table can.

    Reference: Yu et al., "A Dual Augmented Two-tower Model for Online Large-scale Recommendation" (DLP-KDD
    2021), without its category alignment loss, whose exact form over a batch we could not find. The weights'
    defaults are TorchEasyRec's.

    Args:
      *args: as of `TowerModel`.
      **options: see `DATOptions`.

    Call arguments, output shape: as `TowerModel`.

    Raises:
      ValueError: an unknown id.
    """

    has_auxiliary_losses: ClassVar[bool] = True
    options: DATOptions

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._places = {
            "user": self._place("user", self.options.user_feature),
            "item": self._place("item", self.options.item_feature),
        }
        self.augmenting = {name: self._projection(name) for name in SIDES}
        self.towers = self._dense_towers()

    def _place(self, side: str, name: str) -> int:
        """Returns the index of an id among the fields of its side."""
        role = _ROLES[side]
        checked_id(f"{side}_feature", name, self.embeddings.inputs, self.roles, role)
        return [field for field in self.embeddings.field_names if self.roles[field] == role].index(name)

    def _projection(self, side: str) -> Dense:
        start = keras.initializers.GlorotNormal(seed=derived_seed(self.options.seed, f"{side} augmented"))
        return Dense(self.options.hidden_units[-1], use_bias=False, kernel_initializer=start)

    def user_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        seen = [user_fields(vectors, extra), self._augmented("user", vectors)]
        return self.towers["user"](tf.concat(seen, axis=-1), training=training)

    def item_vector(self, vectors: SetVectors, extra: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        seen = [item_fields(vectors, extra), self._augmented("item", vectors)]
        return self.towers["item"](tf.concat(seen, axis=-1), training=training)

    def _augmented(self, side: str, vectors: SetVectors) -> tf.Tensor:
        """a_u `[B, W]` or a_v `[B, M, W]`."""
        fields = getattr(vectors, _ROLES[side])
        return self.augmenting[side](fields[..., self._places[side], :])

    def side_outputs(self, vectors: SetVectors) -> list[tf.Tensor]:
        sets = self.cast_sets(vectors)
        return [self._augmented(side, sets) for side in SIDES]

    def auxiliary_loss(self, user: tf.Tensor, item: tf.Tensor, sides: Sequence[tf.Tensor], clicks: Clicks) -> tf.Tensor:
        # Of rows the candidates' axis has one entry.
        own_user, own_item = (tf.reshape(part, tf.shape(user)) for part in sides)
        of_users, of_items = _mimic(own_user, item, clicks), _mimic(own_item, user, clicks)
        return self.options.lambda_user * of_users + self.options.lambda_item * of_items


def _mimic(augmented: tf.Tensor, opposite: tf.Tensor, clicks: Clicks) -> tf.Tensor:
    apart = tf.cast(augmented, tf.float32) - tf.stop_gradient(tf.cast(opposite, tf.float32))
    label = tf.cast(clicks.label, tf.float32)
    return clicks.mean_over_exposed(label * tf.reduce_mean(tf.square(apart), axis=-1))
