"""CS3: two towers that learn online from each other and from the ranker behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import tensorflow as tf
import tf_keras as keras

from models.cotraining.base import Recipe, Trained
from models.cotraining.clicks import Clicks
from models.cotraining.external_inputs import ExternalInput, external_input
from models.cotraining.peers import PeerModel
from models.cotraining.retrieval import check_towers
from models.cotraining.tower_pretraining import give_weights, pretrain_options, pretrain_towers
from models.layers.tower_caches import TowerCaches
from models.layers.vector_store import StoreContent
from models.options import Options
from models.ranking.target_attention_ranker import TargetAttentionRanker
from models.retrieval.sampled_softmax import SampledSoftmax
from models.retrieval.tower_model import ScaledProduct, TowerInput, TowerModel
from models.training.distribution import has_servers
from models.training.job import TrainingJob
from transforms.features import TEACHER_HIDDEN, TIMESTAMP

Batch = Mapping[str, Any]


@dataclass(frozen=True)
class CS3Options(Options):
    """The options of `CS3`, and of its recipe.

    Args:
      cts: True lets each tower read cached vectors of the other tower.
      cms: True lets both towers read cached vectors of the ranker.
      alpha: share of the old vector in the caches of CTS.
      beta: share of the old vector in the caches of CMS.
      user_feature: id feature by which the caches keep users' vectors.
      item_feature: id feature by which the caches keep items' vectors.
      leaky: True writes the caches before they are read, which leaks labels: a control for experiments, never to be
        used.
      softmax_weight: weight of the sampled softmax over a batch's items, added to the log loss; 0 turns it off.
      temperature: temperature of the sampled softmax.
    """

    cts: bool = True
    cms: bool = True
    alpha: float = 0.8
    beta: float = 0.8
    user_feature: str = "user_id"
    item_feature: str = "item_id"
    leaky: bool = False
    softmax_weight: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alpha", "beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected in [0, 1]; 0.8 is the paper's")
        if self.softmax_weight < 0:
            raise ValueError(f"softmax_weight is {self.softmax_weight}; expected 0 or more; 0 leaves the softmax out")

    @property
    def id_features(self) -> dict[str, str]:
        """Names of the ids, by side."""
        return {"user": self.user_feature, "item": self.item_feature}


@keras.utils.register_keras_serializable(package="consort")
class CS3(PeerModel):
    """Two towers with caches of what the other tower (CTS) and the ranker (CMS) made of an id, and that ranker.

    With u_t, v_t the towers' outputs and h_t the ranker's last hidden layer for event t of user i and item j:

      CTS  where y = 1:  c_i <- alpha c_i + (1 - alpha) v_t,  c_j <- alpha c_j + (1 - alpha) u_t
      CMS  always:       s_i <- beta s_i + (1 - beta) h_t,    s_j <- beta s_j + (1 - beta) h_t

    The user's tower sees [x_i ; c_i ; s_i], the item's [x_j ; c_j ; s_j]: a step reads all caches, takes its
    gradients, and only then writes, in the order of time. So a batch never sees what its own labels left. The
    caches are state, not parameters: no gradient enters them. Data must come in order, and once: before a second
    pass the caches are emptied (`reset_state`). CAS is an option of the towers, `cycle_adaptive`.

    With `softmax_weight` the towers also learn to find each clicked item among the items of its batch
    (`SampledSoftmax`), as retrieval must find it in the whole catalogue, of which the log shows a biased part.

    Reference: "Efficient Online Capability Synergy for Two-Tower Recommendation" (CS3, 2026, arXiv 2604.19269).
    The losses, log loss of both, are not published.

    h is the last hidden layer of the ranker trained here or, with `teacher_width`, of a frozen teacher; then each
    training batch holds it in the column `teacher_hidden`, which only the caches read.

    Args:
      towers: the two towers; a copy of them, with caches, is trained.
      ranker: trained on the same batches; None: h is read from the batches.
      teacher_width: width H of h in the batches; 0 with a ranker.
      in_vocabulary_ids: number of ids of each vocabulary that get vectors in the caches; the vectors of the others, the
        out-of-vocabulary ids, stay zeros. None: all ids.
      **options: see `CS3Options`.

    Call arguments: as `PeerModel`, of rows; `timestamp` orders the events of a batch, else their place does.

    Output shape: a dict of logits `[B]`: `towers` and, if there is one, `ranker`.

    Raises:
      ValueError: an id feature that is not an input, a weight below 0, a softmax over towers that are not compared by
        a product, or not one of ranker and `teacher_width`.
    """

    options: CS3Options

    def __init__(
        self,
        towers: TowerModel,
        ranker: TargetAttentionRanker | None,
        in_vocabulary_ids: Mapping[str, int] | None = None,
        teacher_width: int = 0,
        **options: Any,
    ):
        if (ranker is None) != (teacher_width > 0):
            received = "no ranker" if ranker is None else "a ranker"
            raise ValueError(f"{received} and teacher_width {teacher_width}; expected one source of h; give either")
        chosen: CS3Options = self.checked_options(options)
        vocabularies = {side: _vocabulary_of(side, name, towers) for side, name in chosen.id_features.items()}
        sizes = {side: towers.embeddings.table_sizes[vocabulary] for side, vocabulary in vocabularies.items()}
        kept = towers.kept_widths
        caches = TowerCaches(
            sizes,
            {"user": kept["item"], "item": kept["user"]} if chosen.cts else {},
            (teacher_width if ranker is None else ranker.hidden_width) if chosen.cms else 0,
            chosen.alpha,
            chosen.beta,
            chosen.id_features,
            {side: (in_vocabulary_ids or {}).get(vocabulary, sizes[side]) for side, vocabulary in vocabularies.items()},
        )
        if chosen.softmax_weight and not isinstance(towers.similarity, ScaledProduct):
            raise ValueError(
                f"softmax_weight is {chosen.softmax_weight}, of {type(towers).__name__}; expected towers that are "
                "compared by a product; choose others, or softmax_weight 0"
            )
        super().__init__([towers.with_caches(caches), *([] if ranker is None else [ranker])], **options)
        self.towers: Any = self.peers[0]
        self.ranker = ranker
        self.teacher_width, self.in_vocabulary_ids = teacher_width, dict(in_vocabulary_ids or {})
        self._carried: Mapping[str, StoreContent] = MappingProxyType({})
        if chosen.softmax_weight:
            self._softmax = SampledSoftmax(chosen.temperature)
            self.item_counts = self.add_weight(
                name="item_counts", shape=[sizes["item"]], dtype=tf.int64, initializer="zeros", trainable=False
            )

    @property
    def loss_names(self) -> tuple[str, ...]:
        has = {
            "ranker": len(self.peers) > 1,
            "auxiliary": self.peers[0].has_auxiliary_losses,
            "softmax": self.options.softmax_weight > 0,
        }
        return ("bce", *(name for name, is_there in has.items() if is_there))

    @property
    def peer_names(self) -> tuple[str, ...]:
        return ("towers", "ranker")[: len(self.peers)]

    @property
    def caches(self) -> TowerCaches:
        """The caches that the towers read beside their features."""
        return self.towers.caches

    def call(self, features: Batch, training: bool | None = None, with_sides: bool = False) -> Any:
        of_towers, *of_ranker = self.embeddings(features, training=training, as_sets=True)
        user, item = self.towers.both(TowerInput(of_towers, self.towers.extras(features)), training)
        scores, hidden = [self.towers.similarity((user, item))], []
        if self.ranker is not None:
            hidden.append(self.ranker.hidden(self.ranker.cast_sets(*of_ranker), training))
            scores.append(self.ranker.logit_of(*hidden))
        logits = {name: self.towers.of_rows(score) for name, score in zip(self.peer_names, scores, strict=True)}
        sides = [[user, item[:, 0]], [layer[:, 0] for layer in hidden], self.towers.side_outputs(of_towers)]
        return (logits, sides) if with_sides else logits

    def loss_terms(self, clicks: Clicks, logits: Any, sides: Any) -> dict[str, tf.Tensor]:
        terms = {name: clicks.log_loss(logit) for name, logit in zip(("bce", "ranker"), logits, strict=False)}
        if self.towers.has_auxiliary_losses:
            (user, item), _, outputs = sides
            terms["auxiliary"] = self.towers.auxiliary_loss(user, item, outputs, clicks)
        if self.options.softmax_weight:
            terms["softmax"] = self.options.softmax_weight * self._softmax_loss(clicks, *sides[0])
        return terms

    def _softmax_loss(self, clicks: Clicks, user: tf.Tensor, item: tf.Tensor) -> tf.Tensor:
        ids = clicks.features[self.options.id_features["item"]]
        counts = tf.cast(self.item_counts, tf.float32)
        # As if each item had been seen once before the first.
        shares = (tf.gather(counts, ids) + 1) / (tf.reduce_sum(counts) + tf.cast(tf.size(counts), tf.float32))
        clicked = clicks.weighted(tf.cast(clicks.label > 0, tf.float32) * clicks.exposed)
        return self._softmax(user * self.towers.similarity.scale, item, ids, shares, clicked)

    def monitored(self, terms: Mapping[str, tf.Tensor], click_losses: Any) -> tf.Tensor:
        return click_losses[0]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        clicks = Clicks.of(data)
        if self.options.leaky:
            _, sides = self(clicks.features, training=False, with_sides=True)
            self.write(clicks, sides)
        return super().train_step(data)

    def after_step(self, clicks: Clicks, logits: Mapping[str, tf.Tensor], sides: Any) -> None:
        if not self.options.leaky:
            self.write(clicks, sides)

    def write(self, clicks: Clicks, sides: Any) -> None:
        """Writes the caches.

        Args:
          clicks: events whose labels are known.
          sides: what the model gave for them: `[[u, v], [h], ...]`; without a ranker no h, which is in the batch.
        """
        (user, item), of_ranker, _ = sides
        kept_user, kept_item = self.towers.kept(user, item)
        features, size = clicks.features, tf.size(clicks.label)
        hidden = of_ranker[0] if of_ranker else features[TEACHER_HIDDEN]
        times = features[TIMESTAMP] if TIMESTAMP in features else tf.range(size, dtype=tf.int64)
        shown = clicks.exposed > 0
        opposite = {"user": kept_item, "item": kept_user}
        self.caches.write(features, opposite, hidden, times, (clicks.label > 0) & shown, shown)
        if self.options.softmax_weight:
            ids = features[self.options.id_features["item"]]
            self.item_counts.scatter_add(tf.IndexedSlices(tf.ones_like(ids), ids))

    def carry(self, contents: Mapping[str, StoreContent]) -> None:
        """Lets the caches begin, now and at each pass, with what an earlier run left in them.

        Args:
          contents: by store, of this model's ids; of events before all that are to come.
        """
        # Keras would track a dict, and look for variables in it.
        self._carried = MappingProxyType(dict(contents))
        self.caches.fill(contents)

    def reset_state(self) -> None:
        """Forgets what a pass left in the caches: the next one would see its own labels; see also `carry`."""
        self.caches.reset()
        self.caches.fill(self._carried)
        if self.options.softmax_weight:
            self.item_counts.assign(tf.zeros_like(self.item_counts))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        towers, *ranker = config.pop("peers")
        models = {"towers": towers, "ranker": ranker[0] if ranker else None}
        return {**config, **models, "teacher_width": self.teacher_width, "in_vocabulary_ids": self.in_vocabulary_ids}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "CS3":
        models = {name: keras.utils.deserialize_keras_object(config.pop(name)) for name in ("towers", "ranker")}
        return cls(**models, **config)


def _vocabulary_of(side: str, name: str, towers: TowerModel) -> str:
    vocabularies = {item.name: item.vocabulary for item in towers.embeddings.inputs if item.width is None}
    vocabulary = vocabularies.get(name)
    if vocabulary is None:
        known = ", ".join(key for key, value in vocabularies.items() if value is not None)
        raise ValueError(f"{side}_feature is {name!r}; expected an id among the inputs: {known}; name one")
    return vocabulary


RANKER = "target_attention_ranker"


@dataclass(frozen=True)
class CS3Recipe(Recipe, CS3Options):
    """Trains two towers and the ranker that teaches them by `CS3`, and keeps the towers.

    With a teacher no ranker is trained: the batches hold the teacher's last hidden layer for each row.

    Reference: "Efficient Online Capability Synergy for Two-Tower Recommendation" (CS3, 2026, arXiv 2604.19269).

    Args:
      teacher: folder of an exported ranker, of its run or of its versions, whose last hidden layer fills the caches;
        None: a ranker trained beside the towers fills them.
      caches_from: folder of an earlier run whose cached vectors the new caches start with, for the ids that both runs
        know; None: the caches start empty.
      pretrain: options of the recipe `retrieval`, with `epochs`, `patience`, `learning_rate` and `batch_size`, by which
        the towers alone learn first, to retrieve from the whole catalogue; {} takes the defaults. None: no pretraining.
    """

    in_time_order: ClassVar[bool] = True

    teacher: str | None = None
    caches_from: str | None = None
    pretrain: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretrain is not None:
            if not isinstance(self.pretrain, Mapping):
                raise ValueError(f"pretrain is {self.pretrain!r}; expected options of the recipe retrieval, or {{}}")
            pretrain_options(self.pretrain)
        for name, meant in (("teacher", "the path of an exported ranker"), ("caches_from", "the folder of a run")):
            path = getattr(self, name)
            if path is not None and not (isinstance(path, str) and path):
                raise ValueError(f"{name} is {path!r}; expected {meant}; name one, or leave it out")
        if self.teacher and not self.cms:
            raise ValueError(
                f"teacher is {self.teacher!r} and cms False; expected cms True, as nothing else reads what a teacher "
                "tells; leave one of them out"
            )

    def row_widths(self, width: int) -> list[int]:
        return [width] * (1 if self.teacher else 2)

    def model_names(self) -> list[str]:
        return [] if self.teacher else [RANKER]

    def external_inputs(self) -> list[ExternalInput]:
        inputs = []
        if self.teacher:
            inputs.append(external_input("serving.teacher.TeacherInput", self.teacher))
        if self.caches_from:
            inputs.append(external_input("runs.earlier_caches.CachesInput", self.caches_from))
        return inputs

    def check(self, models: Sequence[Any]) -> None:
        towers, *ranker = models
        if not isinstance(towers, TowerModel):
            raise ValueError(
                f"the model is {type(towers).__name__}; expected two towers; choose fism, dssm, int_tower, dat "
                "or transformer_two_tower"
            )
        if any(item.shape.per_candidate for item in towers.embeddings.inputs):
            raise ValueError("records are requests; expected rows, as a stream has them; set record to row")
        if self.pretrain is not None:
            check_towers(towers)
        # How wide a teacher's layer is makes no difference here.
        self.group(towers, ranker[0] if ranker else None, {}, 1 if self.teacher else 0)

    def streamed(self, job: TrainingJob) -> CS3:
        if tf.distribute.has_strategy() and not has_servers(tf.distribute.get_strategy()):
            raise ValueError(
                "a strategy of tf.distribute is given that copies the caches; expected none, or parameter servers, "
                "which keep them once; set training.distribution to none or parameter_server"
            )
        towers = job.build(job.seed, None)
        ranker = None if self.teacher else job.build(job.seed + 1, RANKER)
        teacher_width = job.external["teacher"].hidden_width if self.teacher else 0
        group = self.group(towers, ranker, job.in_vocabulary_ids, teacher_width)
        group.build_variables()
        if job.base_rate is not None:
            group.initialize_bias(job.base_rate)
        group.carry(job.external.get("caches_from", {}))
        return group

    def served(self, streamed: CS3) -> TowerModel:
        towers: Any = streamed.peer(0)
        return towers

    def train(self, job: TrainingJob, directory: Path) -> Trained:
        group = self.streamed(job)
        changes: dict[str, Any] = {}
        before: dict[str, Any] = {}
        if self.pretrain is not None:
            if tf.distribute.has_strategy():
                raise ValueError(
                    "pretrain is set under a strategy of tf.distribute; expected one process; leave it out"
                )
            plain, pretraining = pretrain_towers(job, pretrain_options(self.pretrain), directory / "retrieval")
            towers = self.served(group)
            give_weights(towers, plain)
            group.load_peer(0, towers)
            # Pretrained towers have their bias.
            changes, before = {"base_rate": None}, {"pretraining_of_towers": pretraining}
        result = job.fit(group, directory / "together", job.settings, job.seed, **changes)
        report = {
            "recipe": "cs3",
            "towers": type(group.towers).__name__,
            **({"ranker": type(group.ranker).__name__} if group.ranker is not None else {}),
            "cached_ids": _cached_ids(group),
            **before,
        }
        return Trained(self.served(group), result, report)

    def group(
        self,
        towers: TowerModel,
        ranker: TargetAttentionRanker | None,
        in_vocabulary_ids: Mapping[str, int],
        teacher_width: int,
    ) -> CS3:
        """Returns the model that is trained; the arguments are those of `CS3`."""
        return CS3(towers, ranker, in_vocabulary_ids, teacher_width, **self.values(CS3Options))


def _cached_ids(group: CS3) -> dict[str, int]:
    """Returns the number of ids with a vector, by store."""
    return {name: int((store.counts.numpy() > 0).sum()) for name, store in group.caches.stores.items()}
