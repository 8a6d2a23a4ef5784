"""What a client makes of a request's inputs before it sends them."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serving.client.inputs import (
    Signature,
    Tensor,
    check_message,
    number_of_items,
    prepared,
    signatures_of,
)
from serving.client.json_inputs import read_inputs
from serving.client.known_models import KnownModels
from serving.client.lists import padded_lists
from serving.protocol import ServingError
from transforms.errors import InputError

_B, _N = (None,), (None, None)
_INPUTS = {
    "user": Tensor("string", _B), "age": Tensor("int64", _B), "price": Tensor("float32", _B),
    "items": Tensor("string", _N), "items_lengths": Tensor("int64", _B),
    "tags": Tensor("int64", _N), "tags_lengths": Tensor("int64", _B),
}  # fmt: skip
_ROW = Signature(_INPUTS, {}, frozenset({"items_lengths", "tags_lengths"}))
_MORE = {"k": Tensor("int32", None), "exclude": Tensor("string", _N)}
_RETRIEVE = Signature({"user": _INPUTS["user"], **_MORE}, {}, frozenset(_MORE))


def _inputs(**changed: Any) -> dict[str, Any]:
    found = {"user": ["u", "v"], "age": [1, 2], "price": [1.0, 2.0], "items": [["a"], ["b"]], "tags": [[1], [2]]}
    return {**found, **changed}


def test_lists_of_any_lengths_are_padded_and_none_is_an_element() -> None:
    array, lengths = padded_lists([["a", None, "b"], [], [None, None], ["c", None]], "string")
    assert array.tolist() == [[b"a", b"", b"b"], [b""] * 3, [b""] * 3, [b"c", b"", b""]]
    assert lengths.tolist() == [3, 0, 2, 2]
    array, lengths = padded_lists([[1.5, None], [], [float("nan")]], "float32")
    np.testing.assert_array_equal(array, np.array([[1.5, np.nan], [np.nan] * 2, [np.nan] * 2], np.float32))
    assert lengths.tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    ("lists", "dtype", "lengths"),
    [
        ([["a", "", "b", ""], ["", ""], ["c"]], "string", [3, 0, 1]),
        ([[5, -1, 6, -1], [-1], [7]], "int64", [3, 0, 1]),
        ([[5, -1], [None, -1], [-1, None]], "int64", [1, 1, 2]),
    ],
)
def test_markers_at_the_end_are_padding_as_they_are_in_arrays(lists: Any, dtype: str, lengths: list[int]) -> None:
    assert padded_lists(lists, dtype)[1].tolist() == lengths
    # A list alone means what it means among others.
    assert [padded_lists([one], dtype)[1].tolist() for one in lists] == [[one] for one in lengths]


def test_an_array_ends_before_its_last_missing_markers() -> None:
    array = np.array([[b"a", b""], [b"", b""]], object)
    found, lengths = padded_lists(array, "string")
    assert found is array and lengths.tolist() == [1, 0]
    assert padded_lists(np.array([[5, -1, 6, -1], [-1, -1, -1, -1]]), "int64")[1].tolist() == [3, 0]
    assert padded_lists(np.array([[1.0, np.inf], [np.nan, 2.0]], np.float32), "float32")[1].tolist() == [1, 2]
    assert padded_lists(np.zeros([2, 0], np.int64), "int64")[1].tolist() == [0, 0]
    # Unless it holds None, as a table's column of objects does.
    assert padded_lists(np.array([["a", None], ["b", "c"]], object), "string")[1].tolist() == [2, 2]
    ragged = np.empty(2, object)
    ragged[:] = [np.array([1, 2]), np.array([3])]
    found, lengths = padded_lists(ragged, "int64")
    assert found.tolist() == [[1, 2], [3, -1]] and lengths.tolist() == [2, 1]


def test_lengths_are_sent_and_those_that_are_given_stay() -> None:
    found = prepared(_inputs(items=[["a", None], []], tags_lengths=[0, 1]), _ROW)
    assert found["items_lengths"].tolist() == [2, 0] and found["tags_lengths"].tolist() == [0, 1]
    assert found["items"].tolist() == [[b"a", b""], [b"", b""]]


def test_none_is_the_marker_of_its_type_and_numbers_get_the_widths_asked_for() -> None:
    found = prepared(_inputs(user=[None, "v"], age=[None, 3], price=[None, 2]), _ROW)
    assert found["user"].tolist() == [b"", b"v"] and found["age"].tolist() == [-1, 3]
    np.testing.assert_array_equal(found["price"], np.array([np.nan, 2.0], np.float32))
    narrow = prepared(_inputs(age=np.array([1, 2], np.int32), price=np.array([0.1, 2.0])), _ROW)
    assert narrow["age"].dtype == np.int64 and narrow["price"].dtype == np.float32
    assert narrow["price"][0] == np.float32(0.1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"price": ["cheap", "dear"]},
            r"input price: received string values of shape \[2\]; expected float32 values of",
        ),
        (
            {"user": [1, 2]},
            r"input user: received int64 values of shape \[2\]; expected string values of shape \[any\]",
        ),
        ({"age": [0.5, 1.0]}, "input age: received float32 .*; expected int64"),
        ({"age": np.array([2**63, 1], np.uint64)}, "input age: received uint64"),
        ({"price": [True, False]}, "input price: received bool"),
        ({"user": [["u"], ["v"]]}, r"input user: received string values of shape \[2, 1\]"),
        ({"user": ["u"]}, "input user: received batch size 1; expected 2, that of the other inputs"),
        ({"items": [["a"]]}, "input items: received batch size 1; expected 2"),
        ({"items_lengths": [1]}, "input items_lengths: received batch size 1; expected 2"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ServingError, match=f"INVALID_ARGUMENT: {message}"):
        prepared(_inputs(**changed), _ROW)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"items": ["a", "b"]}, "input 'items': received 'a'; expected a list of values for each record"),
        ({"user": ["u", 7]}, "input 'user': .*received 7; expected str or bytes"),
        ({"user": [["u"], ["v", "w"]]}, "input 'user': .*ragged"),
    ],
)
def test_values_that_no_tensor_holds_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepared(_inputs(**changed), _ROW)


def test_what_holds_for_all_is_sent_for_each_so_that_requests_can_be_joined() -> None:
    found = prepared({"user": ["u", "v", "w"], "k": number_of_items(5), "exclude": [["a", "b"]]}, _RETRIEVE)
    assert found["k"].tolist() == [5, 5, 5] and found["k"].dtype == np.int32
    assert found["exclude"].tolist() == [[b"a", b"b"]] * 3
    assert prepared(_inputs(items_lengths=[-1]), _ROW)["items_lengths"].tolist() == [-1, -1]
    with pytest.raises(ServingError, match="input k: received batch size 2; expected 3"):
        prepared({"user": ["u", "v", "w"], "k": [5, 6]}, _RETRIEVE)
    earlier = Signature({**_RETRIEVE.inputs, "k": Tensor("int32", ())}, {}, _RETRIEVE.defaults)
    assert prepared({"user": ["u", "v"], "k": number_of_items(5)}, earlier)["k"].shape == ()


@pytest.mark.parametrize("k", [5.0, True, "5", 2**40, None])
def test_a_k_that_is_no_number_of_items_is_refused(k: Any) -> None:
    with pytest.raises(ValueError, match="k: received .*; expected a whole number of items"):
        number_of_items(k)


def test_a_check_s_words_come_without_the_graph() -> None:
    nodes = "\n\t [[{{function_node g}}{{node a/Assert}}]]\n\t [[{{node b}}]]"
    assert check_message(f"{{{{function_node f}}}} assertion failed: [k: received 9; expected [1]]{nodes}") == (
        "k: received 9; expected [1]"
    )
    assert check_message("no such model") == "no such model"


def _fetching(*answers: Any) -> tuple[list[Any], Callable[..., Any]]:
    asked, left = [], list(answers)

    def fetch(key: Any, timeout_s: float) -> Any:
        asked.append(key)
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found

    return asked, fetch


_EXPORT = {"examples": _ROW, "transform_features": _ROW, "serving_default": _ROW}
_KEY = ("m", None, None)


def test_signatures_are_asked_for_once_a_version() -> None:
    asked, fetch = _fetching((1, _EXPORT), (2, _EXPORT))
    models = KnownModels(fetch)
    assert models.of(_KEY, 1.0).fresh and not models.of(_KEY, 1.0).fresh and len(asked) == 1
    models.answered(_KEY, 1)
    assert models.of(_KEY, 1.0).version == 1 and len(asked) == 1
    models.answered(_KEY, 2)
    assert models.of(_KEY, 1.0).version == 2 and len(asked) == 2
    assert models.of(_KEY, 1.0, again=True).fresh and len(asked) == 3


@pytest.mark.parametrize(("code", "times"), [("UNIMPLEMENTED", 1), ("UNAVAILABLE", 2)])
def test_what_the_server_does_not_tell_is_not_known(code: str, times: int) -> None:
    asked, fetch = _fetching(ServingError(code, ""))
    models = KnownModels(fetch)
    assert [models.of(_KEY, 1.0).signatures for _ in range(2)] == [None, None] and len(asked) == times
    _, fetch = _fetching((1, {"serving_default": _ROW}))
    # Inputs of other people's models may be of any kind.
    assert KnownModels(fetch).of(_KEY, 1.0).signatures is None


_SEVERAL = Signature(
    {"genres": Tensor("string", (None, 3)), "images": Tensor("float32", (None, None, 2))}, {}, frozenset()
)


def test_fewer_values_than_an_input_takes_are_filled_up_with_the_marker() -> None:
    arrays = prepared({"genres": [["a"], ["b", None, "c"]], "images": [[[1, 2], [3]], [[None, 4], []]]}, _SEVERAL)
    assert arrays["genres"].tolist() == [[b"a", b"", b""], [b"b", b"", b"c"]]
    nan = np.nan
    np.testing.assert_array_equal(arrays["images"], np.array([[[1, 2], [3, nan]], [[nan, 4], [nan, nan]]], np.float32))
    narrow = prepared({"genres": np.array([["a", "b"]], object)}, _SEVERAL)
    assert narrow["genres"].tolist() == [[b"a", b"b", b""]]
    whole = np.array([[b"a", b"b", b"c"]], object)
    assert prepared({"genres": whole}, _SEVERAL)["genres"].tolist() == whole.tolist()


def test_more_values_than_an_input_takes_are_refused() -> None:
    with pytest.raises(ValueError, match="input 'genres': received 4 values; expected at most 3; leave some out"):
        prepared({"genres": [["a"], list("abcd")]}, _SEVERAL)


def test_a_file_may_leave_values_out_and_must_not_have_too_many(tmp_path: Path) -> None:
    path = tmp_path / "inputs.json"
    path.write_text('{"genres": [["a"], []], "images": [[[1]], [[2, null]]]}')
    arrays = read_inputs(path, _SEVERAL)
    assert arrays["genres"].tolist() == [["a", b"", b""], [b"", b"", b""]]
    np.testing.assert_array_equal(arrays["images"], [[[1, np.nan]], [[2, np.nan]]])
    path.write_text('{"genres": [["a"]], "images": [[[1, 2, 3]]]}')
    with pytest.raises(InputError, match="input 'images': received 3 values; expected at most 2 in each list"):
        read_inputs(path, _SEVERAL)


_RECORDS = Signature(
    inputs={
        "user_id": Tensor("string", (None,)),
        "age": Tensor("float32", (None,)),
        "history": Tensor("string", (None, None)),
        "history_lengths": Tensor("int64", (None,)),
    },
    outputs={},
    defaults=frozenset({"history_lengths"}),
)
_REQUESTS = Signature(
    inputs={
        "user_id": Tensor("string", (None,)),
        "item_id": Tensor("string", (None, None)),
        "image": Tensor("float32", (None, None, 2)),
        "candidate": Tensor("int64", (None, None)),
    },
    outputs={},
    defaults=frozenset(),
)


def test_a_file_may_have_an_object_per_line_with_nulls_and_without_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "inputs.jsonl"
    path.write_text('{"user_id": "a", "age": 3, "history": ["x", "y"]}\n\n{"user_id": null, "history": []}\n')
    arrays = read_inputs(path, _RECORDS)
    assert arrays["user_id"].tolist() == ["a", b""]
    np.testing.assert_array_equal(arrays["age"], np.array([3, np.nan]))
    assert arrays["history"].tolist() == [[b"x", b"y"], [b"", b""]] and arrays["history_lengths"].tolist() == [2, 0]
    path.write_text('{"user_id": "a", "age": 3, "history": ["x"]}')
    assert read_inputs(path, _RECORDS)["history"].tolist() == [[b"x"]]


def test_what_no_record_has_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "inputs.jsonl"
    path.write_text('{"user": "a"}\n{"user": "b"}\n')
    arrays = read_inputs(path, _ROW)
    assert arrays["user"].tolist() == ["a", "b"] and arrays["age"].tolist() == [-1, -1]
    assert np.isnan(arrays["price"]).all() and arrays["price"].shape == (2,)
    assert arrays["items"].shape == (2, 0) and arrays["items_lengths"].tolist() == [0, 0]
    assert arrays["tags"].dtype == np.int64 and arrays["tags_lengths"].tolist() == [0, 0]
    path.write_text('{"user": "a"}')
    assert read_inputs(path, _ROW)["age"].tolist() == [-1]
    # What may be left out stays out.
    assert set(read_inputs(path, _RETRIEVE)) == {"user"}
    tagged = Signature({"user": _INPUTS["user"], "genres": Tensor("string", (None, 2))}, {}, frozenset())
    assert read_inputs(path, tagged)["genres"].tolist() == [[b"", b""]]


def test_what_no_candidate_has_is_missing_and_some_candidate_must_have_something(tmp_path: Path) -> None:
    path = tmp_path / "inputs.jsonl"
    path.write_text('{"item_id": ["x", "y"]}\n{"user_id": "b", "item_id": ["z"]}\n')
    arrays = read_inputs(path, _REQUESTS)
    assert np.isnan(arrays["image"]).all() and arrays["image"].shape == (2, 2, 2)
    assert arrays["user_id"].tolist() == [b"", "b"] and arrays["candidate"].tolist() == [[1, 1], [1, 0]]
    path.write_text('{"user_id": "a"}')
    with pytest.raises(InputError, match="received nothing for item_id, image; expected all of user_id, item_id, "):
        read_inputs(path, _REQUESTS)


def test_whole_numbers_are_digits_where_strings_are_expected(tmp_path: Path) -> None:
    path = tmp_path / "inputs.jsonl"
    path.write_text('{"user_id": 10131, "history": [7, null, "x", 8.0]}\n{"user_id": -0.0}\n{"user_id": "01"}\n')
    arrays = read_inputs(path, _RECORDS)
    assert arrays["user_id"].tolist() == ["10131", "0", "01"]
    assert arrays["history"].tolist()[0] == [b"7", b"", b"x", b"8"]
    path.write_text('{"user_id": 1, "item_id": [639, "y"]}')
    assert read_inputs(path, _REQUESTS)["item_id"].tolist() == [["639", "y"]]
    path.write_text('{"genres": [[18, null]], "images": [[[1]]]}')
    assert read_inputs(path, _SEVERAL)["genres"].tolist() == [["18", b"", b""]]


def test_optional_lengths_are_not_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "inputs.json"
    path.write_text('{"user": ["a"], "items": [[]]}')
    message = "received nothing for age, price, tags; expected all of user, age, price, items, tags. Fix"
    with pytest.raises(InputError, match=message):
        read_inputs(path, _ROW)


def test_inputs_have_a_stable_order() -> None:
    info = SimpleNamespace(dtype=1, tensor_shape=SimpleNamespace(unknown_rank=True))
    definition = SimpleNamespace(inputs={"b": info, "c": info, "a": info}, outputs={}, defaults={})
    assert list(signatures_of({"m": definition})["m"].inputs) == ["a", "b", "c"]


def test_candidates_of_unequal_numbers_are_padded_and_masked(tmp_path: Path) -> None:
    path = tmp_path / "inputs.jsonl"
    first = '{"user_id": "a", "item_id": ["x", "y"], "image": [[1, 2], [3, 4]]}'
    path.write_text(first + '\n{"user_id": "b", "item_id": ["z"], "image": [[5, 6]]}\n')
    arrays = read_inputs(path, _REQUESTS)
    assert arrays["item_id"].tolist() == [["x", "y"], ["z", b""]] and arrays["candidate"].tolist() == [[1, 1], [1, 0]]
    np.testing.assert_array_equal(arrays["image"], np.array([[[1, 2], [3, 4]], [[5, 6], [np.nan, np.nan]]]))
    path.write_text(first + '\n{"user_id": "b", "item_id": ["z"], "image": []}\n')
    with pytest.raises(InputError, match="record 2: received unequal numbers of candidates: item_id 1, image 0"):
        read_inputs(path, _REQUESTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"user_id": "a"}\n{"user_id": ', "inputs.jsonl, line 2: received"),
        ('{"user_id": "a"}\n[1]', "inputs.jsonl: received JSON of another form"),
        ('{"user_id": "a", "aeg": 3}\n{"user_id": "b"}', "input 'aeg': received an unknown input.*did you mean 'age'"),
        (
            '{"user_id": 3.5, "age": 1, "history": []}',
            "input 'user_id': received 3.5; expected string.*quote it: .3.5.",
        ),
        ('{"user_id": true, "age": 1, "history": []}', "input 'user_id': received true; expected .*correct the value"),
        ('{"user_id": "a", "age": 1, "history": ["x", 0.5]}', "input 'history': received 0.5; expected string"),
    ],
)
def test_a_wrong_record_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "inputs.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        read_inputs(tmp_path / "inputs.jsonl", _RECORDS)
