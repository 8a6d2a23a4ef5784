"""Exported two-tower models that several files of tests look at."""

import pytest

from tests.helpers.served_towers import ToyTowers, make_towers


@pytest.fixture(scope="session")
def towers(tmp_path_factory: pytest.TempPathFactory) -> ToyTowers:
    """A DSSM with caches, exported with its catalogue."""
    return make_towers(tmp_path_factory.mktemp("towers"))
