"""A run that begins with the caches of another: which row goes where, what is refused, and what a kill costs."""

import dataclasses
import json
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.layers.tower_caches import TowerCaches
from models.training.checkpoints import read_weights
from runs.building import recipe_of
from runs.config import RunConfig, parse_config
from runs.online import learn
from runs.online.learn import OnlineSettings, learn_online
from runs.online.setup import Setup, prepared
from tests.helpers.toy_data import MONDAY, toy_features, toy_rows
from transforms.errors import InputError
from transforms.writing import write_dataset

pytestmark = pytest.mark.usefixtures("eagerly", "each_transform_once")

# Vocabularies are sorted by frequency, so that both runs number what they share otherwise.
_OLD_USERS, _NEW_USERS = "aaaaabbbbccc", "dddddbbbbaaa"
_OLD_ITEMS, _NEW_ITEMS = "pppppqqqqrrr", "rrrrrqqqqsss"
_HOUR = 3600


def _config(caches_from: Path | None = None, options: Any = None, vocabularies: Any = (), **sections: Any) -> RunConfig:
    more = {} if caches_from is None else {"caches_from": str(caches_from)}
    values: dict[str, Any] = {
        "name": "toy_online",
        "source": "toy",
        "features": {"vocabularies": list(vocabularies)},
        "model": {"name": "dssm", "embedding_dim": 4, "hidden_units": [8, 4]},
        "training": {"batch_size": 4, "learning_rate": 0.01, "checkpoint_steps": 1},
        "recipe": {"name": "cs3", "options": {**(options or {}), **more}},
    }
    return parse_config(values | sections)


def _write_span(stream: Path, name: str, users: str, items: str, start: int) -> None:
    """Clicked and not in turn, an hour apart, of users and items called by a letter each."""
    ids = [letter.encode() for letter in items]
    rows = toy_rows("train", ids, [1.0] * len(ids), [[] for _ in ids])
    columns = {
        "user_id": np.array([letter.encode() for letter in users]),
        "request_id": np.array([b"%d-%d" % (start, place) for place in range(len(ids))]),
        "timestamp": MONDAY + _HOUR * (start + np.arange(len(ids))),
    }
    rows = dataclasses.replace(rows, columns={**rows.columns, **columns})
    write_dataset([rows], stream / name, "toy", toy_features(), {"seed": 0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two streams, `first` and `then`, and in `old` a run on the first one."""
    folder = tmp_path_factory.mktemp("caches")
    _write_span(folder / "first", "span-1", _OLD_USERS, _OLD_ITEMS, 0)
    _write_span(folder / "then", "span-1", _NEW_USERS, _NEW_ITEMS, 12)
    learn_online(_config(), folder / "first", folder / "old", None, OnlineSettings())
    return folder


def _by_token(setup: Setup, caches: TowerCaches, name: str) -> dict[str, Any]:
    """What a store holds of each token."""
    vocabulary = {"user": "user_id", "item": "items"}[name.partition("_")[2]]
    content = caches.contents()[name]
    tokens = [token.decode() for token in setup.transform.vocabulary_by_name(vocabulary)]
    return {token: tuple(part[row].tolist() for part in content) for row, token in enumerate(tokens, start=1)}


def _learned(folder: Path, out: str, **options: Any) -> tuple[Setup, TowerCaches]:
    """A run as its last checkpoint has it."""
    setup = prepared(_config(**options), folder / "first", folder / out, print)
    learner: Any = setup.model()
    read_weights(folder / out / "checkpoints", learner)
    return setup, learner.caches


def _begun(folder: Path, out: Path, told: list[str] | None = None, **options: Any) -> tuple[Setup, TowerCaches]:
    """A run on the second stream before its first step."""
    lines: list[str] = [] if told is None else told
    setup = prepared(_config(folder / "old", **options), folder / "then", out, lines.append)
    learner: Any = setup.model()
    return setup, learner.caches


def test_each_row_goes_to_the_new_id_of_its_token(folder: Path, tmp_path: Path) -> None:
    old_setup, old = _learned(folder, "old")
    told: list[str] = []
    setup, caches = _begun(folder, tmp_path / "new", told)
    users = setup.transform.vocabulary_by_name("user_id")
    assert [token.decode() for token in users] == ["d", "b", "a"]
    assert [token.decode() for token in old_setup.transform.vocabulary_by_name("user_id")] == ["a", "b", "c"]
    for name in ("cross_user", "cascade_user"):
        before, now = _by_token(old_setup, old, name), _by_token(setup, caches, name)
        assert now["a"] == before["a"] != before["b"] == now["b"], name
        assert any(now["a"][0]) and now["a"][1] > 0 and now["a"][2] > MONDAY
        assert not any(now["d"][0]) and now["d"][1:] == (0, 0)
    for name in ("cross_item", "cascade_item"):
        before, now = _by_token(old_setup, old, name), _by_token(setup, caches, name)
        assert now["r"] == before["r"] != before["q"] == now["q"], name
        assert not any(now["s"][0]) and now["s"][1:] == (0, 0)
    # Padding, and behind the vocabulary the ids of strangers.
    for name, content in caches.contents().items():
        rows = [0, *range(4, len(content.counts))]
        assert len(rows) > 1 and not content.vectors[rows].any() and not content.counts[rows].any(), name
    expected = {"carried": 2, "dropped": 1, "new": 1}
    report = setup.info["recipe"]["caches_from"]
    assert report["stores"] == dict.fromkeys(("cross_user", "cross_item", "cascade_user", "cascade_item"), expected)
    assert report["run"] == str(folder / "old") and report["sha256"] == setup.info["caches_sha256"]
    (line,) = [line for line in told if line.startswith("caches of")]
    assert "cross_user 2 carried, 1 dropped, 1 new; cross_item 2 carried" in line


def test_a_vector_of_events_before_makes_a_difference_from_the_first_batch_on(folder: Path, tmp_path: Path) -> None:
    carried = learn_online(_config(folder / "old"), folder / "then", tmp_path / "new", None, OnlineSettings())
    fresh = learn_online(_config(), folder / "then", tmp_path / "fresh", None, OnlineSettings())
    assert carried["spans"][0]["logloss"] != fresh["spans"][0]["logloss"]
    stored = json.loads((tmp_path / "new" / "online.json").read_text())
    assert stored["recipe"]["caches_from"]["stores"]["cross_user"] == {"carried": 2, "dropped": 1, "new": 1}
    assert "recipe" not in fresh and "caches_sha256" not in fresh


class _Killed(Exception):
    pass


def test_a_run_that_was_killed_goes_on_with_its_own_caches(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = learn_online(_config(folder / "old"), folder / "then", tmp_path / "whole", None, OnlineSettings())
    learner: Any = learn._Learner
    train, left = learner._train, [2]

    def dying(self: Any, batch: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise _Killed
        train(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(learner, "_train", dying)
        with pytest.raises(_Killed):
            learn_online(_config(folder / "old"), folder / "then", tmp_path / "run", None, OnlineSettings())
    told: list[str] = []
    again = learn_online(
        _config(folder / "old"), folder / "then", tmp_path / "run", None, OnlineSettings(), told.append
    )
    assert again["spans"] == whole["spans"] and again["recipe"] == whole["recipe"]
    assert not any(line.startswith("caches of") for line in told)


def test_a_run_does_not_go_on_with_the_caches_of_another(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "first", tmp_path / "first")
    shutil.copytree(folder / "old", tmp_path / "old")
    _write_span(tmp_path / "after", "span-1", _NEW_USERS, _NEW_ITEMS, 40)
    prepared(_config(tmp_path / "old"), tmp_path / "after", tmp_path / "run", print)
    # The earlier run learns from a further span.
    _write_span(tmp_path / "first", "span-2", "ab", "pq", 20)
    learn_online(_config(), tmp_path / "first", tmp_path / "old", None, OnlineSettings())
    with pytest.raises(InputError, match="received another caches; expected what that run was started with"):
        prepared(_config(tmp_path / "old"), tmp_path / "after", tmp_path / "run", print)


_HASHED = [{"name": "user_id", "hash_buckets": 11}, {"name": "items", "hash_buckets": 13}]


def test_hashed_ids_keep_their_rows(folder: Path, tmp_path: Path) -> None:
    learn_online(_config(vocabularies=_HASHED), folder / "first", tmp_path / "old", None, OnlineSettings())
    setup = prepared(_config(tmp_path / "old", vocabularies=_HASHED), folder / "then", tmp_path / "new", print)
    learner: Any = setup.model()
    found = learner.caches.contents()
    read_weights(tmp_path / "old" / "checkpoints", learner)
    for name, content in learner.caches.contents().items():
        for one, other in zip(found[name], content, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)
        kept = int((content.counts > 0).sum())
        assert 2 <= kept <= 3
        counts = {"carried": kept, "dropped": 0, "new": {"user": 11, "item": 13}[name.partition("_")[2]] - kept}
        assert setup.info["recipe"]["caches_from"]["stores"][name] == counts
    # A hash of another range is another hash.
    fewer = [_HASHED[0], {**_HASHED[1], "hash_buckets": 12}]
    with pytest.raises(InputError, match=r"item ids of .* by 13 hash_buckets; expected of .* by 12 hash_buckets"):
        prepared(_config(tmp_path / "old", vocabularies=fewer), folder / "then", tmp_path / "other", print)
    with pytest.raises(InputError, match=r"user ids of .*, by 11 hash_buckets; expected of .*, by a vocabulary"):
        prepared(_config(tmp_path / "old"), folder / "then", tmp_path / "other", print)
    assert not (tmp_path / "other").exists()


def test_of_other_mechanisms_what_both_have_is_carried(folder: Path, tmp_path: Path) -> None:
    learn_online(_config(options={"cts": False}), folder / "first", tmp_path / "old", None, OnlineSettings())
    setup = prepared(_config(tmp_path / "old"), folder / "then", tmp_path / "more", print)
    stores = setup.info["recipe"]["caches_from"]["stores"]
    assert stores["cascade_user"] == {"carried": 2, "dropped": 1, "new": 1}
    assert stores["cross_user"] == {"carried": 0, "dropped": 0, "new": 3}
    learner: Any = setup.model()
    assert not learner.caches.stores["cross_user"].vectors.numpy().any()
    assert learner.caches.stores["cascade_user"].vectors.numpy().any()
    setup = prepared(_config(folder / "old", {"cts": False}), folder / "then", tmp_path / "less", print)
    stores = setup.info["recipe"]["caches_from"]["stores"]
    assert stores["cross_item"] == {"carried": 0, "dropped": 3, "new": 0} and stores["cascade_item"]["carried"] == 2
    with pytest.raises(InputError, match=r"stores cascade_user, cascade_item; expected at least one .* cross_user"):
        prepared(_config(tmp_path / "old", {"cms": False}), folder / "then", tmp_path / "none", print)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"model": {"name": "dssm", "embedding_dim": 4, "hidden_units": [8, 6]}},
            r"widths cross_user 4, cross_item 4, cascade_user 4, cascade_item 4; "
            r"expected cross_user 6, cross_item 6, cascade_user 6, cascade_item 6.* Fix: give the model the hidden",
        ),
        ({"options": {"item_feature": "hour"}}, r"ids by 'hour', of encoding hour_of_day; expected ids with tokens"),
        ({"options": {"item_feature": "count"}}, r"item ids of column 'item_id' as id, .*; expected of column 'count'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        _begun(folder, tmp_path / "new", **changes)
    assert not (tmp_path / "new").exists()


def test_what_is_no_run_with_caches_is_refused(folder: Path, tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(InputError) as refused:
            prepared(_config(path), folder / "then", tmp_path / "new", print)
        assert not (tmp_path / "new").exists()
        return str(refused.value)

    assert "recipe.options.caches_from" in refusal(tmp_path / "nowhere")
    for name, option in (
        ("single", {"recipe": {"name": "single"}}),
        ("bare", {"options": {"cts": False, "cms": False}}),
    ):
        learn_online(_config(**option), folder / "first", tmp_path / name, None, OnlineSettings())
        assert "without caches; expected one that keeps vectors by id" in refusal(tmp_path / name)
    shutil.copytree(folder / "old", tmp_path / "copy")
    run = json.loads((tmp_path / "copy" / "run.json").read_text())
    (tmp_path / "copy" / "run.json").write_text(json.dumps({**run, "source": "criteo"}))
    assert "received a run on source 'criteo'; expected 'toy'" in refusal(tmp_path / "copy")
    (tmp_path / "copy" / "run.json").write_text(json.dumps(run))
    shutil.rmtree(tmp_path / "copy" / "checkpoints")
    assert "no intact checkpoint" in refusal(tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "transform")
    assert "expected the declaration of a learned transform" in refusal(tmp_path / "copy")


@pytest.mark.parametrize(("start", "is_taken"), [(10, False), (11, True), (12, True)])
def test_data_that_the_caches_may_have_seen_is_refused(
    folder: Path, tmp_path: Path, start: int, is_taken: bool
) -> None:
    # The last event before was of hour 11; of one second an uninterrupted run, too, may see a part before the rest.
    _write_span(tmp_path / "then", "span-1", _NEW_USERS, _NEW_ITEMS, start)

    def begin() -> Setup:
        return prepared(_config(folder / "old"), tmp_path / "then", tmp_path / "new", print)

    if is_taken:
        assert begin().external
        return
    seen, begun = MONDAY + 11 * _HOUR, MONDAY + start * _HOUR
    with pytest.raises(InputError, match=f"seen events up to timestamp {seen}, for data that begins at {begun}"):
        begin()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("value", [3, "", ["run"]])
def test_a_folder_must_be_named(value: Any) -> None:
    with pytest.raises(InputError, match=r"caches_from is .*; expected the folder of a run"):
        recipe_of(_config(options={"caches_from": value}))


def test_what_another_process_exports_begins_with_nothing(folder: Path, tmp_path: Path) -> None:
    setup, _ = _begun(folder, tmp_path / "new")
    sent: Sequence[Setup] = pickle.loads(pickle.dumps([setup]))
    assert setup.external and not sent[0].external and sent[0].info == setup.info
