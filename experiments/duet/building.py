"""Models of a method."""

from dataclasses import dataclass
from typing import Any

import tf_keras as keras

from experiments.duet.grid import DuetGrid
from experiments.duet.methods import Method
from experiments.duet.requests import Data
from models.cotraining.duet import Duet
from models.cotraining.entire_space import EntireSpaceRecipe
from models.registry import build_model

_SEEDS_OF_A_RUN = 10


@dataclass(frozen=True)
class Built:
    """What is trained.

    Args:
      model: gives logits `[B, M]`, or a dict of them.
      candidates: outputs of which the best one on the eval split is served; several are a pair.
    """

    model: keras.Model
    candidates: tuple[str, ...]


def build(method: Method, data: Data, grid: DuetGrid, seed: int) -> Built:
    """The models of a method, under it.

    Args:
      method: what is built.
      data: that they take.
      grid: sizes.
      seed: of the first model's weights; the others' follow.
    """
    first = ("peer_0",)
    if method.baseline:
        recipe = EntireSpaceRecipe(method=method.baseline, options=dict(method.options))
        counts = tuple(recipe.outputs())
        return Built(recipe.group(_models(method, data, grid, seed, counts)), first)
    models = _models(method, data, grid, seed, method.outputs)
    if method.pair is None:
        return Built(models[0], first)
    greatest = grid.epochs * -(-len(data.splits["train"]) // grid.batch_size)
    steps: dict[str, Any] = {
        "warmup_steps": round(method.warmup * greatest),
        "consistency_steps": round(method.schedule_share * greatest),
    }
    pair = Duet(models, **method.pair, **steps)
    return Built(pair, pair.peer_names)


def _models(method: Method, data: Data, grid: DuetGrid, seed: int, counts: tuple[int, ...]) -> list[keras.Model]:
    found = []
    for number, outputs in enumerate(counts):
        options = {**method.model_options, **({"outputs": outputs} if outputs > 1 else {})}
        found.append(
            build_model(
                method.model,
                data.inputs,
                data.table_sizes,
                embedding_dim=grid.embedding_dim,
                hidden_units=grid.hidden_units,
                seed=_SEEDS_OF_A_RUN * seed + number,
                **options,
            )
        )
    return found
