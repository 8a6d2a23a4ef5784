"""What the caches of an earlier run hold, for the ids of a new one: each row by the token that it stands for."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_transform as tft

from models.cotraining.external_inputs import ExternalInput, RunFacts
from models.layers.tower_caches import SIDES, TowerCaches
from models.layers.vector_store import StoreContent
from models.training.checkpoints import read_weights
from runs.building import recipe_of, streaming_model_of
from runs.config import RunConfig
from runs.provenance import CHECKPOINT_DIR, read_run
from serving.teacher import TeacherExport
from transforms.beam.transform_dataset import load_declaration, load_transform
from transforms.errors import InputError
from transforms.features import VOCABULARY_ENCODINGS, FeatureSet
from transforms.sources.registry import source_name
from transforms.vocabularies import least_table_sizes, table_sizes

OPTION = "recipe.options.caches_from"
_TRANSFORMS = ("transform", "transformed")
"""Where `consort online` and `consort train` keep what they learned."""


@dataclass(frozen=True)
class IdKind:
    """How the ids of a side come about; ids of two runs stand for the same things if this is the same.

    Args:
      column: raw.
      encoding: of the feature.
      prefix: that tokens carry; "" for none.
      hash_buckets: None: a vocabulary.
    """

    column: str
    encoding: str
    prefix: str
    hash_buckets: int | None

    def __str__(self) -> str:
        how = "a vocabulary" if self.hash_buckets is None else f"{self.hash_buckets:,} hash_buckets"
        prefix = f", prefix {self.prefix!r}" if self.prefix else ""
        return f"column {self.column!r} as {self.encoding}{prefix}, by {how}"


@dataclass(frozen=True)
class EarlierCaches:
    """The caches of an earlier run.

    Args:
      folder: of the run.
      source: of its data.
      kinds: of the ids of each side.
      tokens: that the ids from 1 on stand for, by side; hashed ones: none.
      contents: by store.
    """

    folder: str
    source: str
    kinds: Mapping[str, IdKind]
    tokens: Mapping[str, Sequence[bytes]]
    contents: Mapping[str, StoreContent]

    @cached_property
    def sha256(self) -> str:
        """Of all that is carried over."""
        digest = hashlib.sha256(repr((self.source, dict(self.kinds))).encode())
        for side in SIDES:
            digest.update(repr(list(self.tokens[side])).encode())
        for name, content in sorted(self.contents.items()):
            digest.update(f"{name} {content.vectors.shape}".encode())
            for part in content:
                digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    @property
    def last_time(self) -> int:
        """Of the last event that left anything."""
        return max(int(content.last_times.max()) for content in self.contents.values())


class CachesInput(ExternalInput):
    """The caches of an earlier run of `consort train` or `consort online`.

    `load` returns what the stores of the new run begin with, by store, for the ids of the new run: a row goes to the id
    that stands for the same token.

    Args:
      folder: of the run.
    """

    option, identity_key, first_step_only = "caches_from", "caches_sha256", True

    def __init__(self, folder: str):
        self._folder = folder
        self._fitting: tuple[EarlierCaches, TowerCaches] | None = None
        self._stores: dict[str, dict[str, int]] | None = None

    def check_exists(self) -> None:
        read_run(f"{OPTION}, {self._folder}", self._folder)

    def check(self, run: RunFacts) -> None:
        caches = _streaming_caches(run, self.option)
        if caches is None:
            received = f"recipe {run.config.recipe.name!r}"
            raise InputError(f"{OPTION}, {self._folder}", received, "one with caches", "choose cs3")
        earlier = read_caches(self._folder)
        _check(earlier, run.config, run.feature_set, caches)
        if run.first_time is not None and run.first_time < earlier.last_time:
            received = f"caches that have seen events up to timestamp {earlier.last_time}"
            raise InputError(
                f"{OPTION}, {self._folder}",
                f"{received}, for data that begins at {run.first_time}",
                "data of later events, as vectors that have seen an event give its label away",
                "begin the new data where the earlier run's ended, or leave caches_from out",
            )
        self._fitting = earlier, caches

    def identity(self) -> str:
        return self._checked()[0].sha256

    def load(self, run: RunFacts, transform: Any) -> dict[str, StoreContent]:
        earlier, caches = self._checked()
        sizes = table_sizes(run.feature_set, transform)
        contents: dict[str, StoreContent] = {}
        self._stores = {}
        for name in dict.fromkeys([*caches.stores, *earlier.contents]):
            side = name.partition("_")[2]
            tokens = _tokens(run.feature_set, transform, caches.features[side])
            rows = _old_rows(earlier.tokens[side], earlier.kinds[side], tokens)
            held = earlier.contents.get(name)
            kept = 0
            if held is not None and name in caches.stores:
                contents[name] = _moved(held, rows, sizes[_vocabulary(run.feature_set, caches.features[side])])
                kept = _count(contents[name])
            dropped = 0 if held is None else _count(held) - kept
            new = len(rows) - kept if name in caches.stores else 0
            self._stores[name] = {"carried": kept, "dropped": dropped, "new": new}
        return contents

    def report(self) -> dict[str, Any] | None:
        """Returns the earlier run, its sha256, and by store how many ids are carried, dropped and new.

        `dropped` are those that the new run does not know; the `new` ones begin with zeros.
        """
        if self._stores is None:
            return None
        return {"run": self._folder, "sha256": self.identity(), "stores": self._stores}

    def summary(self) -> str:
        stores = (
            f"{name} {', '.join(f'{count:,} {what}' for what, count in row.items())}"
            for name, row in (self._stores or {}).items()
        )
        return f"caches of {self._folder}: {'; '.join(stores)}"

    def _checked(self) -> tuple[EarlierCaches, TowerCaches]:
        if self._fitting is None:
            raise ValueError("the caches are not checked; expected a call of check before")
        return self._fitting


def read_caches(folder: str) -> EarlierCaches:
    """The caches of a run of `consort train` or `consort online`, as its last or best checkpoint has them.

    Raises:
      InputError: it is no such run, has no caches, or its files are damaged.
    """
    where, root = f"{OPTION}, {folder}", Path(folder)
    run, config = read_run(where, folder)
    recipe = recipe_of(config)
    learned = next((root / name for name in _TRANSFORMS if (root / name).is_dir()), root / _TRANSFORMS[0])
    feature_set = load_declaration(learned)
    transform = load_transform(learned)
    reported = run.get("recipe", {}).get("teacher")
    try:
        external = {} if reported is None else {"teacher": TeacherExport(**reported)}
        sizes = table_sizes(feature_set, transform)
        learner = streaming_model_of(config, recipe, feature_set, sizes, external=external)
    except (TypeError, ValueError) as error:
        raise InputError(where, str(error), "a run of a recipe with caches", "name a run of cs3") from error
    caches: TowerCaches | None = getattr(learner, "caches", None)
    if caches is None or not caches.stores:
        received = f"a run of recipe {config.recipe.name!r} without caches"
        raise InputError(where, received, "one that keeps vectors by id", "name a run of cs3 with cts or cms")
    read_weights(_checkpoints_of(root), learner)
    features = caches.features
    return EarlierCaches(
        folder=folder,
        source=str(run.get("source")),
        kinds={side: _kind(feature_set, features[side]) for side in SIDES},
        tokens={side: _tokens(feature_set, transform, features[side]) for side in SIDES},
        contents=caches.contents(),
    )


def _checkpoints_of(root: Path) -> Path:
    """A recipe may keep its checkpoints in a folder below."""
    folders = sorted({path.parent for path in (root / CHECKPOINT_DIR).rglob("*.index")})
    return folders[0] if folders else root / CHECKPOINT_DIR


def _streaming_caches(run: RunFacts, option: str) -> TowerCaches | None:
    """Returns the caches of a model like the run's own, with small tables."""
    recipe = recipe_of(run.config)
    others = [one for one in recipe.external_inputs() if one.option != option]
    for one in others:
        one.check(run)
    external = {one.option: one.load(run, None) for one in others}
    sizes = least_table_sizes(run.feature_set)
    learner = streaming_model_of(run.config, recipe, run.feature_set, sizes, external=external)
    caches: TowerCaches | None = getattr(learner, "caches", None)
    return caches


def _check(earlier: EarlierCaches, config: RunConfig, feature_set: FeatureSet, caches: TowerCaches) -> None:
    where = f"{OPTION}, {earlier.folder}"
    if config.source is not None and earlier.source != source_name(config.source):
        raise InputError(where, f"a run on source {earlier.source!r}", repr(config.source), "name a run on that source")
    shared = [name for name in earlier.contents if name in caches.stores]
    if not shared:
        names, stores = ", ".join(earlier.contents), ", ".join(caches.stores) or "none"
        fix = "switch on the mechanism, cts or cms, that both are to have, or leave caches_from out"
        raise InputError(where, f"stores {names}", f"at least one of the new run's: {stores}", fix)
    widths = {name: (earlier.contents[name].vectors.shape[1], caches.stores[name].width) for name in shared}
    if wrong := {name: pair for name, pair in widths.items() if pair[0] != pair[1]}:
        received, expected = (", ".join(f"{name} {pair[end]}" for name, pair in wrong.items()) for end in (0, 1))
        fix = "give the model the hidden_units and options of the earlier run, or leave caches_from out"
        raise InputError(where, f"vectors of widths {received}", f"{expected}, those of the new run", fix)
    for side in SIDES:
        kind, wanted = earlier.kinds[side], _kind(feature_set, caches.features[side])
        if kind != wanted:
            fix = "declare the vocabulary and the feature as the earlier run did, or leave caches_from out"
            raise InputError(where, f"{side} ids of {kind}", f"of {wanted}", fix)


def _kind(feature_set: FeatureSet, name: str) -> IdKind:
    feature = next(feature for feature in feature_set.features if feature.name == name)
    vocabulary = next(
        (vocabulary for vocabulary in feature_set.id_vocabularies if vocabulary.name == feature.vocabulary), None
    )
    if vocabulary is None or feature.encoding not in VOCABULARY_ENCODINGS:
        fix = "keep caches by an id of encoding 'id', or leave caches_from out"
        raise InputError(OPTION, f"ids by {name!r}, of encoding {feature.encoding.value}", "ids with tokens", fix)
    prefix = f"{feature.name}=" if vocabulary.prefix else ""
    return IdKind(feature.column, feature.encoding.value, prefix, vocabulary.hash_buckets)


def _vocabulary(feature_set: FeatureSet, name: str) -> str:
    return next(feature.vocabulary for feature in feature_set.features if feature.name == name)


def _tokens(feature_set: FeatureSet, transform: tft.TFTransformOutput, name: str) -> list[bytes]:
    if _kind(feature_set, name).hash_buckets is not None:
        return []
    return list(transform.vocabulary_by_name(_vocabulary(feature_set, name)))


def _old_rows(old: Sequence[bytes], kind: IdKind, new: Sequence[bytes]) -> np.ndarray:
    """Of each id from 1 on that stands for a token, the earlier run's id of the same; 0 for none."""
    if kind.hash_buckets is not None:
        return np.arange(1, kind.hash_buckets + 1)
    places = {token: row for row, token in enumerate(old, start=1)}
    return np.array([places.get(token, 0) for token in new], np.int64)


def _moved(held: StoreContent, rows: np.ndarray, size: int) -> StoreContent:
    def moved(part: np.ndarray) -> np.ndarray:
        rows_by_new_id = np.zeros((size, *part.shape[1:]), part.dtype)
        # Row 0 holds zeros, and so do the rows behind, of ids out of the vocabulary.
        rows_by_new_id[1 : 1 + len(rows)] = part[rows]
        return rows_by_new_id

    return StoreContent(*map(moved, held))


def _count(content: StoreContent) -> int:
    return int((content.counts > 0).sum())
