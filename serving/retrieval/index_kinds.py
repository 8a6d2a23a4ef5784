"""Approximate indexes over item vectors by the libraries that build them: the largest inner products, soon."""

import abc
import importlib.metadata
import importlib.util
import os
import re
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from transforms.errors import InputError, MissingPart

INSTALL = {
    "hnsw": ("faiss", "pip install --no-deps faiss-cpu==1.15.1"),
    "scann": ("scann", "pip install --no-deps scann==1.3.2, with NumPy 2 scann==1.4.2"),
}
"""The module of each kind, and the line that installs it."""


def require(kind: str) -> None:
    """Looks whether the package of a kind is installed.

    Raises:
      MissingPart: names the package and the line that installs it.
    """
    module, install = INSTALL[kind]
    if importlib.util.find_spec(module) is None:
        raise MissingPart(module, install)


def library_of(kind: str) -> str:
    """Returns the name and version of the installed package of a kind, e.g. `faiss-cpu 1.15.1`."""
    package = importlib.metadata.packages_distributions()[INSTALL[kind][0]][0]
    return f"{package} {importlib.metadata.version(package)}"


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
    """Hierarchical navigable small worlds, by Faiss.

    Vectors get a coordinate more, which makes all equally long, and queries a 0 there: no product changes. Among
    vectors of unequal lengths the graph leads to the longest, and on towers' vectors missed a third of the best.
    """

    kind, efforts, effort_name = "hnsw", (200, 400, 800, 1600, 3200), "ef"
    _FILE, _M, _EF_CONSTRUCTION = "index.faiss", 32, 200

    @classmethod
    def build(cls, vectors: np.ndarray, seed: int) -> Self:
        import faiss

        squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
        long = np.column_stack([vectors, np.sqrt(squares.max() - squares)]).astype(np.float32)
        built = faiss.IndexHNSWFlat(long.shape[1], cls._M, faiss.METRIC_INNER_PRODUCT)
        built.hnsw.efConstruction = cls._EF_CONSTRUCTION
        built.hnsw.rng = faiss.RandomGenerator(seed)
        faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
        built.add(long)
        return cls(built)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        # One thread: a server has another request for the others.
        faiss.omp_set_num_threads(1)
        long = np.column_stack([queries, np.zeros(len(queries))]).astype(np.float32)
        effort = faiss.SearchParametersHNSW(efSearch=max(self.effort, k))
        rows, products = self.built.search(long, k, params=effort)[::-1]
        # A row of -1 is a place that no vector was found for: the graph leads to fewer than k.
        if (rows < 0).any():
            found = int((rows >= 0).sum(axis=1).min())
            fix = "lower k, or ask the signature `retrieve`, which is exact"
            raise InputError("k", k, f"at most {found}, the items that the index leads to", fix)
        return rows, products

    def save(self, folder: Path) -> None:
        import faiss

        faiss.write_index(self.built, str(folder / self._FILE))

    @classmethod
    def load(cls, folder: Path, vectors: int, width: int, effort: int) -> Self:
        import faiss

        path, fix = folder / cls._FILE, "build it again: consort index VERSION --out NEW"
        expected = f"an index of {vectors} vectors of width {width}, by Faiss"
        try:
            built = faiss.read_index(str(path))
        except RuntimeError as error:
            raise InputError(str(path), "no readable file of Faiss", expected, fix) from error
        if (built.ntotal, built.d) != (vectors, width + 1):
            raise InputError(str(path), f"one of {built.ntotal} vectors of width {built.d - 1}", expected, fix)
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
