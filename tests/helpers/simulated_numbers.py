"""Prints hashes of what small simulated worlds draw: run in processes that are told to use other instructions."""

import hashlib
import json
from collections.abc import Iterable

import numpy as np

from simulation.cascade_world import CascadeWorld
from simulation.ctr_world import ClickLogWorld
from simulation.parameters import Category, ClickLogParameters, World
from transforms.batches import Ragged
from transforms.sources.ratings_matrix.ratings import Ratings
from transforms.sources.ratings_matrix.read import preferences, rounds, yes_probability
from transforms.sources.ratings_matrix.schema import RatingsMatrixOptions

USERS, ITEMS = 30, 80


def hash_of(arrays: Iterable[np.ndarray]) -> str:
    """sha256 of the arrays' bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def cascade() -> Iterable[np.ndarray]:
    """All that requests of a small cascade world hold."""
    world = CascadeWorld(World(users=300, items=500, past_clicks=4.0), 600, seed=7)
    yield from (world.users.activity, world.items.price, world.items.birth, world.items.popularity)
    for _ in range(3):
        block = world.answer(200)
        yield from (block.item, block.relevance, block.probability, block.label, block.age_hours)
        yield from (block.outcome.stage, block.outcome.position, block.outcome.score, block.histories.items)


def click_log() -> Iterable[np.ndarray]:
    """Rows and truth of a small click log with every order of effects and each kind of distribution of ids."""
    exponents = {"a": 0.0, "b": 0.7, "c": 1.0, "d": 1.6}
    parameters = ClickLogParameters(
        categories=tuple(Category(name=name, ids=5000, exponent=value) for name, value in exponents.items()),
        pairs=(("a", "b"), ("c", "d")),
        triples=(("a", "b", "c"),),
        latent_dim=3,
    )
    world = ClickLogWorld(parameters, seed=7)
    yield from (np.array([world.bias]), world.scales, *world.sample(3000, seed=8).values())


def ratings() -> Iterable[np.ndarray]:
    """Simulated requests on a matrix of ratings with gaps."""
    cells = np.arange(USERS * ITEMS, dtype=np.float64).reshape(USERS, ITEMS)
    values = np.where(cells % 7 == 3, np.nan, (cells * 37 % 401) / 20 - 10)
    users, items = (np.array([b"%d" % number for number in range(size)]) for size in (USERS, ITEMS))
    options = RatingsMatrixOptions(format="jester", candidates=20, exposed_items=4, seed=7)
    matrix = Ratings(values, users, items)
    yield from (yes_probability(matrix, options), preferences(matrix, options))
    for requests in rounds(matrix, options):
        for field in vars(requests).values():
            yield from (field.values, field.offsets) if isinstance(field, Ragged) else (field,)


if __name__ == "__main__":
    print(json.dumps({part.__name__: hash_of(part()) for part in (cascade, click_log, ratings)}))
