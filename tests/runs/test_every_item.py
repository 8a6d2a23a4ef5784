"""What a model would earn: each row's context with every item, and which of them was logged."""

import numpy as np
import pytest
import tensorflow as tf

from runs.off_policy import EveryItem, shown_at_random
from serving.retrieval.catalogue import Catalogue
from transforms.batches import Batch, encode
from transforms.features import Column, Encoding, Feature, FeatureSet
from transforms.records import Dataset
from transforms.schema import parse_spec

FEATURES = FeatureSet(
    columns=(
        Column(name="hour", dtype="int64", entity="context"),
        Column(name="price", dtype="float", entity="item"),
        Column(name="propensity", dtype="float", entity="item", model_input=False),
    ),
    features=(
        Feature(name="hour", encoding=Encoding.IDENTITY),
        Feature(name="item_id", encoding=Encoding.ID),
        Feature(name="price", encoding=Encoding.IDENTITY),
    ),
    requires_item_id=True,
)


def test_every_item_is_scored_in_the_context_of_each_row():
    ids = np.array([b"a", b"b", b"c"])
    items = Catalogue(ids, {"item_id": ids, "price": np.array([1.0, 2.0, 3.0], np.float32)})
    columns = {
        "request_id": np.array([b"r", b"r"]),
        "user_id": np.array([b"u", b"u"]),
        "timestamp": np.array([0, 1]),
        "item_id": np.array([b"c", b"x"]),
        "label": np.array([1.0, 0.0], np.float32),
        "hour": np.array([10, 20]),
        # The logged price is another one than that of the catalogue.
        "price": np.array([9.0, 9.0], np.float32),
        "propensity": np.array([0.5, 0.25], np.float32),
    }
    seen = []

    def scorer(examples: tf.Tensor) -> np.ndarray:
        batch = tf.io.parse_example(examples, parse_spec(FEATURES, "row", ("item_id", "hour", "price")))
        seen.extend(batch["item_id"].numpy().tolist())
        return batch["hour"].numpy() + batch["price"].numpy()

    rows = EveryItem(scorer, items, FEATURES, FEATURES)
    result = rows(tf.constant(encode(Batch("row", "test", columns), FEATURES)))
    assert seen == [b"a", b"b", b"c"] * 2
    assert result["scores"].tolist() == [[11.0, 12.0, 13.0], [21.0, 22.0, 23.0]]
    assert result["place"].tolist() == [2, -1]
    assert result["propensity"].tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("origin", "split", "off_policy", "expected"),
    [
        ({"random_exposure": ["test"]}, "test", {}, True),
        ({"random_exposure": ["test"]}, "eval+test", {}, False),
        ({}, "test", {}, False),
        ({}, "test", {"equal_propensities": 1.0}, True),
        ({}, "test", {"equal_propensities": 0.0}, False),
    ],
)
def test_a_split_is_random_where_its_source_or_its_propensities_say_so(origin, split, off_policy, expected):
    dataset = Dataset(source="log", feature_set=FEATURES, records={}, origin=origin)
    assert shown_at_random(dataset, split, off_policy) == expected
