"""FuxiCTR from CSV files to a DeepFM that was trained for one epoch: its preprocessing, its loader, its `fit`.

Reads one line of JSON on stdin and writes one to the file descriptor that is the only argument. The features are those
of its Criteo_x4 configuration: numbers in buckets of their squared logarithm, categories seen at least `min_count`
times.
"""

import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from fuxictr.datasets.criteo import CustomizedFeatureProcessor
from fuxictr.preprocess import build_dataset
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.torch_utils import seed_everything

from benchmarks.peers.fuxictr_worker import LABEL, DeepFM
from benchmarks.peers.task import Task


def run(order: dict[str, Any], started: float) -> dict[str, Any]:
    """Preprocesses and trains.

    Args:
      order: `task`; `numbers` and `categories`, names of columns; `min_count`; `data` and `out`, folders.
      started: time at which the process began.

    Returns:
      Seconds of each part, AUC and log loss on `valid.csv`, and versions.
    """
    task, data, out = Task.from_json(order["task"]), Path(order["data"]), Path(order["out"])
    seconds, before = {}, started

    def end(part: str) -> None:
        nonlocal before
        seconds[part], before = time.time() - before, time.time()

    seed_everything(task.seed)
    end("start_up")
    one = {"active": True, "dtype": "float", "type": "categorical"}
    columns = [
        {**one, "name": order["numbers"], "preprocess": "convert_to_bucket", "fill_na": 0},
        {**one, "name": order["categories"], "dtype": "str", "fill_na": ""},
    ]
    label = {"name": LABEL, "dtype": "float"}
    processor = CustomizedFeatureProcessor(columns, label, dataset_id="criteo", data_root=str(out))
    files = {f"{split}_data": str(data / f"{split}.csv") for split in ("train", "valid")}
    train, valid, _ = build_dataset(processor, **files, min_categr_count=order["min_count"])
    end("preprocessing")
    batches, evaluated = RankDataLoader(
        processor.feature_map,
        stage="train",
        train_data=train,
        valid_data=valid,
        batch_size=task.batch_size,
        data_format="parquet",
    )
    processor.feature_map.default_emb_dim = task.width
    model = DeepFM(processor.feature_map, task, str(out))
    os.makedirs(model.model_dir, exist_ok=True)
    model.fit(batches, epochs=1, validation_data=evaluated)
    end("training")
    metrics = model.evaluate(evaluated, metrics=["AUC", "logloss"])
    versions = {name: importlib.metadata.version(name) for name in ("fuxictr", "torch", "polars", "ray")}
    return {"seconds": seconds, "auc": metrics["AUC"], "logloss": metrics["logloss"], "versions": versions}


if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    result = run(given, given["started"])
    with os.fdopen(int(sys.argv[1]), "w") as answer:
        answer.write(json.dumps(result) + "\n")
