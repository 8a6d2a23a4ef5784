import keyword

import pytest
from pydantic import ValidationError

from transforms.features import Column, Encoding, Feature, FeatureSet, Vocabulary

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
    """A feature and a vocabulary of the names given for them, on a column `c`."""
    column = Column(name=columns.get("column", "c"), dtype="string", entity="item")
    name, vocabulary = columns.get("feature", "f"), columns.get("vocabulary", "s")
    return FeatureSet(
        columns=(column,), features=(Feature(name=name, column=column.name, encoding="id", vocabulary=vocabulary),)
    )


# A feature's vocabulary is by default that of its own name, so an empty one is none.
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind in ("column", "feature", "vocabulary")
        for name in BAD
        if (kind, name) != ("vocabulary", "")
    ],
)
def test_a_name_that_tensorflow_or_a_file_system_cannot_take_is_refused_when_it_is_declared(kind, name):
    with pytest.raises(ValidationError, match="rename it"):
        features(**{kind: name})
    if kind == "vocabulary":
        with pytest.raises(ValidationError, match="rename it"):
            Vocabulary(name=name)


@pytest.mark.parametrize("name", ["a", "A", "a_b", "I1", "a__", "x" * 100, "k", "index", "training", "match"])
def test_other_names_are_taken(name):
    assert keyword.iskeyword(name) is False
    features(column=name, feature=name, vocabulary=name)


def test_a_list_leaves_room_for_the_names_of_what_belongs_to_it():
    Column(name="x" * 90, dtype="string", entity="user", variable_length=True)
    with pytest.raises(ValidationError, match="a list has a name of at most 90"):
        Column(name="x" * 91, dtype="string", entity="user", variable_length=True)


def feature(name: str, column: str = "user_id", **values: object) -> Feature:
    return Feature.model_validate({"name": name, "column": column, "encoding": Encoding.ID, **values})


def test_names_that_differ_by_case_alone_are_refused():
    columns = tuple(Column(name=name, dtype="string", entity="item") for name in ("Tag", "tag"))
    with pytest.raises(ValidationError, match="column names 'Tag' and 'tag' differ only by case"):
        FeatureSet(columns=columns, features=(feature("a"),))
    with pytest.raises(ValidationError, match="column names 'Label' and 'label' differ"):
        FeatureSet(columns=(Column(name="Label", dtype="float", entity="item"),), features=(feature("a"),))
    with pytest.raises(ValidationError, match="feature names 'tag' and 'Tag' differ"):
        FeatureSet(features=(feature("tag", vocabulary="a"), feature("Tag", vocabulary="b")))
    with pytest.raises(ValidationError, match="vocabulary names 'Ids' and 'ids' differ"):
        FeatureSet(features=(feature("a", vocabulary="Ids"), feature("b", vocabulary="ids")))
    with pytest.raises(ValidationError, match="vocabulary 'ids' is declared twice"):
        FeatureSet(features=(feature("a"),), vocabularies=(Vocabulary(name="ids"), Vocabulary(name="ids", top_k=3)))


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
def test_features_of_two_kinds_of_ids_cannot_share_a_vocabulary(first, second):
    pair = tuple(feature(name, "timestamp", vocabulary="s", **how) for name, how in (("a", first), ("b", second)))
    with pytest.raises(ValidationError, match="features 'a' and 'b' share the vocabulary 's'"):
        FeatureSet(features=pair)
    FeatureSet(features=(pair[0], feature("b", "timestamp", vocabulary="s", **first)))


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
