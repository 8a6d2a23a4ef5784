"""Recall over the whole catalogue by the command line: once after training, and of what was exported."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from serving.retrieval.item_table import read_items
from serving.versions import find_saved_model
from tests.helpers.command_line import consort
from tests.helpers.toy_data import toy_features, write_learnable
from transforms.batches import ItemBatch
from transforms.records import Items, ItemTable, load_dataset, shard_paths
from transforms.schema import parse_spec
from transforms.writing import write_items

pytestmark = pytest.mark.e2e

_RUN = """
name: toy_towers
source: toy
model: {name: %s, embedding_dim: 4, hidden_units: [8, 4]}
training: {batch_size: 64, learning_rate: 0.01}
recipe: {name: %s}
"""


def _columns(log: Path, split: Any) -> dict[str, Any]:
    files = shard_paths(log, load_dataset(log), "row", split)
    batch = tf.io.parse_example(list(tf.data.TFRecordDataset(files)), parse_spec(toy_features(), "row"))
    return dict(batch)


def _recall_at_10(folder: Path, split: str, before: list[str]) -> float:
    """By the vectors of the exported towers, of items with the values of their last record before the split."""
    loaded, log = tf.saved_model.load(str(find_saved_model(folder / "run"))), folder / "log"
    user, item = loaded.signatures["user_embedding"], loaded.signatures["item_embedding"]
    last: dict[bytes, tuple[float, float]] = {}
    for earlier in before:
        batch = {name: _columns(log, earlier)[name].numpy().tolist() for name in ("item_id", "price", "count")}
        last |= dict(zip(batch["item_id"], zip(batch["price"], batch["count"], strict=True), strict=True))
    ids = sorted(last)
    prices, counts = (tf.constant([last[one][place] for one in ids], tf.float32) for place in (0, 1))
    items = item(item_id=tf.constant(ids), price=prices, count=counts)["embedding"].numpy()
    asked = _columns(log, split)
    clicked = np.flatnonzero(asked["label"].numpy() > 0)
    raw = {name: tf.gather(asked[name], clicked) for name in user.structured_input_signature[1] if name in asked}
    raw["history_lengths"] = raw["history"].row_lengths()
    raw["history"] = raw["history"].to_tensor(default_value=b"")
    scores = user(**raw)["embedding"].numpy() @ items.T
    own = scores[np.arange(len(clicked)), [ids.index(one) for one in asked["item_id"].numpy()[clicked].tolist()]]
    return float(((scores >= own[:, np.newaxis]).sum(axis=1) <= 10).mean())


def _know_unshown(log: Path) -> None:
    """Gives the dataset a table with an item that no record has."""
    dataset, items = load_dataset(log), Items(tables={"items": ItemTable(columns=("price",))})
    rows = ItemBatch("items", {"item_id": np.array([b"unshown"]), "price": np.array([2.0], np.float32)})
    shard = write_items(log, "part", rows, items, dataset.feature_set)
    dataset.model_copy(update={"items": items.with_shards(lambda *_: [shard] if shard else [])}).write(log)


_PRETRAINED = "cs3, options: {pretrain: {epochs: 2, batch_size: 32}}"


@pytest.mark.parametrize(("model", "recipe"), [("dssm", _PRETRAINED), ("int_tower", "single")])
def test_training_and_evaluation_tell_the_same_recall(tmp_path: Path, model: str, recipe: str) -> None:
    (tmp_path / "run.yaml").write_text(_RUN % (model, recipe))
    write_learnable(tmp_path / "log")
    unshown = [b"unshown"] if model == "int_tower" else []
    if unshown:
        _know_unshown(tmp_path / "log")
    trained = consort("train", tmp_path / "run.yaml", "--data", tmp_path / "log", "--out", tmp_path / "run")
    assert trained.code == 0, trained.err
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run.get("recipe", {}).get("pretraining_of_towers", {}).get("epochs", 0) > 0) == (model == "dssm")
    told = run["retrieval"]
    lines = dict(line.split(maxsplit=1) for line in trained.out.splitlines())
    shown = lines["retrieval.catalogue_recall@10"].split()
    assert float(shown[0]) == pytest.approx(told["catalogue_recall@10"], rel=1e-5)
    assert float(shown[1].strip("[,")) == pytest.approx(told["catalogue_recall@10_low"], rel=1e-5)
    assert lines["retrieval.split"] == told.pop("split") == "eval"
    catalogue = read_items(find_saved_model(tmp_path / "run")).columns
    assert catalogue["item_id"].tolist()[20:] == unshown and catalogue["price"].tolist()[20:] == [2.0] * len(unshown)
    assert (
        told["items"] == len(catalogue["item_id"])
        and told["not_in_catalogue"] == 0
        and 0 < told["catalogue_recall@10"] < 1
    )

    for split in ("eval", "test"):
        out = tmp_path / f"{split}.json"
        command = ("evaluate", tmp_path / "run", "--data", tmp_path / "log", "--split", split)
        evaluated = consort(*command, "--json", out)
        assert evaluated.code == 0, evaluated.err
        found: dict[str, Any] = json.loads(out.read_text())["retrieval"]
        assert "retrieval.catalogue_recall@1 " in evaluated.out
        dataset = load_dataset(tmp_path / "log")
        assert found["clicks"] == dataset.records["row"][split].positives
        assert found.pop("exclude_seen") is False
        if model == "dssm":
            share = _recall_at_10(tmp_path, split, ["train"] if split == "eval" else ["train", "eval"])
            assert found["catalogue_recall@10"] == pytest.approx(share, abs=1e-6)
        if split == "eval":
            assert found.keys() == told.keys() and found["baselines"].keys() == told["baselines"].keys()
            numbers = {name: value for name, value in told.items() if isinstance(value, float)}
            assert {name: found[name] for name in numbers} == pytest.approx(numbers, abs=1e-6)
            for name, metrics in told["baselines"].items():
                assert found["baselines"][name] == pytest.approx(metrics, abs=1e-6)
    seen = consort(*command, "--exclude-seen", "--resample", "request", "--json", out)
    assert seen.code == 0, seen.err
    fewer: dict[str, Any] = json.loads(out.read_text())["retrieval"]
    assert fewer["exclude_seen"] and fewer["clicks"] + fewer["clicks_of_seen_items"] == found["clicks"]
    assert json.loads(out.read_text())["resample"] == "request"


def test_a_model_without_towers_has_no_catalogue(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(_RUN % ("deepfm", "single"))
    write_learnable(tmp_path / "log")
    trained = consort("train", tmp_path / "run.yaml", "--data", tmp_path / "log", "--out", tmp_path / "run")
    assert trained.code == 0 and "retrieval" not in trained.out
    assert "retrieval" not in json.loads((tmp_path / "run" / "run.json").read_text())
    evaluated = consort("evaluate", tmp_path / "run", "--data", tmp_path / "log", "--resamples", 0)
    assert evaluated.code == 0 and "retrieval" not in evaluated.out
