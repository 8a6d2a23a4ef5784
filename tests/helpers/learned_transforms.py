"""Transforms that are learned once for all tests that need the same one."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transforms.beam.transform_dataset import transform_dataset
from transforms.features import FeatureSet, RecordKind, Split
from transforms.records import Dataset, shard_paths


class LearnedTransforms:
    """Takes the place of `transform_dataset`: the second call with the same records and features copies the result.

    Args:
      folder: keeps the results; several processes may share it.
    """

    def __init__(self, folder: Path):
        folder.mkdir(exist_ok=True)
        self._folder = folder

    def __call__(
        self,
        directory: str | os.PathLike[str],
        dataset: Dataset,
        out: str | os.PathLike[str],
        feature_set: FeatureSet,
        record: RecordKind,
        splits: Sequence[Split] = ("train", "eval"),
        **options: Any,
    ) -> None:
        digest = hashlib.sha256(
            json.dumps([feature_set.model_dump_json(), record, list(splits), str(options)]).encode()
        )
        for split in dict.fromkeys(("train", *splits)):
            for shard in shard_paths(directory, dataset, record, split):
                digest.update(hashlib.sha256(Path(shard).read_bytes()).digest())
        kept = self._folder / digest.hexdigest()
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=self._folder) as work:
                transform_dataset(directory, dataset, Path(work, "out"), feature_set, record, splits, **options)
                # Another process may have been quicker.
                with contextlib.suppress(OSError):
                    Path(work, "out").rename(kept)
        shutil.copytree(kept, out)
