"""Two towers over their whole catalogue: what NumPy makes of the ranks of what was clicked, before and after export."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.retrieval.dssm import DSSM
from models.retrieval.int_tower import IntTower
from serving.catalogue import user_columns
from serving.catalogue_recall import Catalogued, Places, catalogued, catalogued_export, recall_of
from serving.retrieval_signatures import ServedTowers
from serving.signatures import ServedModel
from tests.helpers.served_towers import NAME, ToyTowers, exact, export_towers, tower_model
from tests.helpers.toy_data import toy_features
from transforms.beam.transform_dataset import load_transform
from transforms.features import ITEM_ID, LABEL
from transforms.input import serialized
from transforms.records import load_dataset, shard_paths
from transforms.schema import parse_spec

_COLUMNS = [column.name for column in user_columns(toy_features())]


def _files(towers: ToyTowers) -> list[str]:
    return shard_paths(towers.folder / "data", load_dataset(towers.folder / "data"), "row", "test")


def _of_numpy(towers: ToyTowers, served: ServedTowers, model: Any) -> dict[str, float]:
    """By the rank of each clicked item in the order of the model's own similarity."""
    (examples,) = list(serialized(_files(towers), 10_000))
    batch = tf.io.parse_example(examples, parse_spec(toy_features(), "row"))
    clicked = np.flatnonzero(batch[LABEL].numpy() > 0)
    raw: dict[str, Any] = {name: tf.gather(batch[name], clicked) for name in _COLUMNS}
    raw["history"] = raw["history"].to_tensor(default_value=b"")
    scores = exact(served.embed_users(raw).numpy(), served.item_vectors, model)
    ids = towers.catalogue().ids.tolist()
    wanted = batch[ITEM_ID].numpy()[clicked].tolist()
    assert len(wanted) > 300
    ranks = np.array([(row >= row[ids.index(one)]).sum() for row, one in zip(scores, wanted, strict=True)])
    return {f"catalogue_recall@{k}": float((ranks <= k).mean()) for k in (1, 10)}


@pytest.mark.parametrize(("model_class", "scale"), [(DSSM, 2.0), (DSSM, -1.5), (IntTower, 1.0)])
def test_the_recall_is_that_of_numpy_before_and_after_export(
    towers: ToyTowers, tmp_path: Path, model_class: Any, scale: float
) -> None:
    model = tower_model(towers.folder, model_class, scale)
    served = ServedModel(model, load_transform(towers.folder / "transformed"), toy_features(), "row")
    own = ServedTowers(model, served.features, toy_features(), "row", towers.catalogue())
    found = recall_of(catalogued(own), _files(towers), _COLUMNS, toy_features(), "row")
    expected = _of_numpy(towers, own, model)
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    # Of twenty items; of more best ones nobody asks.
    assert [key for key in found if "@" in key] == list(expected) and found["items"] == 20
    assert 0 < found["catalogue_recall@1"] < found["catalogue_recall@10"] < 1
    made = export_towers(towers.folder, tmp_path / NAME, model)
    items = catalogued_export(made.version)
    assert recall_of(items, _files(towers), _COLUMNS, toy_features(), "row") == pytest.approx(found, abs=1e-6)


def test_a_click_of_a_request_is_of_a_real_candidate_that_was_shown(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "user_id": [b"u"],
        "timestamp": [7],
        "history": [b"b", b"c"],
        "item_id": [b"a", b"b", b"c", b"d"],
        "label": [1.0, 1.0, 1.0, 0.0],
        "candidate": [1, 0, 1, 1],
        "exposed": [1, 1, 0, 1],
    }
    kinds = {bytes: "bytes_list", int: "int64_list", float: "float_list"}
    example = tf.train.Example()
    for name, values in columns.items():
        getattr(example.features.feature[name], kinds[type(values[0])]).value.extend(values)
    with tf.io.TFRecordWriter(str(tmp_path / "requests")) as writer:
        writer.write(example.SerializeToString())
    asked = []

    def search(raw: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        asked.append({name: values.numpy().tolist() for name, values in raw.items()})
        return tf.zeros([1, count]), tf.range(count)[tf.newaxis]

    items = Catalogued(Places(np.array([b"a", b"b"], object)), search)
    found = recall_of(items, [str(tmp_path / "requests")], _COLUMNS, toy_features(list_size=4), "request")
    assert asked == [{"user_id": [b"u"], "timestamp": [7], "history": [[b"b", b"c"]]}]
    # All scores are alike.
    assert found == {"clicks": 1, "items": 2, "not_in_catalogue": 0, "catalogue_recall@1": 0.0}


@pytest.mark.parametrize("model_class", [DSSM, IntTower])
def test_clicks_of_items_that_the_catalogue_lacks_are_not_found(
    towers: ToyTowers, tmp_path: Path, model_class: Any
) -> None:
    whole = towers.catalogue()
    # Without the first and the last one.
    fewer = dataclasses.replace(
        whole, ids=whole.ids[1:-1], columns={name: part[1:-1] for name, part in whole.columns.items()}
    )
    made = export_towers(towers.folder, tmp_path / NAME, tower_model(towers.folder, model_class), catalogue=fewer)
    items = catalogued_export(made.version)
    found = recall_of(items, _files(towers), _COLUMNS, toy_features(), "row")
    assert items.places.of(np.array([whole.ids[0], whole.ids[1], whole.ids[-1], b""], object)).tolist() == [
        -1,
        0,
        -1,
        -1,
    ]
    assert found["items"] == 18 and 0 < found["not_in_catalogue"] < found["clicks"]
    share = 1 - found["not_in_catalogue"] / found["clicks"]
    assert found["catalogue_recall@10"] <= share
