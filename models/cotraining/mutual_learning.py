"""Mutual learning: click models that finetune each other."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf
import tf_keras as keras

from models.cotraining.base import Recipe, Trained
from models.cotraining.clicks import Clicks
from models.cotraining.external_inputs import ExternalInput, external_input
from models.cotraining.peers import PeerModel, best_peer, check_peers
from models.options import Count, Options
from models.table_model import TableModel
from models.training.job import FitSettings, TrainingJob

MutualLoss = Literal["mse", "logit_mse", "symmetric_kl"]


@dataclass(frozen=True)
class MutualLearningOptions(Options):
    """The options of `MutualLearning`, and of its recipe.

    Args:
      mutual_weight: weight of the distances between peers; 0 trains the peers independently.
      loss: distance of two peers: `mse` of probabilities (the paper's), `logit_mse`, or `symmetric_kl`,
        1/2 (p_i - p_n)(logit p_i - logit p_n).
      stop_gradient: True takes the other peers' probabilities as constants in a peer's loss; False lets each loss move
        all peers, which doubles the pull between two.
    """

    mutual_weight: float = 1.0
    loss: MutualLoss = "mse"
    stop_gradient: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mutual_weight < 0:
            raise ValueError(f"mutual_weight is {self.mutual_weight}; expected 0 or more; 1 is the paper's")


@keras.utils.register_keras_serializable(package="consort")
class MutualLearning(PeerModel):
    """K peers, each of which fits the clicks and comes near the others' probabilities.

    With p_n the probability of peer n of K, and all p_i with i != n constant in peer n's loss:

      (1) L_MSE(p_a, p_b) = (p_a - p_b)^2
      (2) L_BCE(p, y) = -[y ln p + (1 - y) ln(1 - p)]
      (3) L_n = L_BCE(p_n, y) + mutual_weight / (K - 1) sum_{i != n} L_MSE(p_i, p_n)

    All peers step at once, from one forward pass. One peer alone has plain (2).

    Reference: "Mutual Learning for Finetuning Click-Through Rate Prediction Models" (2024, arXiv
    2406.12087), equations 1 to 3.

    Args:
      peers: models of one or several classes over the same features; `load_peer` gives them pretrained weights.
      **options: see `MutualLearningOptions`.

    Call arguments, output shape: as `PeerModel`.

    Raises:
      ValueError: no peer, peers whose features differ, a negative weight or an unknown loss.
    """

    options: MutualLearningOptions

    @property
    def loss_names(self) -> tuple[str, ...]:
        return ("bce", "mutual")

    def loss_terms(
        self, clicks: Clicks, logits: Sequence[tf.Tensor], sides: Sequence[Sequence[tf.Tensor]]
    ) -> dict[str, tf.Tensor]:
        bce = tf.add_n([clicks.log_loss(logit) for logit in logits])
        return {"bce": bce, "mutual": self._mutual(clicks, tf.stack(list(logits), axis=-1))}

    def _mutual(self, clicks: Clicks, logits: tf.Tensor) -> tf.Tensor:
        if len(self.peers) == 1 or not self.options.mutual_weight:
            return tf.zeros([])
        distances = self._distances(logits)  # [..., K, K]
        each = tf.reduce_sum(distances, axis=[-2, -1]) / (len(self.peers) - 1)
        return self.options.mutual_weight * clicks.mean_over_exposed(each)

    def _distances(self, logits: tf.Tensor) -> tf.Tensor:
        """Returns the distances of each peer (last axis) to each other (the axis before), zero on the diagonal."""

        def differences(values: tf.Tensor) -> tf.Tensor:
            others = tf.stop_gradient(values) if self.options.stop_gradient else values
            return values[..., tf.newaxis, :] - others[..., tf.newaxis]

        if self.options.loss == "logit_mse":
            return tf.square(differences(logits))
        probabilities = tf.sigmoid(logits)
        if self.options.loss == "symmetric_kl":
            return differences(probabilities) * differences(logits) / 2
        return tf.square(differences(probabilities))


@dataclass(frozen=True)
class MutualLearningRecipe(Recipe, MutualLearningOptions):
    """Pretrains K models from K seeds, finetunes them by `MutualLearning`, and keeps the best peer.

    The settings of the run's section `training` are those of pretraining, or of the whole training
    with `from_scratch`.

    Reference: "Mutual Learning for Finetuning Click-Through Rate Prediction Models" (2024, arXiv
    2406.12087), section 4.1.

    Args:
      peers: number of peers; ignored if `models` or `pretrained` lists the peers.
      models: name of each peer's class; empty: all are of the run's model.
      epochs: epochs of finetuning; in the paper more than one makes results worse.
      learning_rate: learning rate of finetuning, which the paper tunes separately.
      decay_epochs: epochs of finetuning in which the learning rate falls to a tenth, exponentially; None keeps it.
      from_scratch: True skips pretraining: the peers learn together from their first step.
      pretrained: folders of finished runs of `consort train`, one for each peer, used instead of pretraining.
    """

    adds_linear_terms = True

    peers: Count = 4
    models: Sequence[str] = ()
    epochs: Count = 1
    learning_rate: float = 1e-4
    decay_epochs: float | None = None
    from_scratch: bool = False
    pretrained: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; expected above 0; the paper tunes it")
        if self.pretrained and self.from_scratch:
            raise ValueError("pretrained and from_scratch are both given; expected one of them; leave one out")
        if self.pretrained and self.models and len(self.pretrained) != len(self.models):
            raise ValueError(
                f"{len(self.pretrained)} pretrained runs for {len(self.models)} models; expected one a peer; "
                "give as many of each, or leave models out"
            )

    @property
    def num_peers(self) -> int:
        """Number of peers, K."""
        return len(self.models) or len(self.pretrained) or self.peers

    def row_widths(self, width: int) -> list[int]:
        # While a pretrained peer is copied, it is there beside the group.
        return [width] * (self.num_peers + (0 if self.from_scratch else 1))

    def model_names(self) -> list[str]:
        return list(self.models)

    def check(self, models: Sequence[Any]) -> None:
        check_peers(models)
        if self.num_peers < 2:
            raise ValueError(
                f"there is {self.num_peers} peer; expected at least 2, as peers learn from each other; raise "
                "recipe.options.peers, or choose the recipe single"
            )

    def external_inputs(self) -> list[ExternalInput]:
        return [external_input("runs.pretrained.PretrainedModels", self.pretrained)] if self.pretrained else []

    def train(self, job: TrainingJob, directory: Path) -> Trained:
        names: list[str | None] = [*self.models] or [None] * self.num_peers
        seeds = [job.seed + index for index in range(self.num_peers)]
        group = MutualLearning(
            [job.build(seed, name) for seed, name in zip(seeds, names, strict=True)],
            **self.values(MutualLearningOptions),
        )
        group.build_variables()
        before: list[dict[str, Any]] = []
        if not self.from_scratch:
            before = [
                self._load(job, group, index, directory / f"peer_{index}", seeds[index], names[index])
                for index in range(self.num_peers)
            ]
        changes: dict[str, Any] = {} if self.from_scratch else {"base_rate": None, "title": "together"}
        if job.linear_start is not None and not self.from_scratch:
            # On a small log finetuning may lose more than it gains: the pretrained peers are its epoch 0.
            changes["start"] = lambda built: True
        result = job.fit(group, directory / "together", self._settings(job.settings), job.seed, **changes)
        best = best_peer(result, self.num_peers)
        report = {
            "recipe": "mutual_learning",
            "peers": [{"seed": seed, "model": type(peer).__name__} for seed, peer in zip(seeds, group.peers)],
            "pretraining": before,
            "best_peer": best,
        }
        return Trained(group.peer(best), result, report, peers=lambda: tuple(map(group.peer, range(self.num_peers))))

    def _settings(self, settings: FitSettings) -> FitSettings:
        if self.from_scratch:
            return settings
        return dataclasses.replace(
            settings,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            decay_epochs=self.decay_epochs,
            patience=None,
            max_steps=None,
        )

    def _load(
        self, job: TrainingJob, group: MutualLearning, index: int, directory: Path, seed: int, name: str | None
    ) -> dict[str, Any]:
        """Gives a peer its pretrained weights, loaded or trained here; returns where they come from."""
        if self.pretrained:
            group.load_peer(index, job.external["pretrained"][index]())
            return {"from": str(self.pretrained[index])}
        model: TableModel = job.build(seed, name)
        result = job.fit(model, directory, job.settings, seed, title=f"peer_{index} of {self.num_peers}")
        group.load_peer(index, model)
        metrics = result.best or (dict(result.history[-1]) if result.history else {})
        start = {"start": result.start} if result.start else {}
        return {"seed": seed, "best_epoch": result.best_epoch, "steps": result.steps, "metrics": metrics, **start}
