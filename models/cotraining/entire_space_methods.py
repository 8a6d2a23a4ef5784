"""Baselines that use unexposed candidates, to compare DUET with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf
import tf_keras as keras

from models.cotraining.clicks import Clicks, conditional_loss, pairwise_loss, side_outputs_of, stage_loss, symmetric_kl
from models.cotraining.peers import PeerModel
from models.options import Options
from models.table_model import TableModel
from models.training.losses import cross_entropies


@dataclass(frozen=True)
class UnexposedWeightOptions(Options):
    """The options of `UnexposedNegatives` and `UncertaintyDistillation`.

    Args:
      unexposed_weight: weight of the loss on unexposed candidates.
    """

    unexposed_weight: float = 1.0


@keras.utils.register_keras_serializable(package="consort")
class UnexposedNegatives(PeerModel):
    """One model, for which the unexposed candidates N have label 0.

    L = 1/|E + N| (sum_E BCE(y, p) + unexposed_weight sum_N BCE(0, p)); weight 0 is the weight-matched control
    of co-training: the exposed loss alone, as small as it is in DUET's equation 11.

    Reference: `all` of the stage-negative baselines of "RecFlow" (ICLR 2025).

    Args:
      peers: one model.
      **options: see `UnexposedWeightOptions`.
    """

    loss_names = ("bce",)
    options: UnexposedWeightOptions

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        zeros = tf.zeros_like(logits[0])
        return {"bce": conditional_loss(clicks, logits[0], zeros, self.options.unexposed_weight)}


@dataclass(frozen=True)
class SelfTrainingOptions(Options):
    """The options of `SelfTraining`.

    Args:
      hard: True makes pseudo-labels beyond the thresholds 1 or 0 and ignores those between.
      positive_above: threshold above which a pseudo-label becomes 1.
      negative_below: threshold below which a pseudo-label becomes 0.
      average: `union` or `group_mean`, as in `conditional_loss`.
      unexposed_weight: weight of the loss on pseudo-labels.
    """

    hard: bool = False
    positive_above: float = 0.9
    negative_below: float = 0.1
    average: Literal["union", "group_mean"] = "union"
    unexposed_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.negative_below <= self.positive_above <= 1:
            raise ValueError(
                f"negative_below is {self.negative_below}, positive_above {self.positive_above}; expected them in "
                "[0, 1], in this order; correct them"
            )


@keras.utils.register_keras_serializable(package="consort")
class SelfTraining(PeerModel):
    """One model, whose own probabilities are labels where there are none.

    Soft, t_i = sg(p_i): the gradient of such a label's loss is exactly 0, so that under `union` the exposed
    loss is only scaled by |E| / |E + N|, and under `group_mean` nothing changes. Hard: t_i = 1 above
    `positive_above`, 0 below `negative_below`; what lies between counts for nothing.

    Args:
      peers: one model.
      **options: see `SelfTrainingOptions`.
    """

    loss_names = ("bce",)
    options: SelfTrainingOptions

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        labels, weight = tf.stop_gradient(tf.sigmoid(logits[0])), tf.constant(self.options.unexposed_weight, tf.float32)
        if self.options.hard:
            sure = (labels > self.options.positive_above) | (labels < self.options.negative_below)
            labels, weight = tf.round(labels), weight * tf.cast(sure, tf.float32)
        return {"bce": conditional_loss(clicks, logits[0], labels, weight, self.options.average)}


@dataclass(frozen=True)
class InversePropensityOptions(Options):
    """The options of `InversePropensity`.

    Args:
      estimator: `ips`, inverse propensity scores, or `dr`, doubly robust.
      clip: least propensity; smaller ones are raised to it.
    """

    estimator: Literal["ips", "dr"] = "ips"
    clip: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.clip <= 1:
            raise ValueError(f"clip is {self.clip}; expected above 0 and at most 1; 0.05 is usual")


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
      **options: see `InversePropensityOptions`.

    Raises:
      ValueError: another number of peers, an unknown estimator, a clip outside (0, 1].
    """

    options: InversePropensityOptions

    def count_side_outputs(self, peers: Sequence[TableModel]) -> tuple[int, ...]:
        needed = 2 if self.options.estimator == "ips" else 3
        if len(peers) != needed:
            raise ValueError(f"received {len(peers)} peers; {self.options.estimator} needs {needed}: see the docstring")
        return (0, *(peer.outputs for peer in peers[1:]))

    @property
    def loss_names(self) -> tuple[str, ...]:
        return ("bce", "propensity") if self.options.estimator == "ips" else ("bce", "propensity", "imputation")

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        (exposure,) = sides[1]
        fit = clicks.mean_over_real(cross_entropies(clicks.exposed, exposure))
        weight = clicks.exposed / tf.maximum(tf.stop_gradient(tf.sigmoid(exposure)), self.options.clip)
        known = cross_entropies(clicks.label, logits[0])
        if self.options.estimator == "ips":
            return {"bce": clicks.mean_over_real(weight * known), "propensity": fit}
        (imputed,) = sides[2]
        guessed = cross_entropies(tf.stop_gradient(tf.sigmoid(imputed)), logits[0])
        # The same number as a function of the imputation model alone.
        imputed_loss = _imputed_loss(imputed, tf.stop_gradient(logits[0]))
        error = clicks.mean_over_real(weight * tf.square(tf.stop_gradient(known) - imputed_loss))
        return {
            "bce": clicks.mean_over_real(guessed + weight * (known - guessed)),
            "propensity": fit,
            "imputation": error,
        }


def _imputed_loss(imputed: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Log loss of the ranker against the imputed label, whose gradient goes to the label."""
    label = tf.sigmoid(imputed)
    return tf.nn.softplus(logits) - label * logits


@dataclass(frozen=True)
class Escm2Options(Options):
    """The options of `Escm2`.

    Args:
      click_weight: weight of the click's loss.
      joint_weight: weight of the loss of exposure and click together.
      clip: least propensity; smaller ones are raised to it.
    """

    click_weight: float = 0.1
    joint_weight: float = 1.0
    clip: float = 0.05


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
      **options: see `Escm2Options`.

    Raises:
      ValueError: not one model with two outputs.
    """

    loss_names = ("bce", "exposure", "joint")
    options: Escm2Options

    def count_side_outputs(self, peers: Sequence[TableModel]) -> tuple[int, ...]:
        if len(peers) != 1 or peers[0].outputs != 2:
            raise ValueError("expected one model with outputs=2: the click's and the exposure's")
        return (1,)

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        click, (exposure,) = logits[0], sides[0]
        weight = clicks.exposed / tf.maximum(tf.stop_gradient(tf.sigmoid(exposure)), self.options.clip)
        both = tf.exp(tf.math.log_sigmoid(click) + tf.math.log_sigmoid(exposure))
        return {
            "bce": self.options.click_weight * clicks.mean_over_real(weight * cross_entropies(clicks.label, click)),
            "exposure": clicks.mean_over_real(cross_entropies(clicks.exposed, exposure)),
            "joint": self.options.joint_weight
            * clicks.mean_over_real(keras.backend.binary_crossentropy(clicks.exposed * clicks.label, both)),
        }


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
      **options: see `UnexposedWeightOptions`.

    Raises:
      ValueError: other peers.
    """

    loss_names = ("bce", "teacher", "distillation")
    options: UnexposedWeightOptions

    def count_side_outputs(self, peers: Sequence[TableModel]) -> tuple[int, ...]:
        if len(peers) != 2 or peers[0].outputs != 2:
            raise ValueError("expected a student with outputs=2 and a teacher")
        return (0, peers[1].outputs)

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        teacher = sides[1][0]
        label = tf.stop_gradient(tf.sigmoid(teacher))
        doubt = symmetric_kl(logits[0], logits[1])
        losses = [tf.exp(-doubt) * cross_entropies(label, logit) + doubt for logit in logits]
        return {
            "bce": tf.add_n([clicks.log_loss(logit) for logit in logits]),
            "teacher": clicks.log_loss(teacher),
            "distillation": self.options.unexposed_weight * clicks.mean_over_unexposed(tf.add_n(losses)),
        }


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
        return {"pairs": pairwise_loss(clicks.stage() + clicked, clicks.weighted(clicks.real), logits[0])}

    def monitored(self, terms: Mapping[str, tf.Tensor], click_losses: Sequence[tf.Tensor]) -> tf.Tensor:
        return terms["pairs"]


@dataclass(frozen=True)
class StageHeadsOptions(Options):
    """The options of `StageHeads`.

    Args:
      stage_weight: weight of the losses of the stages.
    """

    stage_weight: float = 1.0


@keras.utils.register_keras_serializable(package="consort")
class StageHeads(PeerModel):
    """One model with an output for the click and one for each stage beyond the first, on one backbone.

    L = mean_E BCE(y, p) + stage_weight `stage_loss`: what `Duet` with `stage_weight` is without a peer.

    Args:
      peers: one model with several outputs.
      **options: see `StageHeadsOptions`.

    Raises:
      ValueError: the model has one output.
    """

    loss_names = ("bce", "stage")
    options: StageHeadsOptions

    def count_side_outputs(self, peers: Sequence[TableModel]) -> tuple[int, ...]:
        return side_outputs_of(peers)

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        return {"bce": clicks.log_loss(logits[0]), "stage": self.options.stage_weight * stage_loss(clicks, sides[0])}
