"""Two towers over their whole catalogue: what NumPy makes of the ranks of what was clicked, before and after export."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from evaluation.units import RESAMPLES, Resample
from models.retrieval.dssm import DSSM
from models.retrieval.int_tower import IntTower
from serving.export.signatures import ServedModel
from serving.retrieval.catalogue import Catalogue, user_columns
from serving.retrieval.recall import Catalogued, Places, SeenItems, catalogued, catalogued_export, recall_of
from serving.retrieval.signatures import ServedTowers
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
    raw["history_lengths"] = raw["history"].row_lengths()
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
    found = recall_of(catalogued(own), _files(towers), _COLUMNS, toy_features(), "row", resamples=0)
    expected = _of_numpy(towers, own, model)
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    # Of twenty items; of more best ones nobody asks.
    assert [key for key in found if "@" in key] == list(expected) and found["items"] == 20
    assert 0 < found["catalogue_recall@1"] < found["catalogue_recall@10"] < 1
    made = export_towers(towers.folder, tmp_path / NAME, model)
    items = catalogued_export(made.version)
    again = recall_of(items, _files(towers), _COLUMNS, toy_features(), "row", resamples=0)
    assert again == pytest.approx(found, abs=1e-6)


def test_a_click_of_a_request_is_of_a_real_candidate_that_was_shown(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "user_id": [b"u"],
        "request_id": [b"r"],
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
    files, features = [str(tmp_path / "requests")], toy_features(list_size=4)
    found = recall_of(items, files, _COLUMNS, features, "request", resamples=0)
    assert asked == [{"user_id": [b"u"], "timestamp": [7], "history": [[b"b", b"c"]], "history_lengths": [2]}]
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


def _recall(towers: ToyTowers, items: Catalogued) -> dict[str, Any]:
    return recall_of(items, _files(towers), _COLUMNS, toy_features(), "row")


@pytest.mark.parametrize(("model_class", "scale"), [(DSSM, -1.5), (IntTower, 1.0)])
def test_an_export_is_asked_about_items_with_the_values_of_another_time(
    towers: ToyTowers, tmp_path: Path, model_class: Any, scale: float
) -> None:
    model = tower_model(towers.folder, model_class, scale)
    served = ServedModel(model, load_transform(towers.folder / "transformed"), toy_features(), "row")
    exported = towers.catalogue()
    # One item is not in the values of that time, and one of them is not in the catalogue.
    prices = np.linspace(0.0, 100.0, 19).astype(np.float32)
    ids = np.append(exported.ids[1:-1], [b"other"])
    values = {"item_id": ids, "price": prices, "count": np.arange(19.0).astype(np.float32)}
    expected = {name: np.append(own[:-1], exported.columns[name][-1:]) for name, own in values.items()}
    expected = {name: np.append(exported.columns[name][:1], own) for name, own in expected.items()}
    then = Catalogue(exported.ids, expected)
    trained = catalogued(ServedTowers(model, served.features, toy_features(), "row", then))
    made = export_towers(towers.folder, tmp_path / NAME, model)
    found = _recall(towers, catalogued_export(made.version, Catalogue(ids, values)))
    assert found == pytest.approx(_recall(towers, trained), abs=1e-6)
    as_exported = _recall(towers, catalogued_export(made.version))
    assert found["catalogue_recall@10"] != as_exported["catalogue_recall@10"]
    # Asking changes nothing in the export.
    assert _recall(towers, catalogued_export(made.version)) == as_exported


def _write_rows(file: Path, rows: list[tuple[bytes, bytes, bytes, float]]) -> str:
    with tf.io.TFRecordWriter(str(file)) as writer:
        for user, request, item, label in rows:
            example = tf.train.Example()
            for name, value in (("user_id", user), ("request_id", request), ("item_id", item)):
                example.features.feature[name].bytes_list.value.append(value)
            example.features.feature["timestamp"].int64_list.value.append(7)
            example.features.feature["label"].float_list.value.append(label)
            writer.write(example.SerializeToString())
    return str(file)


def test_what_a_user_was_shown_before_is_not_retrieved_and_its_clicks_do_not_count(tmp_path: Path) -> None:
    before = [(b"u", b"1", b"a", 0.0), (b"u", b"1", b"b", 1.0), (b"v", b"2", b"a", 1.0), (b"", b"3", b"d", 1.0)]
    # Of items that u, v and nobody in particular click, u has seen b, and who has no id nothing.
    after = [(b"u", b"4", b"c", 1.0), (b"u", b"4", b"b", 1.0), (b"v", b"5", b"c", 1.0), (b"", b"6", b"d", 1.0)]
    files = [_write_rows(tmp_path / "before", before)], [_write_rows(tmp_path / "after", after)]

    def search(raw: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        # For everybody a is better than b, and so on.
        best = tf.repeat(tf.range(count)[tf.newaxis], len(raw["user_id"]), axis=0)
        return -tf.cast(best, tf.float32), best

    items = Catalogued(Places(np.array([b"a", b"b", b"c", b"d"], object)), search)

    def recall(**options: Any) -> dict[str, Any]:
        return recall_of(items, files[1], _COLUMNS, toy_features(), "row", **options)

    all_of_them = recall(resamples=0)
    assert all_of_them == {"clicks": 4, "items": 4, "not_in_catalogue": 0, "catalogue_recall@1": 0.0}
    found = recall(seen=SeenItems(files[0], toy_features(), "row"))
    # Without a and b, c is u's first; v has b before it.
    assert found["catalogue_recall@1"] == pytest.approx(1 / 3)
    assert found["clicks"] == 3 and found["clicks_of_seen_items"] == 1
    # Of users u and v there is one each; who has no id is drawn by request.
    assert found["resampled_users"] == 2 and found["resampled_requests"] == 1
    seen_all = SeenItems([*files[0], *files[1]], toy_features(), "row")
    assert recall(seen=seen_all) == {
        **{key: value for key, value in recall(seen=seen_all).items() if "@" in key},
        "clicks": 1, "items": 4, "not_in_catalogue": 0, "clicks_of_seen_items": 3, "resampled_requests": 1,
    }  # fmt: skip


def test_intervals_of_recall_are_over_users_or_over_what_is_asked_for(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = []
    for user in range(40):
        likes = random.random() < 0.5
        # Each user clicks ten times, on the item that is found or on the other one.
        rows += [(b"u%d" % user, b"%d-%d" % (user, click // 2), b"a" if likes else b"b", 1.0) for click in range(10)]
    file = _write_rows(tmp_path / "rows", rows)

    def search(raw: Any, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        best = tf.repeat(tf.range(count)[tf.newaxis], len(raw["user_id"]), axis=0)
        return -tf.cast(best, tf.float32), best

    items = Catalogued(Places(np.array([b"a", b"b"], object)), search)

    def recall(kind: Resample | None) -> dict[str, Any]:
        return recall_of(items, [file], _COLUMNS, toy_features(), "row", resamples=400, resample=kind)

    found = {kind: recall(kind) for kind in (None, *RESAMPLES)}
    assert found[None] == found["user"] and found["user"]["resampled_users"] == 40
    assert found["request"]["resampled_requests"] == 200 and found["row"]["resampled_rows"] == 400
    key = "catalogue_recall@1"
    width = {kind: one[f"{key}_high"] - one[f"{key}_low"] for kind, one in found.items()}
    # All ten clicks of a user are alike: sqrt(10) wider than over clicks, sqrt(5) than over requests of two.
    assert width["user"] / width["row"] == pytest.approx(10**0.5, rel=0.15)
    assert width["user"] / width["request"] == pytest.approx(5**0.5, rel=0.15)
