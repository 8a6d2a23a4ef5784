"""The two-tower models, small, over the fields of `model_batches`."""

from typing import Any

import tensorflow as tf

from models.cotraining.cs3 import CS3
from models.ranking.target_attention_ranker import TargetAttentionRanker
from models.retrieval.dat import DAT
from models.retrieval.dssm import DSSM
from models.retrieval.int_tower import IntTower
from models.retrieval.tower_model import TowerModel
from models.retrieval.transformer_two_tower import TransformerTwoTower
from tests.helpers.model_batches import ROW, SIZES

HIDDEN = 3
_IDS = {"user_feature": "user", "item_feature": "item"}
_OPTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dssm": (DSSM, {}),
    "int_tower": (IntTower, {"heads": 2, "head_width": 3, "item_feature": "item"}),
    "dat": (DAT, _IDS),
    "transformer_two_tower": (TransformerTwoTower, {"blocks": 2, "heads": 2, "width": 4}),
}
BACKBONES = tuple(_OPTIONS)


def backbone(name: str, inputs: Any = ROW, **options: Any) -> Any:
    """A model by its short name, with two hidden widths; options overrule."""
    model, own = _OPTIONS[name]
    return model(inputs, SIZES, **{"embedding_dim": 3, "hidden_units": (5, 4), "seed": 4, **own, **options})


def moved(model: Any, batch: dict[str, Any], scale: float = 0.5) -> Any:
    """The model with weights of which none is near zero, so that everything matters."""
    model(batch)
    for index, weight in enumerate(model.trainable_weights):
        weight.assign_add(tf.random.stateless_normal(weight.shape, [7, index], stddev=scale))
    return model


def in_cs3(towers: TowerModel, **options: Any) -> CS3:
    """The towers with a ranker."""
    ranker = TargetAttentionRanker(ROW, SIZES, embedding_dim=3, hidden_units=(5, HIDDEN), seed=2)
    return CS3(towers, ranker, **{**_IDS, **options})
