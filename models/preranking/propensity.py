"""Baselines that weigh what was exposed by how probable its exposure was."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks
from models.cotraining.peers import PeerModel
from models.layers.choices import checked_choice
from models.table_model import TableModel
from models.training.losses import cross_entropies

Estimator = Literal["ips", "dr"]


@keras.utils.register_keras_serializable(package="consort")
class InversePropensity(PeerModel):
    """A ranker on exposed candidates, weighed by the inverse of a learned propensity; optionally doubly robust.

    With o = 1 where exposed, o' the propensity model's probability, l the ranker's log loss, l' its log loss
    against the imputation model's label r':

      ips: mean over all of o l / max(o', clip)
      dr: mean over all of l' + o (l - l') / max(o', clip)

    The propensity model fits o; the imputation model minimises o (l - l')^2 / max(o', clip). Neither gets a
    gradient of the ranker's loss.

    Reference: Schnabel et al., "Recommendations as Treatments" (ICML 2016), equation 10; Wang et al., "Doubly
    Robust Joint Learning for Recommendation on Data Missing Not at Random" (ICML 2019), equations 8 and 10.

    Args:
      peers: the ranker, the propensity model and, for `dr`, the imputation model.
      estimator: `ips` or `dr`.
      clip: least propensity.

    Raises:
      ValueError: another number of peers, an unknown estimator, a clip outside (0, 1].
    """

    def __init__(self, peers: Sequence[TableModel], estimator: Estimator = "ips", clip: float = 0.05, **kwargs: Any):
        checked_choice("estimator", estimator, get_args(Estimator))
        wanted = 2 if estimator == "ips" else 3
        if len(peers) != wanted:
            raise ValueError(f"received {len(peers)} peers; {estimator} needs {wanted}: see the docstring")
        if not 0 < clip <= 1:
            raise ValueError(f"clip is {clip}; expected above 0 and at most 1; 0.05 is usual")
        self.estimator, self.clip = estimator, clip
        self.side_outputs = (0, *(peer.outputs for peer in peers[1:]))
        super().__init__(peers, **kwargs)

    @property
    def loss_names(self) -> tuple[str, ...]:
        return ("bce", "propensity") if self.estimator == "ips" else ("bce", "propensity", "imputation")

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        (exposure,) = sides[1]
        fit = clicks.mean_over_real(cross_entropies(clicks.exposed, exposure))
        weight = clicks.exposed / tf.maximum(tf.stop_gradient(tf.sigmoid(exposure)), self.clip)
        known = cross_entropies(clicks.label, logits[0])
        if self.estimator == "ips":
            return {"bce": clicks.mean_over_real(weight * known), "propensity": fit}
        (imputed,) = sides[2]
        guessed = cross_entropies(tf.stop_gradient(tf.sigmoid(imputed)), logits[0])
        # The same number as a function of the imputation model alone.
        own = _imputed_loss(imputed, tf.stop_gradient(logits[0]))
        error = clicks.mean_over_real(weight * tf.square(tf.stop_gradient(known) - own))
        return {
            "bce": clicks.mean_over_real(guessed + weight * (known - guessed)),
            "propensity": fit,
            "imputation": error,
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "estimator": self.estimator, "clip": self.clip}


def _imputed_loss(imputed: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Log loss of the ranker against the imputed label, whose gradient goes to the label."""
    label = tf.sigmoid(imputed)
    return tf.nn.softplus(logits) - label * logits
