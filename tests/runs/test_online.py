"""Learning from a stream: every event once, whatever comes twice, late, or with another clock; kills cost nothing."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.training.recent_keys import RecentKeys
from runs.config import RunConfig, parse_config
from runs.online import learn
from runs.online.events import Intake, chosen
from runs.online.learn import OnlineSettings, learn_online
from tests.helpers.toy_data import MONDAY, learnable_rows, toy_features
from transforms.errors import InputError
from transforms.spans import cut_spans
from transforms.writing import write_dataset

pytestmark = pytest.mark.usefixtures("eagerly", "each_transform_once")

_ROWS, _SPANS, _BATCH = 900, 3, 64


def _config(**sections: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "toy_online",
        "source": "toy",
        "model": {"name": "dssm", "embedding_dim": 4, "hidden_units": [8, 4]},
        "training": {"batch_size": _BATCH, "learning_rate": 0.01, "checkpoint_steps": 5},
        "recipe": {"name": "cs3"},
    }
    return parse_config(values | sections)


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream")
    rows = learnable_rows("train", _ROWS, 0)
    # No event is there twice.
    requests = np.asarray(rows.columns["request_id"])
    rows = dataclasses.replace(rows, columns={**rows.columns, "request_id": np.arange(len(requests)).astype("S")})
    write_dataset([rows], folder / "log", "toy", toy_features(), {"seed": 0})
    cut_spans(folder / "log", folder / "spans", _SPANS)
    return folder / "spans"


def _learn(stream: Path, out: Path, settings: OnlineSettings | None = None, **sections: Any) -> dict[str, Any]:
    return learn_online(_config(**sections), stream, out, None, settings or OnlineSettings())


def _weights(out: Path) -> dict[str, np.ndarray]:
    """All that the last checkpoint holds."""
    newest = max(out.glob("checkpoints/step-*.index"), key=lambda path: int(path.stem.removeprefix("step-")))
    reader = tf.train.load_checkpoint(str(newest.with_suffix("")))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.fixture(scope="module")
def whole(stream: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, _learn(stream, out)


def test_each_span_is_scored_before_it_is_learned_from(whole: tuple[Path, dict[str, Any]]) -> None:
    _, report = whole
    assert [row["span"] for row in report["spans"]] == ["span-00001", "span-00002", "span-00003"]
    assert report["events"] == _ROWS and [row["events"] for row in report["spans"]] == [_ROWS // 3] * 3
    # A model without a weight that was learned cannot tell anything.
    first, *_, last = [row["logloss"] for row in report["spans"]]
    assert first > last and report["spans"][-1]["auc/towers"] > 0.55
    assert all(row["duplicates"] == row["late"] == row["dropped"] == 0 for row in report["spans"])


class _Killed(Exception):
    pass


def _killed_at(moments: Iterator[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends a run at the so-manyeth thing that it does: a batch, a checkpoint before or after it is written."""
    left = [next(moments)]

    def tick() -> None:
        left[0] -= 1
        if left[0] == 0:
            left[0] = next(moments, 0)
            raise _Killed

    def dying(wrapped: Any, before: bool) -> Any:
        def call(*arguments: Any) -> Any:
            if before:
                tick()
            found = wrapped(*arguments)
            if not before:
                tick()
            return found

        return call

    learner: Any = learn._Learner
    for name, before in (("_train", True), ("_count", False), ("_save", True), ("_save", False)):
        monkeypatch.setattr(learner, name, dying(getattr(learner, name), before))


def test_ten_kills_leave_what_an_uninterrupted_run_leaves(
    stream: Path, whole: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(3)
    _killed_at(iter(random.integers(1, 12, 10).tolist()), monkeypatch)
    kills = 0
    while True:
        try:
            report = _learn(stream, tmp_path / "run")
            break
        except _Killed:
            kills += 1
    assert kills == 10
    assert report["spans"] == whole[1]["spans"] and report["events"] == _ROWS
    expected, found = _weights(whole[0]), _weights(tmp_path / "run")
    assert set(found) == set(expected)
    for name, value in expected.items():
        if isinstance(value, np.ndarray):  # The state is a text, whose times differ.
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_further_spans_are_learned_by_the_same_command(
    stream: Path, whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "growing").mkdir()
    for number in range(1, _SPANS + 1):
        (tmp_path / "growing" / f"span-0000{number}").symlink_to(stream / f"span-0000{number}")
        report = _learn(tmp_path / "growing", tmp_path / "run")
        assert len(report["spans"]) == number
    assert report["spans"] == whole[1]["spans"]
    assert json.loads((tmp_path / "run" / "online.json").read_text())["events"] == _ROWS


def test_a_span_that_comes_twice_changes_nothing(stream: Path, tmp_path: Path) -> None:
    (tmp_path / "spans").mkdir()
    for name, target in (("span-1", "span-00001"), ("span-2", "span-00001")):
        (tmp_path / "spans" / name).symlink_to(stream / target)
    once = tmp_path / "once"
    once.mkdir()
    (once / "span-1").symlink_to(stream / "span-00001")
    _learn(once, tmp_path / "one")
    report = _learn(tmp_path / "spans", tmp_path / "two")
    assert report["spans"][1]["duplicates"] == 300 and report["spans"][1]["events"] == 0
    first, second = _weights(tmp_path / "one"), _weights(tmp_path / "two")
    for name in first:
        if name.startswith("weights"):
            np.testing.assert_array_equal(second[name], first[name], err_msg=name)


def test_a_span_that_sorts_before_learned_ones_is_left_out_and_told(stream: Path, tmp_path: Path) -> None:
    (tmp_path / "spans").mkdir()
    for number in (1, 3):
        (tmp_path / "spans" / f"span-0000{number}").symlink_to(stream / f"span-0000{number}")
    _learn(tmp_path / "spans", tmp_path / "run")
    (tmp_path / "spans" / "span-00002").symlink_to(stream / "span-00002")
    told: list[str] = []
    report = learn_online(_config(), tmp_path / "spans", tmp_path / "run", None, OnlineSettings(), told.append)
    assert [row["span"] for row in report["spans"]] == ["span-00001", "span-00003"]
    assert any("span-00002 came after span-00003 was learned from; it is left out" in line for line in told)


def _raw(times: list[int], names: list[str]) -> dict[str, Any]:
    columns: dict[str, Any] = {key: tf.constant(names) for key in ("request_id", "user_id", "item_id")}
    return {**columns, "timestamp": tf.constant([MONDAY + time for time in times], tf.int64)}


def test_late_events_are_taken_unless_they_are_too_late() -> None:
    intake = Intake(RecentKeys(100), 50, None)
    taken, _ = intake.take(_raw([0, 100, 200], ["a", "b", "c"]))
    assert taken.all() and intake.moment == MONDAY + 100
    taken, counts = intake.take(_raw([300, 60, 49], ["d", "e", "f"]))
    assert taken.tolist() == [True, True, False]
    assert counts == {"events": 2, "duplicates": 0, "late": 2, "dropped": 1}


def test_one_clock_that_jumps_does_not_make_the_others_late() -> None:
    intake = Intake(RecentKeys(100), 50, MONDAY)
    intake.take(_raw([10, 11, 10**9], ["a", "b", "c"]))
    assert intake.moment == MONDAY + 11
    taken, counts = intake.take(_raw([12, 13], ["d", "e"]))
    assert taken.all() and counts["late"] == counts["dropped"] == 0


def test_a_clock_that_runs_backwards_does_not_take_the_stream_back() -> None:
    intake = Intake(RecentKeys(100), None, MONDAY + 100)
    taken, counts = intake.take(_raw([1, 2], ["a", "b"]))
    assert taken.all() and counts["late"] == 2 and intake.moment == MONDAY + 100


def test_an_event_is_one_by_request_user_and_item() -> None:
    intake = Intake(RecentKeys(100), None, None)
    raw = _raw([1, 2, 3], ["a", "a", "b"])
    assert intake.take(raw)[0].tolist() == [True, False, True]
    other = {**raw, "item_id": tf.constant(["x", "y", "b"])}
    taken, counts = intake.take(other)
    assert taken.tolist() == [True, True, False] and counts["duplicates"] == 1


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"recipe": {"name": "mutual_learning"}}, "MutualLearningRecipe cannot learn from a stream"),
        ({"record": "request"}, "record: received 'request'; expected 'row'"),
        ({"source": "criteo"}, "received a dataset of source 'toy'; expected 'criteo'"),
        ({"recipe": {"name": "cs3", "options": {"pretrain": {}}}}, "a stream has no catalogue"),
    ],
)
def test_what_cannot_learn_from_a_stream_is_refused(
    stream: Path, tmp_path: Path, sections: dict[str, Any], told: str
) -> None:
    model = {"name": "deepfm"} if "mutual" in str(sections) else _config().model.model_dump()
    with pytest.raises((InputError, ValueError), match=told):
        _learn(stream, tmp_path / "run", **{"model": model, **sections})
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_stream_without_a_span_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no span; expected at least one; .*consort data spans|no span"):
        _learn(tmp_path / "nothing", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_events_keep_their_weights() -> None:
    features = {"x": tf.constant([1, 2, 3]), "likes": tf.constant([[1, 0], [2, 3], [4, 0]])}
    batch = (features, tf.constant([1.0, 0.0, 1.0]), tf.constant([0.5, 2.0, 3.0]))
    kept, label, weight = chosen(batch, np.array([True, False, True]))
    assert kept["x"].numpy().tolist() == [1, 3] and kept["likes"].numpy().tolist() == [[1, 0], [4, 0]]
    assert label.numpy().tolist() == [1, 1] and weight.numpy().tolist() == [0.5, 3]
