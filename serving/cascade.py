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
"""What scoring stages are ordered by."""


class Client(Protocol):
    """What a cascade asks of `PredictClient`."""

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
      item_ids: `[keep]`, best first; fewer if it was given fewer.
      scores: their logits.
      milliseconds: that it took, the client's work included.
    """

    model: str
    version: int
    item_ids: np.ndarray
    scores: np.ndarray
    milliseconds: float


class Cascade:
    """Asks one model after the other, each for what the one before passed on.

    What each model wants is taken from the server: a stage that asks for `candidate` scores the items of one request,
    any other row by row.

    Args:
      client: of the server, or of one for all.
      retrieval: a two-tower model.
      stages: the models behind it, in their order.
      items: raw columns of the catalogue: of the version of `retrieval` that answers.
    """

    def __init__(self, client: Client, retrieval: Stage, stages: Sequence[Stage], items: ItemTable):
        self._client, self._retrieval, self._stages, self._items = client, retrieval, tuple(stages), items
        self._asked = {stage.model: client.metadata(stage.model)["serving_default"] for stage in self._stages}
        self._of_user = client.metadata(retrieval.model)["retrieve"]

    def answer(self, user: Mapping[str, np.ndarray]) -> list[StageAnswer]:
        """The answers of all stages for one user, the last one's being the cascade's.

        Args:
          user: raw columns of the user and the context: one value each, `[1]`, lists `[1, N]`. The lengths of lists
            may be left out; see `Column.lengths`.

        Raises:
          InputError: a column is missing, or of several users.
          ServingError: a stage refused.
        """
        started = time.perf_counter()
        found = self._client.retrieve(
            self._retrieval.model, _some(user, self._of_user, (), self._retrieval.model), self._retrieval.keep
        )
        real = np.isfinite(found.scores[0])
        answers = [
            StageAnswer(found.model, found.version, found.item_ids[0][real], found.scores[0][real], _since(started))
        ]
        for stage in self._stages:
            answers.append(self._ask(stage, user, answers[-1].item_ids))
        return answers

    def _ask(self, stage: Stage, user: Mapping[str, np.ndarray], ids: np.ndarray) -> StageAnswer:
        started = time.perf_counter()
        asked = self._asked[stage.model]
        items = self._items.rows(ids)
        own = _some(user, asked, (*items, CANDIDATE), stage.model)
        if CANDIDATE in asked.inputs:
            inputs = {**own, CANDIDATE: np.ones([1, len(ids)], np.int64)}
            inputs |= {name: values[np.newaxis] for name, values in items.items() if name in asked.inputs}
        else:
            inputs = {name: np.repeat(values, len(ids), axis=0) for name, values in own.items()}
            inputs |= {name: values for name, values in items.items() if name in asked.inputs}
        answer = self._client.predict(stage.model, inputs)
        scores = answer.outputs[SCORE].reshape(-1)
        best = np.argsort(-scores, kind="stable")[: stage.keep]
        return StageAnswer(answer.model, answer.version, ids[best], scores[best], _since(started))


def _some(user: Mapping[str, np.ndarray], asked: Signature, others: Sequence[str], model: str) -> dict[str, np.ndarray]:
    """The user's columns that a signature asks for: all but `others`, and of those with a default what there is."""
    names = [name for name in asked.inputs if name not in others and (name in user or name not in asked.defaults)]
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
