"""The truth behind a log, against the relevance that the simulation drew its clicks from."""

import numpy as np
import pytest

from simulation.cascade import ABSENT
from simulation.cascade_log import item_names, parts_of_log, user_names
from simulation.cascade_world import CascadeWorld
from simulation.parameters import World
from simulation.truth import SimulatedTruth
from transforms.portable_random import SIMULATOR_VERSION

_WORLD = World(
    users=30, items=50, block_requests=16, drift=0.2, pool_size=30, candidates=20, min_candidates=15, ranked_items=12
)
_ORIGIN = {
    "source": "simulator",
    "simulator_version": SIMULATOR_VERSION,
    "world": _WORLD.model_dump(mode="json"),
    "requests": 150,
    "seed": 4,
}


def test_the_probability_is_that_of_the_relevance_with_the_tastes_of_the_moment() -> None:
    truth = SimulatedTruth.of(_ORIGIN)
    assert truth is not None
    simulated = CascadeWorld(_WORLD, 150, 4)
    blocks = [simulated.answer(stop - start) for _, start, stop in parts_of_log(150, _WORLD.block_requests)]
    for block in (blocks[0], blocks[-1]):
        ids = np.array([b"r%09d" % (block.first + row) for row in range(len(block.requests))], object)
        assert truth.has(ids, user_names(_WORLD)[block.requests.user].astype(object))
        result = truth.probabilities(ids, item_names(_WORLD).astype(object))
        real = block.item != ABSENT
        expected = 1 / (1 + np.exp(-block.relevance.astype(np.float64)))
        chosen = np.take_along_axis(result, np.maximum(block.item, 0), axis=1)
        np.testing.assert_allclose(chosen[real], expected[real], rtol=1e-5)


def test_other_logs_have_no_truth() -> None:
    assert SimulatedTruth.of({}) is None and SimulatedTruth.of({**_ORIGIN, "source": "movielens"}) is None
    assert SimulatedTruth.of({**_ORIGIN, "simulator_version": SIMULATOR_VERSION - 1}) is None
    truth = SimulatedTruth.of(_ORIGIN)
    assert truth is not None
    users = user_names(_WORLD)[CascadeWorld(_WORLD, 150, 4).arrivals.user[:2]].astype(object)
    assert not truth.has(np.array([b"r000000000", b"r000000150"], object), users)
    assert not truth.has(np.array([b"x1", b"r000000001"], object), users)
    assert not truth.has(np.array([b"r000000000", b"r000000001"], object), np.array([b"u00", b"other"], object))
    with pytest.raises(ValueError, match="no item b'new'"):
        truth.probabilities(np.array([b"r000000000"], object), np.array([b"i01", b"new"], object))
