"""A recipe whose data has nothing for it is refused before anything is written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runs.config import parse_config
from runs.plan import make_plan
from tests.helpers.toy_data import learnable_rows, toy_features
from transforms.batches import Batch
from transforms.errors import InputError
from transforms.features import SPLITS, Column, Encoding, Feature, FeatureSet
from transforms.writing import write_dataset

_DUET = {"name": "duet"}
_SETS = {"name": "set_ranker", "hidden_units": [4]}


def _rows(folder: Path, label: float | None = None) -> Path:
    batches = [learnable_rows(split, 40, 1) for split in SPLITS]
    if label is not None:
        batches[0].columns["label"][:] = label  # type: ignore[index]
    write_dataset(batches, folder, "toy", toy_features(), {})
    return folder


def _requests(folder: Path, shown: int, stages: bool = False) -> Path:
    """Requests of three candidates, of which so many were shown, and a place of padding."""
    columns = (Column(name="stage", dtype="int64", entity="item", model_input=False),) if stages else ()
    features = [Feature(name=name, encoding=Encoding.ID) for name in ("user_id", "item_id")]
    feature_set = FeatureSet(columns=columns, features=tuple(features), list_size=4)
    n = 8
    real = np.tile([1, 1, 1, 0], (n, 1))
    exposed = np.tile((np.arange(4) < shown).astype(np.int64), (n, 1)) * real
    label = exposed * (np.arange(n) % 2)[:, None]
    values = {
        "request_id": np.array([b"r%d" % i for i in range(n)]),
        "user_id": np.array([b"u%d" % i for i in range(n)]),
        "item_id": np.where(real == 1, np.array([b"a", b"b", b"c", b""]), b""),
        "timestamp": np.arange(n),
        "label": label.astype(np.float32),
        "candidate": real,
        "exposed": exposed,
        **({"stage": real + exposed} if stages else {}),
    }
    write_dataset([Batch("request", split, values) for split in SPLITS], folder, "toy", feature_set, {})
    return folder


def _plan(data: Path, **changes: Any) -> None:
    values = {"name": "mine", "source": "toy", "model": {"name": "deepfm", "hidden_units": [4]}, **changes}
    make_plan(parse_config(values), data, data.parent / "root")


@pytest.mark.parametrize("recipe", [_DUET, {"name": "entire_space"}])
def test_recipes_of_requests_refuse_rows(recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"recipe '{recipe['name']}': received record 'row'; expected requests"):
        _plan(_rows(tmp_path / "data"), recipe=recipe)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("recipe", [_DUET, {"name": "entire_space", "options": {"method": "ips"}}])
def test_they_refuse_requests_of_which_all_was_shown(recipe: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="requests of which every candidate was shown"):
        _plan(_requests(tmp_path / "all", 3), record="request", model=_SETS, recipe=recipe)
    _plan(_requests(tmp_path / "some", 2), record="request", model=_SETS, recipe=recipe)


@pytest.mark.parametrize(
    ("recipe", "outputs"),
    [
        ({"name": "duet", "options": {"stage_weight": 0.5}}, 2),
        ({"name": "entire_space", "options": {"method": "stage_ranking"}}, 1),
        ({"name": "entire_space", "options": {"method": "stage_heads", "stages": 1}}, 1),
    ],
)
def test_recipes_of_stages_refuse_data_without_them(recipe: dict[str, Any], outputs: int, tmp_path: Path) -> None:
    changes = {"record": "request", "model": {**_SETS, "options": {"outputs": outputs}}, "recipe": recipe}
    with pytest.raises(InputError, match="without the column 'stage'"):
        _plan(_requests(tmp_path / "without", 2), **changes)
    _plan(_requests(tmp_path / "with", 2, stages=True), **changes)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_labels_of_one_class_are_refused(label: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"split train: received labels that are all {label:g}; expected .* both"):
        _plan(_rows(tmp_path / "data", label))


def test_labels_between_the_classes_are_taken(tmp_path: Path) -> None:
    _plan(_rows(tmp_path / "data", 0.25))


def test_one_peer_has_nobody_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is 1 peer; expected at least 2"):
        _plan(_rows(tmp_path / "data"), recipe={"name": "mutual_learning", "options": {"peers": 1}})


def test_requests_without_a_feature_of_an_item_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no feature of an item, of record request: user_id"):
        _plan(_requests(tmp_path / "data", 2), record="request", features={"drop": ["item_id"]})
