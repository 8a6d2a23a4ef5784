"""Recall of a cell's towers in the catalogue, with their caches and without."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.cs3.methods import RECALL, emptied
from models.layers.tower_caches import SIDES
from models.retrieval.tower_model import TowerModel
from runs.data import Task
from serving.export.signatures import ServedModel
from serving.retrieval.catalogue import Catalogue, catalogue_of, user_columns
from serving.retrieval.recall import catalogued, recall_of
from serving.retrieval.signatures import ServedTowers
from transforms.features import SPLITS, Split
from transforms.records import load_dataset, shard_paths


def catalogue_recalls(task: Task, towers: TowerModel, data_dir: Path, split: Split, cut_off: int) -> dict[str, float]:
    """Returns the share of a split's clicks whose item is among the best of the catalogue.

    Args:
      task: of the run.
      towers: with caches as they are now, which stay so.
      data_dir: the dataset.
      split: of the clicks.
      cut_off: k, one of `evaluation.catalogue.CUT_OFFS`.

    Returns:
      `RECALL` and, where there are caches, `emptied` of each side, with its vectors set to zero for this time; nothing
      without a click, or in a catalogue of fewer than k items.
    """
    features, dataset = task.feature_set, load_dataset(data_dir)
    files = {name: shard_paths(data_dir, dataset, "row", name) for name in SPLITS}
    served = ServedModel(towers, task.transform, features, "row")
    items = _known_items(task, [file for name in SPLITS[: SPLITS.index(split)] for file in files[name]], files["train"])
    columns = [column.name for column in user_columns(features)]

    def recall() -> float | None:
        search = catalogued(ServedTowers(towers, served.features, features, "row", items))
        metrics = recall_of(search, files[split], columns, features, "row", resamples=0)
        return metrics.get(f"catalogue_recall@{cut_off}")

    recalls = {RECALL: recall()}
    caches: Any = towers.caches
    for side in SIDES if caches is not None and caches.stores else ():
        contents = caches.contents()
        for name, store in caches.stores.items():
            if name.endswith(side):
                store.reset()
        recalls[emptied(side)] = recall()
        caches.fill(contents)
    return {name: value for name, value in recalls.items() if value is not None}


def _known_items(task: Task, before: list[str], train: list[str]) -> Catalogue:
    """Returns the items of the train split, with the last values that they had before a split."""
    items, known = catalogue_of(before, task.feature_set, "row"), catalogue_of(train, task.feature_set, "row").ids
    kept = np.isin(items.ids, known)
    return Catalogue(items.ids[kept], {name: values[kept] for name, values in items.columns.items()})
