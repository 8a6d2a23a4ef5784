"""Requests that a batching server joins, and clients of earlier exports: each gets the scores that it gets alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.client.inputs import cut, prepared, signatures_of
from serving.export.request_tensors import TensorFunction
from serving.loading import Scorer
from serving.protocol import PredictRequest, PredictResponse, ServingError
from serving.server.servable import Servable
from serving.tensors import from_proto, to_proto
from tests.helpers.batching_server import Inputs, Refused, answers_of_batch, merged, rows_of
from tests.helpers.served_towers import ToyTowers, user_inputs
from transforms.features import CANDIDATE, Column

_USER = Column(name="user", dtype="string", entity="user")
_ITEMS = Column(name="items", dtype="string", entity="user", variable_length=True)
_TAGS = Column(name="tags", dtype="int64", entity="user", variable_length=True)
_PRICE = Column(name="price", dtype="float", entity="item")
_WIDE = Column(name="wide", dtype="int64", entity="item", width=2)
_ITEM = Column(name="item", dtype="string", entity="item")
_MASK = Column(name=CANDIDATE, dtype="int64", entity="item", model_input=False)
_TIME = Column(name="time", dtype="int64", entity="context", required=True)


def _read(inputs: dict[str, Any]) -> dict[str, Any]:
    """All that a model can see, as text for each candidate; of padding nothing."""
    lists = tf.strings.join([_joined(inputs["items"]), _joined(inputs["tags"])], "|")
    offered = [inputs["item"], _text(inputs["price"]), _text(inputs["wide"][..., 0]), _text(inputs["wide"][..., 1])]
    of_user = tf.strings.join([inputs["user"], lists, _text(inputs["time"])], "|")
    every = tf.strings.join([tf.broadcast_to(of_user[:, tf.newaxis], tf.shape(inputs["item"])), *offered], "|")
    return {"seen": tf.where(inputs[CANDIDATE] == 1, every, "")}


def _text(values: Any) -> Any:
    return tf.strings.as_string(values)


def _joined(lists: Any) -> Any:
    values = lists if lists.dtype == tf.string else lists.with_flat_values(_text(lists.flat_values))
    return tf.strings.reduce_join(values.to_tensor(default_value="-"), axis=1, separator=",")


_COLUMNS = (_USER, _TIME, _ITEMS, _TAGS, _PRICE, _WIDE, _ITEM, _MASK)


@pytest.fixture(scope="module")
def sets() -> TensorFunction:
    return TensorFunction(_COLUMNS, "request", _read)


def _request(random: np.random.Generator, rows: int, candidates: int, lengths: tuple[int, int]) -> dict[str, Any]:
    """A request whose first values are real ones, the worst that a server can pad with."""
    items, tags = (max(1, length) for length in lengths)
    return {
        "user": random.choice([b"u", b"v"], rows).astype(object),
        "time": random.integers(0, 9, rows),
        "items": random.choice([b"a", b"b"], [rows, items]).astype(object),
        "items_lengths": random.integers(0, lengths[0] + 1, rows),
        "tags": random.integers(1, 9, [rows, tags]),
        "tags_lengths": random.integers(0, lengths[1] + 1, rows),
        "price": random.random([rows, candidates]).astype(np.float32),
        "wide": random.integers(1, 9, [rows, candidates, 2]),
        "item": random.choice([b"x", b"y"], [rows, candidates]).astype(object),
        "candidate": random.integers(0, 2, [rows, candidates]),
        "candidate_count": np.full([rows], candidates),
    }


_SIZES = st.tuples(st.integers(1, 3), st.integers(1, 6), st.tuples(st.integers(0, 5), st.integers(0, 5)))


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(_SIZES, min_size=1, max_size=4), seed=st.integers(0, 2**32 - 1))
def test_padding_and_batch_mates_change_nothing_that_a_model_sees(sets: TensorFunction, sizes: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    requests = [_request(random, *one) for one in sizes]
    together = answers_of_batch(lambda batch: {"seen": _seen(sets, batch)}, requests)
    # Lists are padded for the text, too: compared without it.
    for request, answer in zip(requests, together, strict=True):
        alone, width = _seen(sets, request), request["candidate"].shape[1]
        assert _bare(answer["seen"][:, :width]) == _bare(alone)
        assert set(answer["seen"][:, width:].ravel()) <= {b""}


def _seen(function: TensorFunction, inputs: Inputs) -> np.ndarray:
    answer: np.ndarray = function(inputs)["seen"].numpy()
    return answer


def _bare(texts: np.ndarray) -> list[Any]:
    return [[text.replace(b",-", b"").replace(b"-", b"") for text in row] for row in texts.tolist()]


def test_who_leaves_out_what_marks_padding_is_not_joined_with_others(sets: TensorFunction, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    servable = _save(tmp_path, sets)
    defaults = signatures_of(servable.signatures)["serving_default"].default_values
    request = _request(random, 1, 3, (2, 2))
    assert rows_of({**defaults, **request}) == 1
    for name in ("items_lengths", "tags_lengths", "candidate_count", "user", "price"):
        sent = {key: value for key, value in request.items() if key != name}
        with pytest.raises(Refused, match="equal 0th-dimension size"):
            rows_of({**defaults, **sent})
        # Alone it is answered, by its missing markers and its mask.
        assert _ask(servable, sent)["seen"].shape == (1, 3)
    servable.close()


def _save(folder: Path, function: TensorFunction) -> Servable:
    module = tf.Module()
    tf.saved_model.save(module, str(folder / "1"), signatures={"serving_default": function.signature()})
    return Servable(folder / "1")


def _ask(servable: Servable, inputs: Inputs) -> dict[str, np.ndarray]:
    request, response = PredictRequest(), PredictResponse()
    for name, values in inputs.items():
        to_proto(values, request.inputs[name])
    servable.predict(request, response)
    return {name: from_proto(proto) for name, proto in response.outputs.items()}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An export, and a later one that reads further columns: of the user, a list, and of the items."""
    folder = tmp_path_factory.mktemp("evolved")

    def read(inputs: dict[str, Any]) -> dict[str, Any]:
        everything = {
            "tags": tf.RaggedTensor.from_tensor(tf.fill([tf.size(inputs["time"]), 0], tf.constant(0, tf.int64))),
            "price": tf.fill(tf.shape(inputs["item"]), float("nan")),
            "user": tf.fill(tf.shape(inputs["time"]), ""),
            **inputs,
        }
        return _read(everything)

    earlier = _save(folder / "earlier", TensorFunction((_TIME, _ITEMS, _WIDE, _ITEM, _MASK), "request", read))
    later = _save(folder / "later", TensorFunction(_COLUMNS, "request", read))
    yield earlier, later
    earlier.close()
    later.close()


_ADDED = ("user", "tags", "tags_lengths", "price")


@pytest.mark.parametrize("rows", [1, 3])
def test_a_client_that_does_not_know_a_new_column_gets_the_answer_for_missing_ones(versions: Any, rows: int) -> None:
    earlier, later = versions
    request = _request(np.random.default_rng(2), rows, 4, (3, 3))
    known = {name: value for name, value in request.items() if name not in _ADDED}
    assert _bare(_ask(later, known)["seen"]) == _bare(_ask(earlier, known)["seen"])
    marked = {"user": np.full([rows], b"", object), "price": np.full([rows, 4], np.nan, np.float32)}
    marked |= {"tags": np.full([rows, 1], -1), "tags_lengths": np.zeros([rows], np.int64)}
    assert _bare(_ask(later, known)["seen"]) == _bare(_ask(later, {**known, **marked})["seen"])


def test_a_client_of_this_version_fills_in_what_it_does_not_know_so_that_it_can_be_joined(versions: Any) -> None:
    _, later = versions
    signature = signatures_of(later.signatures)["serving_default"]
    old = _request(np.random.default_rng(3), 2, 4, (3, 3))
    old = {name: value for name, value in old.items() if name not in (*_ADDED, "items_lengths", "candidate_count")}
    new = _request(np.random.default_rng(4), 1, 6, (5, 1))
    requests = [prepared(one, signature) for one in (old, new)]
    assert [rows_of(one) for one in requests] == [2, 1] and all(set(one) == set(signature.inputs) for one in requests)
    answers = answers_of_batch(lambda batch: _ask(later, batch), requests)
    for request, sent, answer in zip(requests, (old, new), answers, strict=True):
        alone = cut(_ask(later, request), request, signature)["seen"]
        assert _bare(cut(answer, request, signature)["seen"]) == _bare(alone)
        assert alone.shape == sent["candidate"].shape
    nobody = {**_request(np.random.default_rng(5), 1, 0, (0, 0)), "items": np.zeros([1, 0], object)}
    merged([prepared(nobody, signature), requests[0]])
    assert cut(_ask(later, prepared(nobody, signature)), prepared(nobody, signature), signature)["seen"].shape == (1, 0)


def test_a_removed_column_is_refused_by_name_and_a_missing_required_one_too(versions: Any) -> None:
    earlier, later = versions
    request = _request(np.random.default_rng(6), 1, 2, (1, 1))
    with pytest.raises(ServingError, match="INVALID_ARGUMENT.*user"):
        _ask(earlier, {name: value for name, value in request.items() if name not in ("tags", "tags_lengths", "price")})
    with pytest.raises(ServingError, match="alias: time"):
        _ask(later, {name: value for name, value in request.items() if name != "time"})
    with pytest.raises(ServingError, match="received shapes .* with M 1 of item; expected"):
        _ask(later, {**request, "item": np.array([[b"x"]], object)})


def test_users_that_are_joined_get_their_items_and_rows_their_scores(towers: ToyTowers) -> None:
    ask, inputs = Scorer(towers.version).ask, user_inputs(towers, 5)
    ids = sorted(towers.catalogue().ids.tolist())
    requests: list[dict[str, np.ndarray]] = []
    wanted: list[tuple[slice, int, list[list[int]]]] = [(slice(0, 2), 7, [[0, 1, 2], [3]]), (slice(2, 3), 3, [[]])]
    for place, (rows, k, unwanted) in enumerate(wanted):
        users = len(unwanted)
        exclude = np.full([users, max(1, max(map(len, unwanted)))], ids[place], object)
        for row, numbers in zip(exclude, unwanted, strict=True):
            row[: len(numbers)] = [ids[number] for number in numbers]
        one = {name: value[rows] for name, value in inputs.items()}
        longest = max(1, int(one["history_lengths"].max()))
        one["history"] = one["history"][:, :longest]
        one |= {"k": np.full([users], k, np.int32), "exclude": exclude}
        requests.append({**one, "exclude_count": np.array([len(numbers) for numbers in unwanted])})
    assert requests[0]["history"].shape[1] != requests[1]["history"].shape[1] or len(ids) < 9
    for request, answer in zip(requests, answers_of_batch(lambda batch: ask("retrieve", batch), requests), strict=True):
        alone, k = ask("retrieve", request), request["k"][0]
        assert answer["item_id"][:, :k].tolist() == alone["item_id"].tolist()
        np.testing.assert_allclose(answer["score"][:, :k], alone["score"], atol=1e-6)
