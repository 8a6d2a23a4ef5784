import pytest
from pydantic import ValidationError

from tests.helpers.toy_data import toy_features
from transforms.features import RECORD_KINDS, Column, Encoding, Feature, FeatureSet, Shape, Vocabulary


def make(**feature):
    return FeatureSet(columns=(Column(name="price", dtype="float", entity="item"),), features=(Feature(**feature),))


def test_label_can_never_be_a_model_input():
    with pytest.raises(ValidationError, match="must not be a model input"):
        make(name="label", encoding="identity")


def test_a_feature_on_an_undeclared_column_is_refused_with_the_declared_names():
    with pytest.raises(ValidationError, match=r"column 'nothing', which is not declared; declared: .*price"):
        make(name="nothing", encoding="id")


def test_numeric_encoding_of_a_string_is_refused():
    with pytest.raises(ValidationError, match="needs a number"):
        make(name="user_id", encoding="zscore")


def test_id_encoding_of_a_float_is_refused():
    with pytest.raises(ValidationError, match="needs a string or int64"):
        make(name="price", encoding="id")


def test_names_are_unique():
    with pytest.raises(ValidationError, match="feature 'user_id' is declared twice"):
        FeatureSet(features=(Feature(name="user_id", encoding="id"), Feature(name="user_id", encoding="id")))


def test_shapes_follow_entity_and_record_kind():
    rows = {i.name: i.shape for i in toy_features(4).model_inputs("row")}
    requests = {i.name: i.shape for i in toy_features(4).model_inputs("request")}
    assert rows["item_id"] is Shape.SCALAR and requests["item_id"] is Shape.CANDIDATES
    assert rows["user_id"] is requests["user_id"] is Shape.SCALAR
    assert rows["history"] is requests["history"] is Shape.RAGGED


def test_requests_carry_masks_and_rows_do_not():
    names = {record: {c.name for c in toy_features(4).columns_of(record)} for record in RECORD_KINDS}
    assert names["request"] - names["row"] == {"candidate", "exposed"}


def test_raw_inputs_are_the_columns_that_features_read():
    names = [c.name for c in toy_features().raw_inputs()]
    assert names == ["user_id", "item_id", "timestamp", "history", "price", "count"]


def test_sizes_known_without_data():
    assert toy_features().fixed_table_sizes() == {"hashed": 8, "price_bucket": 3, "hour": 25, "weekday": 8}


def test_features_of_one_vocabulary_are_pooled():
    assert [f.name for f in toy_features().features_in("items")] == ["item_id", "history"]


def test_digest_changes_with_the_declaration_and_survives_json():
    original = toy_features()
    assert FeatureSet.model_validate_json(original.model_dump_json()).digest() == original.digest()
    changed = FeatureSet(
        columns=original.columns,
        features=original.features,
        vocabularies=(Vocabulary(name="items", frequency_threshold=3),),
    )
    assert changed.digest() != original.digest()


def test_quantile_is_an_id_and_zscore_is_a_number():
    by_name = {i.name: i for i in toy_features().model_inputs("row")}
    assert by_name["price_bucket"].vocabulary == "price_bucket"
    assert by_name["price"].vocabulary is None
    assert Feature(name="x", encoding=Encoding.QUANTILE).is_id
