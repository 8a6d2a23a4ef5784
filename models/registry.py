"""Models by name."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import tf_keras as keras

from transforms.features import ModelInput
from transforms.import_path import Registry, nearest

MODELS = {
    "deepfm": "models.ranking.deepfm.DeepFM",
    "dcn": "models.ranking.dcn.DCN",
    "pnn": "models.ranking.pnn.PNN",
    "fibinet": "models.ranking.fibinet.FiBiNET",
    "target_attention_ranker": "models.ranking.target_attention_ranker.TargetAttentionRanker",
    "dssm": "models.retrieval.dssm.DSSM",
    "int_tower": "models.retrieval.int_tower.IntTower",
    "dat": "models.retrieval.dat.DAT",
    "transformer_two_tower": "models.retrieval.transformer_two_tower.TransformerTwoTower",
    "set_ranker": "models.preranking.set_ranker.SetRanker",
    "two_tower": "models.preranking.two_tower.TwoTower",
    "cold": "models.preranking.cold.Cold",
}
"""Short names and import paths."""

REGISTRY = Registry("model", "consort.models", MODELS)


def build_model(
    name: str, inputs: Sequence[ModelInput], table_sizes: Mapping[str, int], **arguments: Any
) -> keras.Model:
    """A model, not compiled, its variables not yet built.

    Args:
      name: a short name, or the import path of a `keras.Model` of one's own, `package.module.Class`,
        whose constructor takes `inputs` and `table_sizes`.
      inputs: the features, as `FeatureSet.model_inputs` gives them.
      table_sizes: ids of each vocabulary, padding included.
      **arguments: further arguments of the class.

    Raises:
      ValueError: no such model, not a Keras model, or an argument that it does not have; the nearest
        known name is given.
    """
    model_class = REGISTRY.find(name, keras.Model)
    known = _arguments(model_class)
    for argument in arguments:
        if argument not in known:
            raise ValueError(f"model {name!r} has no argument {argument!r}; {nearest(argument, known)}")
    return model_class(inputs=inputs, table_sizes=table_sizes, **arguments)


def check_name(name: str) -> None:
    """Looks whether there is a model of that name.

    Raises:
      ValueError: there is none; the nearest known name is given.
    """
    REGISTRY.find(name, keras.Model)


def _arguments(model_class: type[keras.Model]) -> list[str]:
    """Arguments of the class's constructor, and of those that it hands the rest to."""
    found: dict[str, None] = {}
    for one in model_class.__mro__:
        if one is keras.Model:
            break
        if "__init__" in vars(one):
            parameters = inspect.signature(vars(one)["__init__"]).parameters
            found |= dict.fromkeys(parameters)
            if all(item.kind is not inspect.Parameter.VAR_KEYWORD for item in parameters.values()):
                break
    return [key for key in found if key not in ("self", "inputs", "table_sizes", "args", "kwargs")]
