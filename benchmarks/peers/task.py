"""The task that contenders train, and its data: the same for every library."""

import json
from dataclasses import asdict, dataclass

import numpy as np

CLICK_RATE = 0.25
"""Close to Criteo's. Labels are random: speed does not depend on them."""


@dataclass(frozen=True)
class Task:
    """A model and the batches that it trains on.

    Args:
      model: `deepfm`, or another name of `models.registry`.
      ids: of all fields together, split evenly; none is padding.
      fields: each with one id a row.
      width: of an embedding.
      hidden_units: of the MLP.
      batch_size: rows of a batch.
      batches: number of different batches, held in memory and repeated.
      exponent: of the law by which an id's frequency falls with its rank, `rank ** -exponent`; 0: all alike.
      dtype: `float32`, or `bfloat16` for the matrix products.
      peers: models that teach each other; 1: one model, alone.
      as_shipped: the library's own defaults where they differ from the common model (regularisation).
      threads: that the library may use.
      seed: of the data and the weights.
    """

    model: str = "deepfm"
    ids: int = 1_000_000
    fields: int = 39
    width: int = 16
    hidden_units: tuple[int, ...] = (400, 200, 100)
    batch_size: int = 4000
    batches: int = 16
    exponent: float = 1.2
    dtype: str = "float32"
    peers: int = 1
    as_shipped: bool = False
    threads: int = 2
    seed: int = 1

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Task":
        values = json.loads(line)
        return cls(**{**values, "hidden_units": tuple(values["hidden_units"])})


def field_sizes(task: Task) -> list[int]:
    """Returns the number of ids of each field."""
    quotient, rest = divmod(task.ids, task.fields)
    return [quotient + (field < rest) for field in range(task.fields)]


def make_batches(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids int64 `[batches, batch_size, fields]`, from 0 in each field, and labels `[batches, batch_size]`.

    In each field id 0 is the most frequent one, as vocabularies number them.
    """
    rng = np.random.default_rng(task.seed)
    shape = (task.batches, task.batch_size)
    ids = np.empty((*shape, task.fields), np.int64)
    for field, size in enumerate(field_sizes(task)):
        cumulated = np.cumsum(np.arange(1.0, size + 1) ** -task.exponent)
        ids[..., field] = np.searchsorted(cumulated, rng.random(shape) * cumulated[-1], side="right")
    return ids, (rng.random(shape) < CLICK_RATE).astype(np.float32)


def distinct_ids(task: Task) -> int:
    """Returns the number of distinct pairs of field and id in the first batch."""
    ids, _ = make_batches(task)
    return sum(len(np.unique(ids[0, :, field])) for field in range(task.fields))
