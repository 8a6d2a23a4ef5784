"""A cascade over several servers: what each stage is asked, what it passes on, and what happens where one fails."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from serving.cascade import Candidates, Cascade, CascadeAnswer
from serving.cascade.config import parse_cascade
from serving.client import PredictClient
from serving.retrieval.item_table import write_items
from tests.helpers.scripted_servers import ScriptedModel, ScriptedServer
from transforms.errors import InputError

_USER = {"user_id": ("STRING", [-1]), "history": ("STRING", [-1, -1]), "history_lengths": ("INT64", [-1])}
_SCORES = {b"a": 5.0, b"b": 9.0, b"c": 1.0, b"d": 4.0}
ALICE = {"user_id": ["u"], "history": [["x", "y"]], "unread": [1]}


def _ids(*names: str) -> np.ndarray:
    return np.array([name.encode() for name in names], object)


def _retrieve(inputs: dict[str, np.ndarray]) -> Mapping[str, Any]:
    """The catalogue c, a, b, d for everybody, without what is excluded."""
    k, users = int(np.max(inputs["k"])), len(inputs["user_id"])
    exclude = inputs.get("exclude", np.empty([1, 0], object))
    ids, scores = [], []
    for place in range(users):
        left = [one for one in (b"c", b"a", b"b", b"d") if one not in exclude[place % len(exclude)].tolist()][:k]
        ids.append(left + [b""] * (k - len(left)))
        scores.append([3.0 - place for place in range(len(left))] + [-np.inf] * (k - len(left)))
    return {"item_id": np.array(ids, object), "score": np.array(scores, np.float32)}


def _logits(inputs: dict[str, np.ndarray]) -> Mapping[str, Any]:
    ids = inputs["item_id"]
    logits = [_SCORES.get(one, 0.0) for one in ids.reshape(-1).tolist()]
    return {"logit": np.array(logits, np.float32).reshape(ids.shape), "probability": np.zeros(ids.shape, np.float32)}


@dataclass
class Stages:
    """Three models on three servers, and the configuration of their cascade."""

    towers: ScriptedModel
    sets: ScriptedModel
    rows: ScriptedModel
    servers: list[ScriptedServer]
    values: dict[str, Any]

    def cascade(self, filters: Any = None, **more: Any) -> Cascade:
        return Cascade(parse_cascade(self.values | more), filters)

    def answer(self, user: Any = None, **more: Any) -> CascadeAnswer:
        with self.cascade(**more) as cascade:
            cascade.wait_ready(5)
            return cascade.answer(ALICE if user is None else user)


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[Stages]:
    for version, price in ((1, 1.0), (2, 7.0)):
        table = {"item_id": _ids("a", "b", "c"), "price": np.array([price, np.nan, 3.0], np.float32)}
        write_items(tmp_path / str(version), {**table, "count": np.array([4, 5, 6])})
    tower_inputs = {**_USER, "k": ("INT32", None), "exclude": ("STRING", [-1, -1])}
    towers = ScriptedModel(_retrieve, tower_inputs, "retrieve", ("k", "exclude", "history_lengths"))
    row = {**_USER, "item_id": ("STRING", [-1]), "price": ("FLOAT", [-1])}
    of_set = {"item_id": ("STRING", [-1, -1]), "price": ("FLOAT", [-1, -1]), "candidate": ("INT64", [-1, -1])}
    sets = ScriptedModel(_logits, {**_USER, **of_set}, optional=("history_lengths",), version=8)
    rows = ScriptedModel(_logits, row, optional=("history_lengths",), version=9)
    models = {"towers": towers, "sets": sets, "rows": rows}
    servers = [ScriptedServer({name: model}) for name, model in models.items()]
    with servers[0], servers[1], servers[2]:
        keep = {"towers": 3, "sets": 2, "rows": 1}
        listed = [
            {"model": name, "server": server.address, "keep": keep[name], "timeout_ms": 2000}
            for name, server in zip(models, servers)
        ]
        listed[0]["folder"] = str(tmp_path)
        yield Stages(towers, sets, rows, servers, {"stages": listed, "timeout_ms": 5000})


def test_each_stage_orders_what_the_one_before_passed_on(stages: Stages) -> None:
    answer = stages.answer()
    retrieved, preranked, _ = answer.stages
    assert retrieved.item_ids.tolist() == [b"c", b"a", b"b"] and retrieved.scores.tolist() == [3.0, 2.0, 1.0]
    assert preranked.item_ids.tolist() == [b"b", b"a"] and preranked.scores.tolist() == [9.0, 5.0]
    assert answer.item_ids.tolist() == [b"b"] and answer.scores.tolist() == [9.0] and answer.fallbacks == {}
    assert [one.version for one in answer.stages] == [1, 8, 9]
    assert [(one.stage, one.server) for one in answer.stages] == [
        (name, server.address) for name, server in zip(("towers", "sets", "rows"), stages.servers)
    ]
    assert 0 < max(one.milliseconds for one in answer.stages) <= answer.milliseconds


def test_a_set_goes_as_one_record_and_rows_one_by_one(stages: Stages) -> None:
    stages.answer()
    towers, sets, rows = stages.towers.requests[-1], stages.sets.requests[-1], stages.rows.requests[-1]
    assert set(towers) == {"user_id", "history", "history_lengths", "k"} and np.max(towers["k"]) == 3
    assert set(sets) == {"user_id", "history", "history_lengths", "item_id", "price", "candidate"}
    assert sets["item_id"].tolist() == [[b"c", b"a", b"b"]] and sets["candidate"].tolist() == [[1, 1, 1]]
    np.testing.assert_array_equal(sets["price"], np.array([[3.0, 1.0, np.nan]], np.float32))
    assert sets["history"].tolist() == [[b"x", b"y"]] and sets["history_lengths"].tolist() == [2]
    assert rows["item_id"].tolist() == [b"b", b"a"] and rows["user_id"].tolist() == [b"u", b"u"]
    assert rows["history"].tolist() == [[b"x", b"y"]] * 2 and "candidate" not in rows


def test_a_batch_of_users_gets_what_each_gets_alone(stages: Stages) -> None:
    users = {"user_id": ["u", "v"], "history": [["x"], ["y", "z"]]}
    with stages.cascade() as cascade:
        both = cascade.answer_many(users, exclude=[["b", "c"], []])
        (sent,) = stages.sets.requests
        assert sent["candidate"].tolist() == [[1, 1, 0], [1, 1, 1]]
        np.testing.assert_array_equal(sent["price"], np.array([[1, np.nan, np.nan], [3, 1, np.nan]], np.float32))
        alone = [
            cascade.answer({"user_id": ["u"], "history": [["x"]]}, exclude=["b", "c"]),
            cascade.answer({"user_id": ["v"], "history": [["y", "z"]]}),
        ]
    for one, other in zip(both, alone):
        for first, second in zip(one.stages, other.stages):
            assert first.item_ids.tolist() == second.item_ids.tolist()
            assert first.scores.tolist() == second.scores.tolist()
    assert both[0].item_ids.tolist() == [b"a"] and both[1].item_ids.tolist() == [b"b"]


def test_seen_items_are_left_out(stages: Stages) -> None:
    answer = stages.answer({**ALICE, "history": [["x", "b"]]}, exclude=("history",))
    assert set(stages.towers.requests[-1]["exclude"].reshape(-1).tolist()) == {b"x", b"b"}
    assert answer.stages[0].item_ids.tolist() == [b"c", b"a", b"d"]


def test_a_filter_sees_the_columns_and_decides_before_the_best_are_kept(stages: Stages) -> None:
    seen: list[Candidates] = []

    def cheap(candidates: Candidates) -> np.ndarray:
        seen.append(candidates)
        return np.asarray(~(candidates.columns["price"] > 2))

    stages.values["stages"][0] |= {"keep": 2, "fetch": 3}
    with stages.cascade({"towers": cheap}) as cascade:
        assert cascade.answer(ALICE).stages[0].item_ids.tolist() == [b"a", b"b"]
        assert seen[0].item_ids.tolist() == [b"c", b"a", b"b"] and seen[0].user["user_id"] == ["u"]
    with (
        stages.cascade({"towers": lambda candidates: candidates.scores}) as cascade,
        pytest.raises(ValueError, match="bool"),
    ):
        cascade.answer(ALICE)
    with pytest.raises(InputError, match="stages among towers, sets, rows"):
        stages.cascade({"tower": cheap})
    stages.servers[0].stop()
    with stages.cascade({"towers": cheap}) as cascade:
        # A fallback is no way around a filter; the newest version's price of `a` is 7.
        assert cascade.answer(ALICE).stages[0].item_ids.tolist() == [b"b"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_lost_stage_is_answered_by_the_order_of_the_one_before(stages: Stages, place: int) -> None:
    name = ("towers", "sets", "rows")[place]
    stages.values["stages"][place]["timeout_ms"] = 300
    with stages.cascade() as cascade:
        usual = cascade.answer(ALICE)
        stages.servers[place].stop()
        answer = cascade.answer(ALICE)
    assert answer.fallbacks.keys() == {name} and answer.fallbacks[name].startswith("UNAVAILABLE")
    lost = answer.stages[place]
    assert lost.version is None and len(lost.item_ids) == (3, 2, 1)[place]
    if place:
        assert lost.item_ids.tolist() == answer.stages[place - 1].item_ids[: len(lost.item_ids)].tolist()
        assert lost.scores.tolist() == answer.stages[place - 1].scores[: len(lost.item_ids)].tolist()
    else:
        # What was retrieved most often before; and the later stages order it.
        assert sorted(lost.item_ids.tolist()) == sorted(usual.stages[0].item_ids.tolist())
        assert answer.item_ids.tolist() == [b"b"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_slow_stage_is_left_at_its_deadline(stages: Stages, place: int) -> None:
    stages.values["stages"][place]["timeout_ms"] = 60
    with stages.cascade(failures=2, pause_ms=60_000) as cascade:
        cascade.answer(ALICE)
        (stages.towers, stages.sets, stages.rows)[place].pause_s = 1.0
        started = time.monotonic()
        first, second = cascade.answer(ALICE), cascade.answer(ALICE)
        assert time.monotonic() - started < 0.8
        paused = cascade.answer(ALICE)
    title = ("towers", "sets", "rows")[place]
    assert first.fallbacks[title].startswith("DEADLINE_EXCEEDED") and second.fallbacks.keys() == {title}
    # After failures in a row, calls do not wait for it.
    assert paused.fallbacks[title].startswith("paused after 2 failed calls; last: DEADLINE_EXCEEDED")
    assert paused.stages[place].milliseconds < 30 and len(paused.item_ids) == 1


def test_the_whole_call_has_a_deadline_too(stages: Stages) -> None:
    with stages.cascade(timeout_ms=150) as cascade:
        cascade.answer(ALICE)
        stages.sets.pause_s = 1.0
        started = time.monotonic()
        answer = cascade.answer(ALICE)
        assert time.monotonic() - started < 0.6
    assert answer.fallbacks["sets"].startswith("DEADLINE_EXCEEDED")
    assert answer.fallbacks["rows"] == "DEADLINE_EXCEEDED: the stages before took all the time"
    assert answer.item_ids.tolist() == [b"c"]


def test_a_full_server_falls_back_and_a_paused_one_comes_back(stages: Stages) -> None:
    stages.values["stages"][2]["timeout_ms"] = 300
    with stages.cascade(failures=1, pause_ms=2400) as cascade:
        stages.rows.refusal = (grpc.StatusCode.RESOURCE_EXHAUSTED, "")
        assert cascade.answer(ALICE).fallbacks == {"rows": "RESOURCE_EXHAUSTED: "}
        stages.rows.refusal = None
        assert "paused" in cascade.answer(ALICE).fallbacks["rows"]
        # The first pause is an eighth.
        time.sleep(0.35)
        assert cascade.answer(ALICE).fallbacks == {}


def test_items_without_a_finite_score_come_last_and_a_stage_without_any_falls_back(stages: Stages) -> None:
    stages.values["stages"][1]["keep"] = 3
    stages.sets.answer = lambda inputs: {"logit": np.array([[np.inf, np.nan, 2.0]], np.float32)}
    answer = stages.answer().stages[1]
    assert answer.item_ids.tolist() == [b"b", b"c", b"a"] and answer.unscored == 2 and answer.fallback == ""
    np.testing.assert_array_equal(answer.scores, [2.0, np.nan, np.nan])
    stages.sets.answer = lambda inputs: {"logit": np.full([1, 3], np.nan, np.float32)}
    answer = stages.answer().stages[1]
    assert answer.fallback == "all 3 scores are NaN or infinite" and answer.version == 8
    assert answer.item_ids.tolist() == [b"c", b"a", b"b"] and answer.scores.tolist() == [3.0, 2.0, 1.0]
    stages.towers.answer = lambda inputs: {
        "item_id": np.array([[b"c", b"a", b"b"]], object), "score": np.full([1, 3], np.nan, np.float32)
    }  # fmt: skip
    whole = stages.answer()
    # Nothing was retrieved before: the catalogue in its order.
    assert whole.stages[0].fallback == "all 3 scores are NaN"
    assert whole.stages[0].item_ids.tolist() == [b"a", b"b", b"c"] and whole.item_ids.tolist() == [b"b"]


def test_answers_of_another_shape_or_without_the_score_fall_back(stages: Stages) -> None:
    stages.rows.answer = lambda inputs: {"logit": np.zeros([7], np.float32)}
    assert "expected 2, one each item" in stages.answer().fallbacks["rows"]
    stages.rows.answer = lambda inputs: {"margin": np.zeros([2], np.float32)}
    assert "logit" in stages.answer().fallbacks["rows"]
    stages.towers.answer = lambda inputs: {
        "item_id": np.array([[b"c"], [b"a"]], object), "score": np.zeros([2, 1], np.float32)
    }  # fmt: skip
    assert "expected both [1, k]" in stages.answer().fallbacks["towers"]


def test_more_than_the_catalogue_is_all_of_it(stages: Stages) -> None:
    def bounded(inputs: dict[str, np.ndarray]) -> Mapping[str, Any]:
        return _retrieve(inputs)

    stages.values["stages"][0]["keep"] = 5000
    asked: list[int] = []

    class Limited(ScriptedModel):
        def predict(self, request: Any, context: Any) -> Any:
            k = int(np.max(np.frombuffer(request.inputs["k"].tensor_content, np.int32)))
            asked.append(k)
            if k > 4:
                details = f"k: received {k}; expected 1 to 4, the items of the catalogue; lower it"
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, details)
            return super().predict(request, context)

    stages.servers[0].models["towers"] = Limited(
        bounded, stages.towers.inputs, "retrieve", stages.towers.optional
    )  # fmt: skip
    with stages.cascade() as cascade:
        for _ in range(2):
            answer = cascade.answer(ALICE)
            assert answer.stages[0].item_ids.tolist() == [b"c", b"a", b"b", b"d"] and answer.fallbacks == {}
    assert asked[-1] == 4 and asked.count(5000) <= 2


def test_an_item_that_the_table_lacks_is_scored_with_missing_columns(stages: Stages) -> None:
    stages.values["stages"][0]["keep"] = 4
    answer = stages.answer()
    assert answer.fallbacks == {} and answer.stages[1].unknown_items == 1 and answer.stages[2].unknown_items == 0
    np.testing.assert_array_equal(stages.sets.requests[-1]["price"][0], np.array([3, 1, np.nan, np.nan], np.float32))


def test_item_columns_are_those_of_the_version_that_answers(stages: Stages, tmp_path: Path) -> None:
    with stages.cascade() as cascade:
        cascade.answer(ALICE)
        stages.towers.version = 2
        cascade.answer(ALICE)
        assert stages.sets.requests[0]["price"][0, 1] == 1.0 and stages.sets.requests[1]["price"][0, 1] == 7.0
        stages.towers.version = 3
        answer = cascade.answer(ALICE)
        # No other version's values are taken instead.
        assert "received versions 1, 2; expected version 3, which answered" in answer.fallbacks["sets"]
        assert answer.item_ids.tolist() == [b"c"]
        write_items(tmp_path / "3", {"item_id": _ids("a", "b", "c"), "price": np.array([8, 8, 8], np.float32)})
        time.sleep(1.1)
        assert cascade.answer(ALICE).fallbacks == {} and stages.sets.requests[-1]["price"][0, 1] == 8.0


def test_a_version_with_other_columns_is_followed(stages: Stages) -> None:
    with stages.cascade() as cascade:
        cascade.answer(ALICE)
        # One column less, one of the table more, and two that nobody has, one of them with a default.
        stages.rows.version = 10
        stages.rows.inputs = {
            name: kind for name, kind in stages.rows.inputs.items() if name != "price"
        } | {"count": ("INT64", [-1]), "brand": ("STRING", [-1]), "tag": ("INT64", [-1])}  # fmt: skip
        stages.rows.optional = ("history_lengths", "tag")
        answer = cascade.answer(ALICE)
    assert answer.fallbacks == {} and answer.stages[2].version == 10
    assert answer.stages[2].missing_columns == ("brand", "tag") and answer.stages[1].missing_columns == ()
    sent = stages.rows.requests[-1]
    assert sent["count"].tolist() == [5, 4] and sent["brand"].tolist() == [b"", b""] and "price" not in sent


def test_it_answers_before_its_servers_are_there(stages: Stages, tmp_path: Path) -> None:
    for server in stages.servers:
        server.stop()
    (tmp_path / "popular.json").write_text('["d", "b", "x"]')
    for stage in stages.values["stages"]:
        stage["timeout_ms"] = 100
    with stages.cascade(fallback=str(tmp_path / "popular.json"), exclude=("history",)) as cascade:
        answer = cascade.answer(ALICE)
    assert answer.fallbacks.keys() == {"towers", "sets", "rows"}
    assert answer.stages[0].item_ids.tolist() == [b"d", b"b"] and answer.item_ids.tolist() == [b"d"]
    assert np.isnan(answer.scores).all()


def test_calls_run_side_by_side_in_an_event_loop(stages: Stages) -> None:
    with stages.cascade() as cascade:
        cascade.wait_ready(5)
        cascade.answer(ALICE)
        stages.sets.pause_s = 0.2

        async def eight() -> list[CascadeAnswer]:
            return await asyncio.gather(*(cascade.answer_async(ALICE) for _ in range(8)))

        started = time.monotonic()
        answers = asyncio.run(eight())
        assert time.monotonic() - started < 1.0
    assert [answer.item_ids.tolist() for answer in answers] == [[b"b"]] * 8


def test_wrong_users_are_refused_by_name(stages: Stages) -> None:
    with stages.cascade() as cascade:
        with pytest.raises(InputError, match="user, for towers: received user_id; expected also history"):
            cascade.answer({"user_id": ["u"]})
        with pytest.raises(InputError, match="2 values of user_id; expected one user"):
            cascade.answer({"user_id": ["u", "v"], "history": [["x"], ["y"]]})
        with pytest.raises(InputError, match="2 values of user_id, 1 values of history"):
            cascade.answer_many({"user_id": ["u", "v"], "history": [["x"]]})
        with pytest.raises(InputError, match="column 'user_id': received 'u'; expected a list"):
            cascade.answer({"user_id": "u"})
        with pytest.raises(InputError, match="lists for 1 users; expected one for each of 2"):
            cascade.answer_many({"user_id": ["u", "v"], "history": [["x"], []]}, exclude=[["b"]])


def test_a_client_of_another_connection_is_used_and_stays_open(stages: Stages) -> None:
    address = stages.servers[0].address
    with PredictClient(address) as client:
        with Cascade(parse_cascade(stages.values), clients={address: client}) as cascade:
            assert cascade.answer(ALICE).fallbacks == {}
        assert client.wait_available("towers", 5) == 1
