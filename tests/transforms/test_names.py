import keyword

import pytest
from pydantic import ValidationError

from transforms.features import Column, Encoding, Feature, FeatureSet, Space

BAD = [
    "",
    "a b",
    "a/b",
    "a-b",
    "a.b",
    "a$b",
    "x:0",
    "_a",
    "1a",
    "名前",
    "é",
    "a\n",
    "..",
    "x" * 101,
    "self",
    "class",
    "None",
]


def features(**columns: str) -> FeatureSet:
    """A feature and a space of the names given for them, on a column `c`."""
    column = Column(name=columns.get("column", "c"), dtype="string", entity="item")
    name, space = columns.get("feature", "f"), columns.get("space", "s")
    return FeatureSet(columns=(column,), features=(Feature(name=name, column=column.name, encoding="id", space=space),))


# A feature's space is by default that of its own name, so an empty one is none.
@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in ("column", "feature", "space") for name in BAD if (kind, name) != ("space", "")],
)
def test_a_name_that_tensorflow_or_a_file_system_cannot_take_is_refused_when_it_is_declared(kind, name):
    with pytest.raises(ValidationError, match="rename it"):
        features(**{kind: name})
    if kind == "space":
        with pytest.raises(ValidationError, match="rename it"):
            Space(name=name)


@pytest.mark.parametrize("name", ["a", "A", "a_b", "I1", "a__", "x" * 100, "k", "index", "training", "match"])
def test_other_names_are_taken(name):
    assert keyword.iskeyword(name) is False
    features(column=name, feature=name, space=name)


def test_a_list_leaves_room_for_the_names_of_what_belongs_to_it():
    Column(name="x" * 90, dtype="string", entity="user", variable_length=True)
    with pytest.raises(ValidationError, match="a list has a name of at most 90"):
        Column(name="x" * 91, dtype="string", entity="user", variable_length=True)


def feature(name: str, column: str = "user_id", **values: object) -> Feature:
    return Feature.model_validate({"name": name, "column": column, "encoding": Encoding.ID, **values})


def test_names_that_differ_by_case_alone_are_refused():
    columns = tuple(Column(name=name, dtype="string", entity="item") for name in ("Tag", "tag"))
    with pytest.raises(ValidationError, match="columns 'Tag' and 'tag' differ by case alone"):
        FeatureSet(columns=columns, features=(feature("a"),))
    with pytest.raises(ValidationError, match="columns 'Label' and 'label' differ"):
        FeatureSet(columns=(Column(name="Label", dtype="float", entity="item"),), features=(feature("a"),))
    with pytest.raises(ValidationError, match="features 'tag' and 'Tag' differ"):
        FeatureSet(features=(feature("tag", space="a"), feature("Tag", space="b")))
    with pytest.raises(ValidationError, match="spaces 'Ids' and 'ids' differ"):
        FeatureSet(features=(feature("a", space="Ids"), feature("b", space="ids")))
    with pytest.raises(ValidationError, match="space 'ids' is declared twice"):
        FeatureSet(features=(feature("a"),), spaces=(Space(name="ids"), Space(name="ids", top_k=3)))


@pytest.mark.parametrize("name", ["timestamp", "stage", "teacher_hidden", "candidate"])
def test_a_feature_cannot_have_the_name_of_what_goes_beside_the_features(name):
    with pytest.raises(ValidationError, match=f"feature '{name}': .*name the feature otherwise"):
        FeatureSet(features=(feature(name),))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"encoding": "quantile", "num_buckets": 4}, {"encoding": "quantile", "num_buckets": 5}),
        ({"encoding": "quantile", "num_buckets": 25}, {"encoding": "hour_of_day"}),
        ({"encoding": "squared_log"}, {"encoding": "day_of_week"}),
    ],
)
def test_features_of_two_kinds_of_ids_cannot_share_a_space(first, second):
    pair = tuple(feature(name, "timestamp", space="s", **how) for name, how in (("a", first), ("b", second)))
    with pytest.raises(ValidationError, match="features 'a' and 'b' share the space 's'"):
        FeatureSet(features=pair)
    FeatureSet(features=(pair[0], feature("b", "timestamp", space="s", **first)))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (Column(name="label", dtype="float", entity="item", model_input=False), "required=True, min_value=0.0"),
        (Column(name="label", dtype="int64", entity="item", min_value=0, max_value=1, required=True), "dtype='float'"),
        (Column(name="timestamp", dtype="int64", entity="context", min_value=0, required=True), "max_value=4102444799"),
        (Column(name="item_id", dtype="string", entity="user"), "entity='item'"),
        (Column(name="exposed", dtype="int64", entity="item", min_value=0, max_value=1), "model_input=False"),
    ],
)
def test_a_source_cannot_loosen_a_column_that_every_record_has(column, expected):
    with pytest.raises(ValidationError, match=f"column '{column.name}' is one that every record has; .*{expected}"):
        FeatureSet(columns=(column,), features=(feature("a"),))


def test_a_source_may_say_more_of_a_key():
    later = Column(name="timestamp", dtype="int64", entity="context", min_value=10, max_value=20, required=True)
    numbers = Column(name="item_id", dtype="int64", entity="item")
    found = FeatureSet(columns=(numbers, later), features=(feature("a"),), requires_item_id=True)
    assert [column.name for column in found.columns_of("row")] == [
        "request_id", "user_id", "item_id", "timestamp", "label"
    ]  # fmt: skip
    assert found.column("timestamp") == later and found.column("item_id").required
