"""Approximate indexes over item vectors by the libraries that build them: the largest inner products, soon."""

import abc
import importlib.util
import os
import re
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from transforms.errors import MissingPart

INSTALL = {
    "hnsw": ("hnswlib", "pip install --no-deps hnswlib==0.8.0 (compiles; needs g++)"),
    "scann": ("scann", "pip install --no-deps scann==1.3.2"),
}
"""The package of each kind, and the line that installs it."""


def require(kind: str) -> None:
    """Looks whether the package of a kind is installed.

    Raises:
      MissingPart: names the package and the line that installs it.
    """
    package, install = INSTALL[kind]
    if importlib.util.find_spec(package) is None:
        raise MissingPart(package, install)


class Index(abc.ABC):
    """An index over vectors.

    Args:
      built: by the library.
      effort: what a search spends: more finds more.
    """

    kind: ClassVar[str]
    efforts: ClassVar[tuple[int, ...]]
    """Values of `effort` to try, rising."""
    effort_name: ClassVar[str]

    def __init__(self, built: Any, effort: int = 0):
        self.built, self.effort = built, effort or self.efforts[0]

    @classmethod
    @abc.abstractmethod
    def build(cls, vectors: np.ndarray, seed: int) -> Self:
        """Builds it, over rows."""

    @abc.abstractmethod
    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of about the largest inner products, and the products, `[B, k]`, in falling order."""

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Writes it into a folder that is there."""

    @classmethod
    @abc.abstractmethod
    def load(cls, folder: Path, vectors: int, width: int, effort: int) -> Self:
        """Reads it."""

    @classmethod
    @abc.abstractmethod
    def parameters(cls) -> dict[str, int | float]:
        """How it is built."""


class Hnsw(Index):
    """Hierarchical navigable small worlds, by hnswlib.

    Vectors get a coordinate more, which makes all equally long, and queries a 0 there: no product changes. Among
    vectors of unequal lengths the graph leads to the longest, and on towers' vectors missed a third of the best.
    """

    kind, efforts, effort_name = "hnsw", (200, 400, 800, 1600, 3200), "ef"
    _FILE, _M, _EF_CONSTRUCTION = "index.hnsw", 32, 200

    @classmethod
    def build(cls, vectors: np.ndarray, seed: int) -> Self:
        import hnswlib

        squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
        long = np.column_stack([vectors, np.sqrt(squares.max() - squares)]).astype(np.float32)
        built = hnswlib.Index(space="ip", dim=long.shape[1])
        built.init_index(len(long), ef_construction=cls._EF_CONSTRUCTION, M=cls._M, random_seed=seed)
        built.add_items(long, np.arange(len(long)), num_threads=_cores())
        return cls(built)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        self.built.set_ef(max(self.effort, k))
        # One thread: a server has another request for the others.
        long = np.column_stack([queries, np.zeros(len(queries))]).astype(np.float32)
        rows, distances = self.built.knn_query(long, k, num_threads=1)
        # Its distance is 1 less the product.
        return rows.astype(np.int64), 1 - distances

    def save(self, folder: Path) -> None:
        self.built.save_index(str(folder / self._FILE))

    @classmethod
    def load(cls, folder: Path, vectors: int, width: int, effort: int) -> Self:
        import hnswlib

        built = hnswlib.Index(space="ip", dim=width + 1)
        built.load_index(str(folder / cls._FILE), max_elements=vectors)
        return cls(built, effort)

    @classmethod
    def parameters(cls) -> dict[str, int | float]:
        return {"M": cls._M, "ef_construction": cls._EF_CONSTRUCTION}


class Scann(Index):
    """A partitioning tree, quantised products, and exact ones of the best, by ScaNN."""

    kind, efforts, effort_name = "scann", (400, 800, 1600, 3200), "reordered"
    _FOLDER, _ASSETS, _THRESHOLD, _LEAF = "scann", "scann_assets.pbtxt", 0.2, 100

    @classmethod
    def build(cls, vectors: np.ndarray, seed: int) -> Self:
        from scann import scann_ops_pybind

        # A leaf is searched whole; so many leaves that one holds about a hundred items, as its makers advise.
        leaves = max(1, min(len(vectors) // cls._LEAF, round(len(vectors) ** 0.5)))
        builder = scann_ops_pybind.builder(vectors, 100, "dot_product")
        builder = builder.tree(leaves, max(1, leaves // 10), training_sample_size=min(len(vectors), 250_000))
        builder = builder.score_ah(2, anisotropic_quantization_threshold=cls._THRESHOLD).reorder(cls.efforts[0])
        return cls(builder.build())

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        leaves, reordered = max(1, self.effort // 8), max(self.effort, k)
        results = [self.built.search(query, k, reordered, leaves) for query in queries]
        return np.array([rows for rows, _ in results], np.int64), np.array([products for _, products in results])

    def save(self, folder: Path) -> None:
        (folder / self._FOLDER).mkdir()
        self.built.serialize(str(folder / self._FOLDER))

    @classmethod
    def load(cls, folder: Path, vectors: int, width: int, effort: int) -> Self:
        from scann import scann_ops_pybind

        # It wrote down where its files were made; they have been renamed since.
        with tempfile.TemporaryDirectory() as place:
            for path in (folder / cls._FOLDER).absolute().iterdir():
                if path.name == cls._ASSETS:
                    Path(place, path.name).write_text(re.sub(r'"/.*/', f'"{place}/', path.read_text()))
                else:
                    Path(place, path.name).symlink_to(path)
            return cls(scann_ops_pybind.load_searcher(place), effort)

    @classmethod
    def parameters(cls) -> dict[str, int | float]:
        return {"anisotropic_quantization_threshold": cls._THRESHOLD}


KINDS: dict[str, type[Index]] = {one.kind: one for one in (Hnsw, Scann)}


def _cores() -> int:
    return len(os.sched_getaffinity(0))
