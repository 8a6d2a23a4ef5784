"""Exported models that several files of tests look at."""

from pathlib import Path

import pytest

from tests.helpers.served_towers import ToyTowers, make_towers
from tests.serving import toy_models


@pytest.fixture(scope="session")
def towers(tmp_path_factory: pytest.TempPathFactory) -> ToyTowers:
    """A DSSM with caches, exported with its catalogue."""
    return make_towers(tmp_path_factory.mktemp("towers"))


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model x / 2 + 2."""
    return toy_models.half_plus_two(tmp_path_factory.mktemp("two") / "model")
