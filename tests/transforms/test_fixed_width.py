"""Columns with a fixed number of values: multi-valued categoricals and dense vectors, from records to features."""

import math

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from tests.helpers.toy_data import ragged
from transforms.batches import Batch, encode, padded, rows_of
from transforms.beam.columns import Preprocessing
from transforms.domains import faults
from transforms.features import WEIGHT_COLUMN, Column, Feature, FeatureSet, Shape, Vocabulary
from transforms.schema import parse_spec, schema_of

NAN, INF = math.nan, math.inf
TAGS = Column(name="tags", dtype="string", entity="item", width=3)
TASTE = Column(name="taste", dtype="int64", entity="user", width=2)
IMAGE = Column(name="image", dtype="float", entity="item", width=2)
FEATURES = FeatureSet(
    columns=(TAGS, TASTE, IMAGE, WEIGHT_COLUMN),
    features=(
        Feature(name="tags", encoding="id"),
        Feature(name="taste", encoding="id", pooling="sum"),
        Feature(name="image", encoding="vector"),
        Feature(name="image_scaled", column="image", encoding="zscore"),
    ),
    vocabularies=(Vocabulary(name="tags"), Vocabulary(name="taste")),
    list_size=2,
)
ROWS = {
    "tags": [["a", "b"], [], ["a", "", "a"], ["b", "a", "c"]],
    "taste": [[7], [8, 7], [], [7, 8]],
    "image": [[1, 2], [3, 10], [5, NAN], [2, 6]],
    "weight": [1.0, 2.0, 0.0, 0.5],
}


@pytest.fixture(scope="module")
def features():
    return Preprocessing(FEATURES, ROWS)(ROWS)


def test_ids_of_several_values_stand_in_their_places_and_padding_is_zero(features):
    # a four times, b twice, c once; 7 three times, 8 twice.
    assert features["tags"].numpy().tolist() == [[1, 2, 0], [0, 0, 0], [1, 0, 1], [2, 1, 3]]
    assert features["taste"].numpy().tolist() == [[1, 0], [2, 1], [0, 0], [1, 2]]


def test_a_vector_stays_as_it_is_and_one_missing_value_makes_all_of_it_zero(features):
    assert features["image"].numpy().tolist() == [[1, 2], [3, 10], [0, 0], [2, 6]]


def test_each_component_of_a_vector_has_statistics_of_its_own(features):
    # Of 1, 3, 2: mean 2, variance 2/3; of 2, 10, 6: mean 6, variance 32/3.
    first, second = math.sqrt(2 / 3), math.sqrt(32 / 3)
    expected = np.array([[-1 / first, -4 / second], [1 / first, 4 / second], [0, 0], [0, 0]])
    np.testing.assert_allclose(features["image_scaled"], expected, rtol=1e-6)


def test_weights_pass_the_transform(features):
    assert features["weight"].numpy().tolist() == [1.0, 2.0, 0.0, 0.5]


def test_requests_have_the_values_of_each_candidate_and_none_of_padded_ones():
    requests = {
        "tags": [[["a"], ["b", "a"]], [["a"], ["b"]]],
        "taste": [[7], [8, 7]],
        "image": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
        "candidate": [[1, 1], [1, 0]],
    }
    preprocessing = Preprocessing(FEATURES, requests, "request")
    result = preprocessing(requests)
    assert result["tags"].numpy().tolist() == [[[1, 0, 0], [2, 1, 0]], [[1, 0, 0], [0, 0, 0]]]
    assert result["taste"].numpy().tolist() == [[1, 0], [2, 1]]
    assert result["image"].numpy().tolist() == [[[1, 2], [3, 4]], [[5, 6], [0, 0]]]
    np.testing.assert_allclose(result["image_scaled"][1, 1], [0, 0])
    assert result["weight"].numpy().tolist() == [[1, 1], [1, 1]]
    shapes = {item.name: (item.shape, item.width, item.pooling) for item in preprocessing.inputs}
    assert shapes == {
        "tags": (Shape.CANDIDATE_VALUES, 3, "mean"),
        "taste": (Shape.VALUES, 2, "sum"),
        "image": (Shape.CANDIDATE_VALUES, 2, None),
        "image_scaled": (Shape.CANDIDATE_VALUES, 2, None),
    }


def batch(tags=None, image=None, weight=None):
    """A request of two candidates, the second of which is padding."""
    nothing = np.array([[b"", b""]])
    return Batch(
        "request",
        "train",
        {
            "request_id": np.array([b"r"]),
            "user_id": np.array([b"u"]),
            "item_id": nothing,
            "timestamp": np.array([0]),
            "label": np.zeros([1, 2], np.float32),
            "candidate": np.array([[1, 0]]),
            "exposed": np.array([[1, 0]]),
            "tags": np.full([1, 2, 3], b"x") if tags is None else tags,
            "taste": np.array([[4, -1]]),
            "image": np.ones([1, 2, 2], np.float32) if image is None else image,
            "weight": np.array([[1, 0]] if weight is None else weight, np.float32),
        },
    )


def test_a_record_holds_the_values_of_all_candidates_one_after_the_other():
    tags = np.array([[[b"a", b"b", b""], [b"c", b"", b""]]], object)
    (example,) = encode(batch(tags), FEATURES)
    stored = tf.train.Example.FromString(example).features.feature["tags"].bytes_list.value
    assert list(stored) == [b"a", b"b", b"", b"c", b"", b""]
    parsed = tf.io.parse_example([example], parse_spec(FEATURES, "request"))
    assert parsed["tags"].numpy().tolist() == tags.tolist() and parsed["taste"].numpy().tolist() == [[4, -1]]


def test_rows_of_requests_keep_the_values_of_their_candidate_and_of_the_user():
    image = np.array([[[1, 2], [3, 4]]], np.float32)
    rows = {name: np.asarray(values) for name, values in rows_of(batch(image=image), vectors=["taste"]).columns.items()}
    assert rows["image"].tolist() == [[1, 2]] and rows["taste"].tolist() == [[4, -1]]
    assert rows["tags"].shape == (1, 3)


def test_the_schema_has_both_dimensions():
    shapes = {one.name: [dim.size for dim in one.shape.dim] for one in schema_of(FEATURES, "request").feature}
    assert shapes["tags"] == [2, 3] and shapes["taste"] == [2] and shapes["image"] == [2, 2]


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 2), (1, 2, 2), (1, 6)])
def test_another_number_of_values_is_refused(shape):
    with pytest.raises(ValueError, match=r"column 'tags' has shape .*expected \(1, 2, 3\)"):
        encode(batch(np.full(shape, b"x")), FEATURES)


def _faults(**columns):
    values = batch(**columns)

    def elements(column):
        flat = np.asarray(values.columns[column.name]).reshape(-1)
        return flat, np.array([0, len(flat)])

    return [(fault.column, fault.value) for fault in faults(FEATURES, "request", elements)]


def test_an_infinity_in_a_vector_is_refused_of_real_candidates_and_nan_is_not():
    assert _faults(image=np.array([[[1, NAN], [INF, 1]]], np.float32)) == []
    assert _faults(image=np.array([[[1, -INF], [1, 1]]], np.float32)) == [("image", "-inf")]


@pytest.mark.parametrize("weights", [[[-1.0, 0.0]], [[NAN, 0.0]], [[1.0, INF]], [[1.0, NAN]]])
def test_weights_are_finite_and_not_negative_even_of_padding(weights):
    assert [column for column, _ in _faults(weight=weights)] == ["weight"]


def test_lists_are_padded_with_the_marker_and_longer_ones_refused():
    lists = ragged([[b"a"], [], [b"b", b"c", b"d"]])
    assert padded(lists, TAGS).tolist() == [[b"a", b"", b""], [b"", b"", b""], [b"b", b"c", b"d"]]
    with pytest.raises(ValueError, match="column 'taste' has 3 values in record 2, expected at most 2"):
        padded(lists, TASTE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"variable_length": True},
        {"max_length": 2},
        {"required": True},
        {"width": 0},
    ],
)
def test_declarations_that_contradict_themselves_are_refused(wrong):
    with pytest.raises(ValidationError):
        Column(**{"name": "tags", "dtype": "string", "entity": "item", "width": 3, **wrong})


@pytest.mark.parametrize(
    ("column", "feature"),
    [
        (IMAGE, {"encoding": "quantile"}),
        (IMAGE, {"encoding": "identity"}),
        (IMAGE, {"encoding": "vector", "pooling": "sum"}),
        (TASTE, {"encoding": "zscore"}),
        (Column(name="age", dtype="float", entity="user"), {"encoding": "vector"}),
        (
            Column(name="read", dtype="string", entity="user", variable_length=True),
            {"encoding": "id", "pooling": "max"},
        ),
    ],
)
def test_an_encoding_that_does_not_fit_the_number_of_values_is_refused(column, feature):
    with pytest.raises(ValidationError, match="expected"):
        FeatureSet(columns=(column,), features=(Feature(name=column.name, **feature),))


def test_weights_are_no_feature_and_cannot_be_loosened():
    with pytest.raises(ValidationError, match="must not be a model input"):
        FeatureSet(columns=(WEIGHT_COLUMN,), features=(Feature(name="weight", encoding="identity"),))
    looser = WEIGHT_COLUMN.model_copy(update={"min_value": None})
    with pytest.raises(ValidationError, match=r"column 'weight' .*sample weights; expected min_value=0.0"):
        FeatureSet(columns=(looser,), features=(Feature(name="user_id", encoding="id"),))
