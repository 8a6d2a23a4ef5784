"""What makes many short runs on a stream quick."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from runs.online import setup
from transforms.beam.transform_dataset import transform_dataset


@pytest.fixture(scope="module")
def eagerly() -> Iterator[None]:
    """A few steps of many runs: compiling each would take longer."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def each_transform_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Learned once for all runs on the same data and features."""
    kept, learn = tmp_path_factory.mktemp("kept"), transform_dataset

    def remembered(directory: Any, dataset: Any, out: Path, feature_set: Any, *more: Any, **options: Any) -> None:
        own = kept / f"{dataset.sha256[:16]}-{feature_set.digest()[:16]}"
        if not own.exists():
            learn(directory, dataset, own, feature_set, *more, **options)
        shutil.copytree(own, out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "transform_dataset", remembered)
        yield
