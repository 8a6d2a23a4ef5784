"""The inputs of a signature: which elements of a padded list count, and what is refused in which words."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from serving.export.request_tensors import TensorFunction
from transforms.features import CANDIDATE, Column, Encoding, Feature, FeatureSet

_ITEMS = Column(name="items", dtype="string", entity="user", variable_length=True)
_TAGS = Column(name="tags", dtype="int64", entity="user", variable_length=True)
_PRICES = Column(name="prices", dtype="float", entity="user", variable_length=True)
_USER = Column(name="user", dtype="string", entity="user")
_ITEM = Column(name="item", dtype="string", entity="item")
_MASK = Column(name=CANDIDATE, dtype="int64", entity="item", model_input=False)
_LISTS = (_USER, _ITEMS, _TAGS, _PRICES)
_NAN = float("nan")


def _lists(inputs: dict[str, Any]) -> dict[str, Any]:
    """Lists as they reach the transform, marked at their ends."""
    return {
        "items": tf.strings.reduce_join(inputs["items"].to_tensor(default_value="|"), 1, separator=","),
        "tags": inputs["tags"].to_tensor(default_value=-9),
        "lengths": tf.stack([inputs[name].row_lengths() for name in ("items", "tags", "prices")], axis=1),
    }


@pytest.fixture(scope="module")
def lists() -> TensorFunction:
    return TensorFunction(_LISTS, "row", _lists)


@pytest.fixture(scope="module")
def sets() -> TensorFunction:
    def logits(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"logit": tf.zeros(tf.shape(inputs["item"]))}

    return TensorFunction((_USER, _ITEM, _ITEMS, _MASK), "request", logits, max_candidates=3)


def _inputs(**changed: Any) -> dict[str, Any]:
    """Three records: a hole and a missing last element, nothing, two missing elements."""
    found = {
        "user": ["u", "v", "w"],
        "items": [["a", "", "b", ""], ["", "", "", ""], ["", "", "", ""]],
        "items_lengths": [4, 0, 2],
        "tags": [[7, 8, -1, -1], [-1, -1, -1, -1], [-1, -1, -1, -1]],
        "tags_lengths": [4, 0, 2],
        "prices": [[1.0, _NAN, 2.0, _NAN]] * 3,
        "prices_lengths": [4, 0, 2],
    }
    return {**found, **changed}


def _found(function: TensorFunction, inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value.numpy().tolist() for name, value in function(inputs).items()}


def test_every_element_within_a_list_counts_missing_or_not(lists: TensorFunction) -> None:
    found = _found(lists, _inputs())
    assert found["lengths"] == [[4, 4, 4], [0, 0, 0], [2, 2, 2]]
    assert found["items"] == [b"a,,b,", b"|,|,|,|", b",,|,|"]
    assert found["tags"][0] == [7, 8, -1, -1] and found["tags"][2] == [-1, -1, -9, -9]


def test_with_lengths_padding_is_padding_whatever_it_holds(lists: TensorFunction) -> None:
    # A server that joins requests pads each tensor with its first value.
    items = [["a", "", "b", "", "a", "a"], ["a"] * 6, ["", "", "a", "a", "a", "a"]]
    tags = [[7, 8, -1, -1, 7, 7], [7] * 6, [-1, -1, 7, 7, 7, 7]]
    found = _found(lists, _inputs(items=items, tags=tags, prices=[[1.0, _NAN, 2.0, _NAN, 1.0, 1.0]] * 3))
    assert found == _found(lists, _inputs())


@pytest.mark.parametrize("unknown", [{}, {"items_lengths": [-1], "tags_lengths": [-1, -1, -1], "prices_lengths": [-1]}])
def test_without_lengths_missing_markers_at_the_end_are_padding_and_others_elements(
    lists: TensorFunction, unknown: dict[str, Any]
) -> None:
    inputs = {name: value for name, value in _inputs().items() if not name.endswith("_lengths")} | unknown
    found = _found(lists, inputs)
    assert found["lengths"] == [[3, 2, 3], [0, 0, 3], [0, 0, 3]]
    assert found["items"][0] == b"a,,b"


def test_some_records_may_leave_their_length_to_the_server(lists: TensorFunction) -> None:
    found = _found(lists, _inputs(items_lengths=[-1, 1, 4]))
    assert [one[0] for one in found["lengths"]] == [3, 1, 4]


def test_no_record_and_no_width_are_answered(lists: TensorFunction) -> None:
    nobody = {name: np.zeros([0, 2] if name in ("items", "tags", "prices") else [0]) for name in _inputs()}
    nobody |= {"user": np.zeros([0], object), "items": np.zeros([0, 2], object)}
    nobody = {name: tf.constant(v, tf.string if v.dtype == object else None) for name, v in nobody.items()}
    nobody = {name: tf.cast(v, tf.int64) if "lengths" in name or name == "tags" else v for name, v in nobody.items()}
    assert lists({**nobody, "prices": tf.zeros([0, 2])})["lengths"].shape == (0, 3)
    empty = {"items": np.zeros([3, 0], object), "items_lengths": [-1, 0, -1]}
    assert [one[0] for one in _found(lists, _inputs(**empty))["lengths"]] == [0, 0, 0]


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("name", _inputs())
def test_inputs_of_another_batch_size_are_refused_by_name(lists: TensorFunction, name: str, size: int) -> None:
    inputs = _inputs()
    inputs[name] = (inputs[name] * 2)[:size]
    expected = f"input {name}: received batch size {size}; expected 3, that of the other inputs"
    with pytest.raises(tf.errors.InvalidArgumentError, match=expected):
        lists(inputs)


@pytest.mark.parametrize(("length", "width"), [(5, 4), (-2, 4), (2**40, 4)])
def test_lengths_beyond_the_list_are_refused(lists: TensorFunction, length: int, width: int) -> None:
    expected = f"input tags_lengths: received {length}; expected 0 to {width}, the width of the list, or -1"
    with pytest.raises(tf.errors.InvalidArgumentError, match=expected):
        lists(_inputs(tags_lengths=[0, length, 9]))


def _request(**changed: Any) -> dict[str, Any]:
    found = {"user": ["u", "v"], "item": [["a", "b"], ["c", "d"]], "items": [["x"], ["y"]], CANDIDATE: [[1, 1], [1, 0]]}
    return {**found, **changed}


def test_sets_are_checked_too(sets: TensorFunction) -> None:
    assert sets(_request())["logit"].shape == (2, 2)
    wrong: dict[str, dict[str, Any]] = {
        f"input {CANDIDATE}: received batch size 1; expected 2": {CANDIDATE: [[1, 1]]},
        "input items: received batch size 1; expected 2": {"items": [["x"]]},
        "input user: received batch size 1; expected 2": {"user": ["u"]},
        r"candidates: received shapes \[B, M\] with M 1 of item; expected \[B, M\] of all with M 2": {
            "item": [["a"], ["b"]]
        },
        f"input {CANDIDATE}: received 7; expected 1 for a candidate and 0 for padding": {CANDIDATE: [[1, 1], [7, 0]]},
        "candidates: received 4; expected at most 3": {"item": [["a"] * 4] * 2, CANDIDATE: [[1] * 4] * 2},
    }
    for expected, changed in wrong.items():
        with pytest.raises(tf.errors.InvalidArgumentError, match=expected):
            sets(_request(**changed))


def test_a_column_with_the_name_of_lengths_is_refused() -> None:
    lengths = Column(name="items_lengths", dtype="int64", entity="user")
    features = (Feature(name="items", encoding=Encoding.ID),)
    with pytest.raises(ValueError, match="column 'items_lengths' has the name .* of the list 'items'; give it another"):
        FeatureSet(columns=(_ITEMS, lengths), features=features)
    # Of a column that is no list there are no lengths.
    single = Column(name="items", dtype="string", entity="user")
    assert FeatureSet(columns=(single, lengths), features=features).column("items_lengths") == lengths
    assert FeatureSet(columns=(_ITEMS,), features=features).column("items_lengths").shape("request") == "scalar"
