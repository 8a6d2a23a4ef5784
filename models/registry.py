"""Models by name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tf_keras as keras

from models.options import check_names, parameters_of
from transforms.features import ModelInput
from transforms.import_path import Registry

MODELS = {
    "deepfm": "models.ranking.deepfm.DeepFM",
    "dcn": "models.ranking.dcn.DCN",
    "pnn": "models.ranking.pnn.PNN",
    "fibinet": "models.ranking.fibinet.FiBiNET",
    "target_attention_ranker": "models.ranking.target_attention_ranker.TargetAttentionRanker",
    "dssm": "models.retrieval.dssm.DSSM",
    "fism": "models.retrieval.fism.FISM",
    "int_tower": "models.retrieval.int_tower.IntTower",
    "dat": "models.retrieval.dat.DAT",
    "transformer_two_tower": "models.retrieval.transformer_two_tower.TransformerTwoTower",
    "set_ranker": "models.preranking.set_ranker.SetRanker",
    "two_tower": "models.preranking.two_tower.TwoTower",
    "cold": "models.preranking.cold.Cold",
}
"""Short names and import paths."""

REGISTRY = Registry("model", "consort.models", MODELS)


def build_model(name: str, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **options: Any) -> keras.Model:
    """Builds a model, not compiled, its variables not yet made.

    Args:
      name: a short name of `MODELS`, an entry point's name in the group `consort.models`, or the import path of a
        `keras.Model`, `package.module.Class`, whose constructor takes `inputs` and `table_sizes`.
      inputs: the features, as `FeatureSet.model_inputs` gives them.
      table_sizes: ids of each vocabulary, padding included.
      **options: further arguments of the class.

    Raises:
      ValueError: no such model, not a Keras model, or an option that it does not have; the nearest known name is given.
    """
    model_class: Any = REGISTRY.find(name, keras.Model)
    check_options(name, options)
    return model_class(inputs=inputs, table_sizes=table_sizes, **options)


def check_options(name: str, options: Iterable[str]) -> None:
    """Refuses options that a model's class does not have.

    Raises:
      ValueError: there is no such model, or an option that it does not have.
    """
    known = parameters_of(REGISTRY.find(name, keras.Model), keras.Model)
    check_names(f"model {name!r}", options, [key for key in known if key not in ("inputs", "table_sizes")])


def check_name(name: str) -> None:
    """Refuses a name that no model has.

    Raises:
      ValueError: there is none; the nearest known name is given.
    """
    REGISTRY.find(name, keras.Model)
