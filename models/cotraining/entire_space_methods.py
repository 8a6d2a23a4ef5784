"""Baselines that use unexposed candidates, to compare DUET with."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks, conditional_loss, pairwise_loss, side_outputs_of, stage_loss, symmetric_kl
from models.cotraining.peers import PeerModel
from models.layers.choices import checked_choice
from models.table_model import TableModel
from models.training.losses import cross_entropies


@keras.utils.register_keras_serializable(package="consort")
class UnexposedNegatives(PeerModel):
    """One model, for which the unexposed candidates N have label 0.

    L = 1/|E + N| (sum_E BCE(y, p) + unexposed_weight sum_N BCE(0, p)); weight 0 is the weight-matched control
    of co-training: the exposed loss alone, as small as it is in DUET's equation 11.

    Reference: `all` of the stage-negative baselines of "RecFlow" (ICLR 2025).

    Args:
      peers: one model.
      unexposed_weight: of N.
    """

    loss_names = ("bce",)

    def __init__(self, peers: Sequence[TableModel], unexposed_weight: float = 1.0, **kwargs: Any):
        super().__init__(peers, **kwargs)
        self.unexposed_weight = unexposed_weight

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        zeros = tf.zeros_like(logits[0])
        return {"bce": conditional_loss(clicks, logits[0], zeros, self.unexposed_weight)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unexposed_weight": self.unexposed_weight}


@keras.utils.register_keras_serializable(package="consort")
class SelfTraining(PeerModel):
    """One model, whose own probabilities are labels where there are none.

    Soft, t_i = sg(p_i): the gradient of such a label's loss is exactly 0, so that under `union` the exposed
    loss is only scaled by |E| / |E + N|, and under `group_mean` nothing changes. Hard: t_i = 1 above
    `positive_above`, 0 below `negative_below`; what lies between counts for nothing.

    Args:
      peers: one model.
      hard: labels are cut by the thresholds.
      positive_above, negative_below: the thresholds.
      average: as in `conditional_loss`.
      unexposed_weight: of pseudo-labels.
    """

    loss_names = ("bce",)

    def __init__(
        self,
        peers: Sequence[TableModel],
        hard: bool = False,
        positive_above: float = 0.9,
        negative_below: float = 0.1,
        average: Literal["union", "group_mean"] = "union",
        unexposed_weight: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(peers, **kwargs)
        if not 0 <= negative_below <= positive_above <= 1:
            raise ValueError(
                f"negative_below is {negative_below}, positive_above {positive_above}; expected them in [0, 1], in "
                "this order; correct them"
            )
        self.hard, self.positive_above, self.negative_below = hard, positive_above, negative_below
        self.average, self.unexposed_weight = average, unexposed_weight

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        labels, weight = tf.stop_gradient(tf.sigmoid(logits[0])), tf.constant(self.unexposed_weight, tf.float32)
        if self.hard:
            sure = (labels > self.positive_above) | (labels < self.negative_below)
            labels, weight = tf.round(labels), weight * tf.cast(sure, tf.float32)
        return {"bce": conditional_loss(clicks, logits[0], labels, weight, self.average)}

    def get_config(self) -> dict[str, Any]:
        own = ("hard", "positive_above", "negative_below", "average", "unexposed_weight")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


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


@keras.utils.register_keras_serializable(package="consort")
class Escm2(PeerModel):
    """One model with outputs for click given exposure, p, and exposure, o'.

    L = mean BCE(o, o') + click_weight mean_all [o BCE(y, p) / max(sg(o'), clip)] + joint_weight mean BCE(o y, o' p)

    Means are over all real candidates. ESCM2's style, inverse-propensity variant: exposure stands for its
    click, click for its conversion.

    Reference: Wang et al., "ESCM2: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion
    Rate Estimation" (SIGIR 2022), equations 9 and 14; Ma et al., "Entire Space Multi-Task Model" (SIGIR 2018).

    Args:
      peers: one model with two outputs.
      click_weight, joint_weight: as above.
      clip: least propensity.

    Raises:
      ValueError: not one model with two outputs.
    """

    loss_names = ("bce", "exposure", "joint")
    side_outputs = (1,)

    def __init__(
        self,
        peers: Sequence[TableModel],
        click_weight: float = 0.1,
        joint_weight: float = 1.0,
        clip: float = 0.05,
        **kwargs: Any,
    ):
        if len(peers) != 1 or peers[0].outputs != 2:
            raise ValueError("expected one model with outputs=2: the click's and the exposure's")
        super().__init__(peers, **kwargs)
        self.click_weight, self.joint_weight, self.clip = click_weight, joint_weight, clip

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        click, (exposure,) = logits[0], sides[0]
        weight = clicks.exposed / tf.maximum(tf.stop_gradient(tf.sigmoid(exposure)), self.clip)
        both = tf.exp(tf.math.log_sigmoid(click) + tf.math.log_sigmoid(exposure))
        return {
            "bce": self.click_weight * clicks.mean_over_real(weight * cross_entropies(clicks.label, click)),
            "exposure": clicks.mean_over_real(cross_entropies(clicks.exposed, exposure)),
            "joint": self.joint_weight
            * clicks.mean_over_real(keras.backend.binary_crossentropy(clicks.exposed * clicks.label, both)),
        }

    def get_config(self) -> dict[str, Any]:
        own = ("click_weight", "joint_weight", "clip")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


@keras.utils.register_keras_serializable(package="consort")
class UncertaintyDistillation(PeerModel):
    """A student of two heads fits clicks on E and a teacher's labels on N; the teacher fits clicks on E alone.

    With u the symmetric KL divergence of the student's heads, p^T the teacher's probability:

      L = mean_E BCE(y, p^T) + for each head mean_E BCE(y, p) + unexposed_weight mean_N [exp(-u) BCE(sg(p^T), p) + u]

    UKD's style: its teacher learns features that an adversary cannot tell clicked items by; ours does not.

    Reference: Xu et al., "UKD: Debiasing Conversion Rate Estimation via Uncertainty-regularized Knowledge
    Distillation" (WWW 2022, arXiv 2201.08024), section 3.3.

    Args:
      peers: the student, with two outputs, and the teacher.
      unexposed_weight: of N.

    Raises:
      ValueError: other peers.
    """

    loss_names = ("bce", "teacher", "distillation")

    def __init__(self, peers: Sequence[TableModel], unexposed_weight: float = 1.0, **kwargs: Any):
        if len(peers) != 2 or peers[0].outputs != 2:
            raise ValueError("expected a student with outputs=2 and a teacher")
        self.side_outputs = (0, peers[1].outputs)
        super().__init__(peers, **kwargs)
        self.unexposed_weight = unexposed_weight

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        teacher = sides[1][0]
        label = tf.stop_gradient(tf.sigmoid(teacher))
        doubt = symmetric_kl(logits[0], logits[1])
        told = [tf.exp(-doubt) * cross_entropies(label, own) + doubt for own in logits]
        return {
            "bce": tf.add_n([clicks.log_loss(own) for own in logits]),
            "teacher": clicks.log_loss(teacher),
            "distillation": self.unexposed_weight * clicks.mean_over_unexposed(tf.add_n(told)),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unexposed_weight": self.unexposed_weight}


@keras.utils.register_keras_serializable(package="consort")
class StageRanking(PeerModel):
    """One model whose scores are in the order of the stages, clicked above all: mean softplus(-(s_i - s_j)).

    Its outputs order, and are no probabilities; what decides on the best epoch is the pairwise loss itself.

    Reference: FS-LTR in "RecFlow: An Industrial Full Flow Recommendation Dataset" (ICLR 2025).

    Args:
      peers: one model.
    """

    loss_names = ("pairs",)

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        clicked = tf.cast(clicks.label * clicks.exposed > 0, tf.int64)
        return {"pairs": pairwise_loss(clicks.stage() + clicked, clicks.real, logits[0])}

    def monitored(self, terms: Mapping[str, tf.Tensor], click_losses: Sequence[tf.Tensor]) -> tf.Tensor:
        return terms["pairs"]


@keras.utils.register_keras_serializable(package="consort")
class StageHeads(PeerModel):
    """One model with an output for the click and one for each stage beyond the first, on one backbone.

    L = mean_E BCE(y, p) + stage_weight `stage_loss`: what `Duet` with `stage_weight` is without a peer.

    Args:
      peers: one model with several outputs.
      stage_weight: of the stages.

    Raises:
      ValueError: the model has one output.
    """

    loss_names = ("bce", "stage")

    def __init__(self, peers: Sequence[TableModel], stage_weight: float = 1.0, **kwargs: Any):
        self.side_outputs = side_outputs_of(peers)
        super().__init__(peers, **kwargs)
        self.stage_weight = stage_weight

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        return {"bce": clicks.log_loss(logits[0]), "stage": self.stage_weight * stage_loss(clicks, sides[0])}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stage_weight": self.stage_weight}
