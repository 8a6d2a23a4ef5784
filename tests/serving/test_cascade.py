"""A cascade's requests and what it passes on, with answers that are told by heart."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.cascade import Cascade, Stage
from serving.client import Prediction, Retrieved, Signature, Tensor
from serving.retrieval.item_table import ItemTable, read_items, write_items
from transforms.errors import InputError


def _ids(*names: str) -> np.ndarray:
    return np.array([name.encode() for name in names], object)


_ITEMS = {
    "item_id": _ids("a", "b", "c"),
    "price": np.array([1.0, np.nan, 3.0], np.float32),
    "count": np.array([4, 5, 6]),
}
_USER = {"user_id": _ids("u"), "history": np.array([[b"x", b"y"]], object), "unread": np.array([1])}


def _tensor(rank: int) -> Tensor:
    return Tensor("string", (None,) * rank)


class _Server:
    """Answers by heart, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def metadata(self, model: str) -> dict[str, Signature]:
        user = {"user_id": _tensor(1), "history": _tensor(2), "history_lengths": _tensor(1)}
        if model == "towers":
            inputs = {**user, "k": _tensor(0), "exclude": _tensor(2)}
            return {"retrieve": Signature(inputs, {}, frozenset({"k", "exclude", "history_lengths"}))}
        rank = 2 if model == "sets" else 1
        inputs = {**user, "item_id": _tensor(rank), "price": _tensor(rank)}
        mask = {"candidate": _tensor(2)} if model == "sets" else {}
        return {"serving_default": Signature({**inputs, **mask}, {}, frozenset({"history_lengths"}))}

    def retrieve(self, model: str, inputs: Mapping[str, Any], k: int | None = None) -> Retrieved:
        self.asked[model] = (inputs, k)
        return Retrieved(np.array([[b"c", b"a", b"b", b""]], object), np.array([[3.0, 2.0, 1.0, -np.inf]]), model, 7)

    def predict(self, model: str, inputs: Mapping[str, Any]) -> Prediction:
        self.asked[model] = (inputs, None)
        scores = {b"a": 5.0, b"b": 9.0, b"c": 1.0}
        ids = inputs["item_id"]
        logits = np.array([scores[one] for one in ids.reshape(-1).tolist()]).reshape(ids.shape)
        return Prediction({"logit": logits}, model, 8, "serving_default")


def _answers(**more: Any) -> tuple[_Server, Any]:
    server = _Server()
    cascade = Cascade(server, Stage("towers", 4), [Stage("sets", 2), Stage("rows", 1)], ItemTable(_ITEMS))
    return server, cascade.answer({**_USER, **more})


def test_each_stage_orders_what_the_one_before_passed_on() -> None:
    _, (retrieved, preranked, ranked) = _answers()
    # The missing marker, where too few items were left, is none.
    assert retrieved.item_ids.tolist() == [b"c", b"a", b"b"] and retrieved.scores.tolist() == [3.0, 2.0, 1.0]
    assert preranked.item_ids.tolist() == [b"b", b"a"] and preranked.scores.tolist() == [9.0, 5.0]
    assert ranked.item_ids.tolist() == [b"b"] and (ranked.model, ranked.version) == ("rows", 8)
    assert retrieved.version == 7 and all(answer.milliseconds > 0 for answer in (retrieved, preranked, ranked))


def test_a_set_goes_as_one_request_and_rows_one_by_one() -> None:
    server, _ = _answers()
    inputs, k = server.asked["towers"]
    assert set(inputs) == {"user_id", "history"} and k == 4
    inputs, _ = server.asked["sets"]
    assert set(inputs) == {"user_id", "history", "item_id", "price", "candidate"}
    assert inputs["item_id"].tolist() == [[b"c", b"a", b"b"]] and inputs["candidate"].tolist() == [[1, 1, 1]]
    np.testing.assert_array_equal(inputs["price"], [[3.0, 1.0, np.nan]])
    assert inputs["history"].shape == (1, 2)
    inputs, _ = server.asked["rows"]
    assert inputs["item_id"].tolist() == [b"b", b"a"] and "candidate" not in inputs
    assert inputs["user_id"].tolist() == [b"u", b"u"] and inputs["history"].shape == (2, 2)


def test_lengths_of_lists_are_passed_on_where_the_user_has_them() -> None:
    server, _ = _answers(history_lengths=np.array([1]))
    sent = {model: inputs["history_lengths"].tolist() for model, (inputs, _) in server.asked.items()}
    assert sent == {"towers": [1], "sets": [1], "rows": [1, 1]}


def test_missing_columns_and_several_users_are_refused_by_name() -> None:
    cascade = Cascade(_Server(), Stage("towers", 4), [], ItemTable(_ITEMS))
    with pytest.raises(InputError, match="user, for towers: received user_id; expected also history"):
        cascade.answer({"user_id": _ids("u")})
    two = {"user_id": _ids("u", "v"), "history": np.array([[b"x"], [b"y"]], object)}
    with pytest.raises(InputError, match="2 values of user_id; expected one user"):
        cascade.answer(two)
    with pytest.raises(ValueError, match="keep of towers is 0"):
        Stage("towers", 0)


def test_items_come_back_as_they_were_written(tmp_path: Path) -> None:
    tags = np.array([[b"x", b""], [b"", b""], [b"y", b"z"]], object)
    write_items(tmp_path, {**_ITEMS, "tags": tags, "image": np.arange(6, dtype=np.float32).reshape(3, 2)})
    rows = read_items(tmp_path).rows(_ids("c", "a", "c"))
    assert rows["item_id"].tolist() == [b"c", b"a", b"c"] and rows["count"].tolist() == [6, 4, 6]
    np.testing.assert_array_equal(rows["price"], np.array([3.0, 1.0, 3.0], np.float32))
    assert rows["tags"].tolist() == tags[[2, 0, 2]].tolist() and rows["image"].tolist() == [[4, 5], [0, 1], [4, 5]]
    assert rows["price"].dtype == np.float32 and rows["count"].dtype == np.int64


def test_unknown_items_and_missing_tables_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="received b'z'; expected one of its 3 ids"):
        ItemTable(_ITEMS).rows(_ids("a", "z"))
    with pytest.raises(InputError, match="items.parquet: received no such file"):
        read_items(tmp_path)
