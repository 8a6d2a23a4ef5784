"""The item vectors of an exported two-tower model: what identifies them, and how to read them back."""

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.contract import read_contract
from serving.retrieval.search import INNER_PRODUCT
from transforms.errors import InputError


@dataclass(frozen=True)
class ItemVectors:
    """Items of a version.

    Args:
      ids: `[N]`.
      vectors: float32 `[N, W]`.
      scale, bias: logit = scale <u, v> + bias.
      sha256: of ids and vectors, as the contract has it.
    """

    ids: np.ndarray
    vectors: np.ndarray
    scale: float
    bias: float
    sha256: str


def digest_of(ids: np.ndarray, vectors: np.ndarray) -> str:
    """Returns the sha256 of ids and vectors in their order."""
    digest = hashlib.sha256()
    for one in ids.tolist():
        text = one if isinstance(one, bytes) else str(one).encode()
        digest.update(len(text).to_bytes(8, "little") + text)
    digest.update(str(vectors.shape).encode())
    digest.update(np.ascontiguousarray(vectors, np.float32).tobytes())
    return digest.hexdigest()


def retrieval_of(version: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the entry of a version's contract about its catalogue.

    Raises:
      InputError: it has none: the model is no two-tower model, or was exported without a catalogue.
    """
    retrieval: dict[str, Any] | None = read_contract(version).get("retrieval")
    if retrieval is None:
        fix = "export a two-tower model with the catalogue of its items"
        raise InputError(str(version), "a model without a catalogue", "one that retrieves", fix)
    return retrieval


def read_item_vectors(version: str | os.PathLike[str], loaded: Any) -> ItemVectors:
    """Reads the items of a version whose similarity is an inner product.

    Args:
      version: an exported model.
      loaded: the same, by `tf.saved_model.load`.

    Raises:
      InputError: it has no catalogue, another similarity, or vectors that are not those of its contract.
    """
    entry = retrieval_of(version)
    if entry["similarity"]["kind"] != INNER_PRODUCT:
        fix = "ask the signature `retrieve`, which is exact"
        raise InputError(str(version), "another similarity", "scale <u, v> + bias", fix)
    retrieval = loaded.towers.retrieval
    ids = retrieval.ids.numpy()
    vectors = np.ascontiguousarray(retrieval.search.columns.numpy().T[: len(ids)])
    sha256 = digest_of(ids, vectors)
    if sha256 != entry["sha256"]:
        fix = "export the model again"
        raise InputError(
            str(version), f"item vectors with sha256 {sha256}", f"{entry['sha256']}, as in the contract", fix
        )
    return ItemVectors(ids, vectors, entry["similarity"]["scale"], entry["similarity"]["bias"], sha256)
