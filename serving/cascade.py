"""A cascade: retrieval finds items, pre-ranking scores them as a set, ranking orders the few that are left."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from serving.client import Prediction, Retrieved, Signature
from serving.retrieval.item_table import ItemTable
from transforms.errors import InputError
from transforms.features import CANDIDATE

SCORE = "logit"
"""Output that scoring stages sort by."""


class Client(Protocol):
    """The methods of `PredictClient` that a cascade calls."""

    def retrieve(self, model: str, inputs: Mapping[str, Any], k: int | None = None) -> Retrieved: ...

    def predict(self, model: str, inputs: Mapping[str, Any]) -> Prediction: ...

    def metadata(self, model: str) -> dict[str, Signature]: ...


@dataclass(frozen=True)
class Stage:
    """A model of the cascade.

    Args:
      model: its name on the server.
      keep: items that it passes on.
    """

    model: str
    keep: int

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"keep of {self.model} is {self.keep}; expected at least 1; let it pass something on")


@dataclass(frozen=True)
class StageAnswer:
    """What a stage passed on.

    Args:
      model, version: that answered.
      item_ids: `[keep]`, best first; fewer if it received fewer.
      scores: their logits.
      milliseconds: that it took, the client's work included.
    """

    model: str
    version: int
    item_ids: np.ndarray
    scores: np.ndarray
    milliseconds: float


class Cascade:
    """Calls one model after the other, each for the items that the one before passed on.

    The server reports the inputs of each model: a stage with the input `candidate` scores the items in one request,
    any other row by row.

    Args:
      client: of the server of all models.
      retrieval: a two-tower model.
      stages: the models behind it, in their order.
      items: raw columns of the catalogue, of the served version of `retrieval`.
    """

    def __init__(self, client: Client, retrieval: Stage, stages: Sequence[Stage], items: ItemTable):
        self._client, self._retrieval, self._stages, self._items = client, retrieval, tuple(stages), items
        self._signatures = {stage.model: client.metadata(stage.model)["serving_default"] for stage in self._stages}
        self._retrieve = client.metadata(retrieval.model)["retrieve"]

    def answer(self, user: Mapping[str, np.ndarray]) -> list[StageAnswer]:
        """Returns the answers of all stages for one user; the last one is the cascade's.

        Args:
          user: raw columns of the user and the context: one value each, `[1]`, lists `[1, N]`. The lengths of lists
            may be left out; see `Column.lengths`.

        Raises:
          InputError: a column is missing, or of several users.
          ServingError: a stage refused.
        """
        started = time.perf_counter()
        model, keep = self._retrieval.model, self._retrieval.keep
        retrieved = self._client.retrieve(model, _user_inputs(user, self._retrieve, (), model), keep)
        real = np.isfinite(retrieved.scores[0])
        ids, scores = retrieved.item_ids[0][real], retrieved.scores[0][real]
        answers = [StageAnswer(retrieved.model, retrieved.version, ids, scores, _since(started))]
        for stage in self._stages:
            answers.append(self._ask(stage, user, answers[-1].item_ids))
        return answers

    def _ask(self, stage: Stage, user: Mapping[str, np.ndarray], ids: np.ndarray) -> StageAnswer:
        started = time.perf_counter()
        signature = self._signatures[stage.model]
        items = self._items.rows(ids)
        user_inputs = _user_inputs(user, signature, (*items, CANDIDATE), stage.model)
        if CANDIDATE in signature.inputs:
            inputs = {**user_inputs, CANDIDATE: np.ones([1, len(ids)], np.int64)}
            inputs |= {name: values[np.newaxis] for name, values in items.items() if name in signature.inputs}
        else:
            inputs = {name: np.repeat(values, len(ids), axis=0) for name, values in user_inputs.items()}
            inputs |= {name: values for name, values in items.items() if name in signature.inputs}
        answer = self._client.predict(stage.model, inputs)
        scores = answer.outputs[SCORE].reshape(-1)
        best = np.argsort(-scores, kind="stable")[: stage.keep]
        return StageAnswer(answer.model, answer.version, ids[best], scores[best], _since(started))


def _user_inputs(
    user: Mapping[str, np.ndarray], signature: Signature, others: Sequence[str], model: str
) -> dict[str, np.ndarray]:
    """Returns the user's columns that are inputs of a signature, without `others`; optional ones where present."""
    names = [name for name in signature.inputs if name not in others]
    names = [name for name in names if name in user or name not in signature.defaults]
    missing = [name for name in names if name not in user]
    if missing:
        known = ", ".join(user) or "nothing"
        raise InputError(f"user, for {model}", known, f"also {', '.join(missing)}", "add these columns")
    several = [name for name in names if len(user[name]) != 1]
    if several:
        received = f"{len(user[several[0]])} values of {several[0]}"
        raise InputError(f"user, for {model}", received, "one user", "ask for one user at a time")
    return {name: np.asarray(user[name]) for name in names}


def _since(started: float) -> float:
    return 1e3 * (time.perf_counter() - started)
