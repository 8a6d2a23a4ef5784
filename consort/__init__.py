"""The front door: the names that a notebook needs, the command line, presets, demo and doctor.

The names in `__all__` are imported when they are first used, so that `import consort` is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

from consort.checkout import alias_packages
from transforms.one_keras import require_legacy_keras

require_legacy_keras()
alias_packages()

if TYPE_CHECKING:  # The same names as in _PUBLIC, for type checkers and editors.
    from models.cotraining.cs3 import CS3 as CS3
    from models.cotraining.duet import Duet as Duet
    from models.cotraining.mutual_learning import MutualLearning as MutualLearning
    from models.layers.linear_attention import LinearAttention as LinearAttention
    from models.preranking.set_ranker import SetRanker as SetRanker
    from models.ranking.dcn import DCN as DCN
    from models.ranking.deepfm import DeepFM as DeepFM
    from models.ranking.target_attention_ranker import TargetAttentionRanker as TargetAttentionRanker
    from models.retrieval.dssm import DSSM as DSSM
    from models.training.compiling import compile_model as compile_model
    from models.training.losses import ClickLoss as ClickLoss
    from models.training.optimizers import LazyAdam as LazyAdam
    from serving.cascade import Cascade as Cascade
    from serving.cascade import load_cascade as load_cascade
    from serving.client import PredictClient as PredictClient
    from serving.export.export import export_model as export_model
    from transforms.beam.columns import Preprocessing as Preprocessing
    from transforms.features import Column as Column
    from transforms.features import Feature as Feature
    from transforms.features import FeatureSet as FeatureSet
    from transforms.features import Vocabulary as Vocabulary

_PUBLIC = {
    "FeatureSet": "transforms.features",
    "Column": "transforms.features",
    "Feature": "transforms.features",
    "Vocabulary": "transforms.features",
    "Preprocessing": "transforms.beam.columns",
    "MutualLearning": "models.cotraining.mutual_learning",
    "Duet": "models.cotraining.duet",
    "CS3": "models.cotraining.cs3",
    "DeepFM": "models.ranking.deepfm",
    "DCN": "models.ranking.dcn",
    "TargetAttentionRanker": "models.ranking.target_attention_ranker",
    "SetRanker": "models.preranking.set_ranker",
    "DSSM": "models.retrieval.dssm",
    "LinearAttention": "models.layers.linear_attention",
    "ClickLoss": "models.training.losses",
    "LazyAdam": "models.training.optimizers",
    "compile_model": "models.training.compiling",
    "export_model": "serving.export.export",
    "PredictClient": "serving.client",
    "Cascade": "serving.cascade",
    "load_cascade": "serving.cascade",
}
"""Module of each public name."""

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'consort' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
