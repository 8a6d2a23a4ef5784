"""An approximate index over the items of an exported two-tower model: an artefact beside it, of the same version.

DIR/index.json     kind, parameters, recall, and the version that it was built of
DIR/ids.npy        the items' ids
DIR/index.faiss    of the library; for ScaNN the folder scann
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving.loading import load_saved_model
from serving.retrieval.golden import read_golden_retrieval
from serving.retrieval.index_kinds import INSTALL, KINDS, Index, library_of, require
from serving.retrieval.item_vectors import ItemVectors, read_item_vectors, retrieval_of
from serving.retrieval.signatures import EMBEDDING, USER
from serving.versions import version_number
from transforms.errors import GateRefused, InputError
from transforms.files import new_directory, write_text
from transforms.plain_text import parse_json

INDEX_FORMAT = 1
_INDEX, _IDS = "index.json", "ids.npy"
_K = 100
_JITTER = 0.25
"""Noise that is added to a logged user's vector for a synthetic one, relative to each coordinate's spread."""


class ItemIndex:
    """A built index: approximately the best items for a user's vector.

    Args:
      ids: of the items.
      index: over their vectors.
      scale, bias: logit = scale <u, v> + bias.
    """

    def __init__(self, ids: np.ndarray, index: Index, scale: float, bias: float):
        self._ids, self._index, self._scale, self._bias = ids, index, scale, bias

    @classmethod
    def load(cls, directory: str | os.PathLike[str], version: str | os.PathLike[str]) -> "ItemIndex":
        """Reads an index, for a version of the model.

        Args:
          directory: of `build_index`.
          version: the exported model whose user vectors will be searched.

        Raises:
          InputError: there is no such index, or it is one of other item vectors.
          MissingPart: the library is not installed.
        """
        folder = Path(directory)
        description = _read(folder)
        retrieval, built = retrieval_of(version), description["version"]
        if retrieval["sha256"] != built["sha256"]:
            received = f"an index of version {built['number']}, item vectors {built['sha256'][:12]}"
            expected = f"one of item vectors {retrieval['sha256'][:12]}, as {version} has them"
            raise InputError(str(folder), received, expected, f"build it: consort index {version} --out NEW")
        kind, library = description["kind"], description["library"]
        if not library.startswith(INSTALL[kind][0]):
            expected = f"one by {INSTALL[kind][0]}, which this version of Consort uses"
            again = f"build it again: consort index {version} --out NEW"
            raise InputError(str(folder), f"an index by {library}", expected, again)
        require(kind)
        items, width, effort = description["items"], description["width"], description["parameters"]["effort"]
        index = KINDS[kind].load(folder, items, width, effort)
        similarity = retrieval["similarity"]
        return cls(_ids(folder / _IDS), index, similarity["scale"], similarity["bias"])

    def search(self, users: np.ndarray, k: int = _K) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids and logits of approximately the best items, `[B, k]`, best first.

        Args:
          users: of the signature `user_embedding`, `[B, W]`.
          k: at most as many as there are items.

        Raises:
          InputError: k is larger.
        """
        if not 1 <= k <= len(self._ids):
            raise InputError("k", k, f"1 to {len(self._ids)}, the items of the index", "lower k")
        # With a negative scale the lowest products are the best: those are the highest of the opposite vector.
        rows, products = self._index.search(np.sign(self._scale) * np.asarray(users, np.float32), k)
        return self._ids[rows], (abs(self._scale) * products + self._bias).astype(np.float32)


def build_index(
    version: str | os.PathLike[str],
    out: str | os.PathLike[str],
    kind: str = "hnsw",
    min_recall: float = 0.98,
    queries: int = 200,
    seed: int = 1,
    notes: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Builds an index of a version's items and measures it; writes it, all or nothing, if it finds enough.

    A search's effort is raised step by step until recall is reached.

    Args:
      version: an exported two-tower model with a catalogue.
      out: becomes the index; must be new or empty.
      kind: `hnsw` or `scann`.
      min_recall: share of the exact best 100 (or of all, if there are fewer) that a search must find.
      queries: number of users to measure recall on: logged ones, and synthetic ones made from them.
      seed: of the build and of the synthetic users.
      notes: further entries of index.json.
      say: receives progress messages.

    Returns:
      index.json.

    Raises:
      InputError: the version has no catalogue or another similarity, or `out` is not empty.
      MissingPart: the library is not installed.
      GateRefused: recall is too low with the greatest effort.
    """
    require(kind)
    if Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
        raise InputError(str(out), "something in it", "a new or empty folder", "name another, or remove it")
    items, loaded = _items(version)
    users, logged = _users(version, loaded, queries, seed)
    say(f"building {kind} over {len(items.ids)} items")
    start = time.perf_counter()
    index = KINDS[kind].build(items.vectors, seed)
    build_s = time.perf_counter() - start
    k = min(_K, len(items.ids))
    recall = _reach(index, users * np.sign(items.scale), items.vectors, k, min_recall, say)
    description = {
        "format": INDEX_FORMAT,
        "kind": kind,
        "library": library_of(kind),
        "version": {"number": _number(version), "sha256": items.sha256},
        "items": len(items.ids),
        "width": items.vectors.shape[1],
        "parameters": {**index.parameters(), "effort": index.effort, "effort_is": index.effort_name, "seed": seed},
        "recall": {"at": k, "value": recall, "least": min_recall, "users": len(users), "logged_users": logged},
        "build_s": round(build_s, 3),
        **(notes or {}),
    }
    with new_directory(out) as temporary:
        index.save(temporary)
        np.save(temporary / _IDS, _storable(items))
        write_text(temporary / _INDEX, json.dumps(description, indent=2) + "\n")
    return description


def _items(version: str | os.PathLike[str]) -> tuple[ItemVectors, Any]:
    """Those of a version, and the version, loaded."""
    retrieval_of(version)
    loaded = load_saved_model(version)
    items = read_item_vectors(version, loaded)
    if items.scale == 0:
        fix = "train the model on"
        raise InputError(str(version), "scale 0: all items are equally good", "another scale", fix)
    return items, loaded


def recall_of(rows_found: np.ndarray, queries: np.ndarray, vectors: np.ndarray) -> float:
    """Returns the mean share of each query's exact best items in `rows_found`; ties with the last of them count.

    Args:
      rows_found: rows of `vectors`, `[B, k]`.
      queries: `[B, W]`.
      vectors: `[N, W]`.
    """
    hits = 0.0
    for rows, query in zip(rows_found, queries, strict=True):
        products = vectors @ query
        least = np.partition(products, -len(rows))[-len(rows)]
        hits += float((products[np.unique(rows)] >= least).sum()) / len(rows)
    return hits / len(queries)


def _reach(
    index: Index, queries: np.ndarray, vectors: np.ndarray, k: int, least: float, say: Callable[[str], None]
) -> float:
    """Raises the effort until recall is reached, and gives that."""
    tried = []
    for effort in index.efforts:
        index.effort = effort
        recall = recall_of(index.search(queries, k)[0], queries, vectors)
        tried.append(f"{index.effort_name} {effort}: recall@{k} {recall:.4f}")
        say(tried[-1])
        if recall >= least:
            return recall
    raise GateRefused("item index", [*tried, f"expected at least {least:g}; lower --min-recall, or ask `retrieve`"])


def _users(version: str | os.PathLike[str], loaded: Any, count: int, seed: int) -> tuple[np.ndarray, int]:
    """Vectors of logged users, then of users made up of them; and how many are logged."""
    inputs = read_golden_retrieval(version)[0]
    signature = loaded.signatures[USER]
    known = signature.structured_input_signature[1]
    sent = {name: tf.constant(values, known[name].dtype) for name, values in inputs.items()}
    logged = signature(**sent)[EMBEDDING].numpy()[:count]
    random = np.random.default_rng(seed)
    more = logged[random.integers(0, len(logged), count - len(logged))]
    more = more + _JITTER * logged.std(axis=0) * random.normal(size=more.shape)
    return np.concatenate([logged, more]).astype(np.float32), len(logged)


def _storable(items: ItemVectors) -> np.ndarray:
    # Text of one width can be read without pickle, which runs what it reads.
    return items.ids.astype(bytes) if items.ids.dtype == object else items.ids


def _number(version: str | os.PathLike[str]) -> int | None:
    return version_number(Path(os.path.abspath(version)).name)


def _ids(path: Path) -> np.ndarray:
    try:
        ids: np.ndarray = np.load(path)
    # NumPy refuses arrays of pickled objects with the last.
    except (OSError, EOFError, ValueError) as error:
        raise InputError(str(path), f"no array of ids ({error})", "an index", "build it: `consort index`") from error
    return ids


def _read(folder: Path) -> dict[str, Any]:
    fix = "build one with `consort index`"
    try:
        description: dict[str, Any] = parse_json((folder / _INDEX).read_text())
    except (OSError, ValueError) as error:
        raise InputError(str(folder), f"no readable {_INDEX} ({error})", "an index", fix) from error
    if not isinstance(description, dict) or description.get("format") != INDEX_FORMAT:
        received = description.get("format") if isinstance(description, dict) else type(description).__name__
        raise InputError(str(folder), f"format {received} of {_INDEX}", f"format {INDEX_FORMAT}", fix)
    return description
