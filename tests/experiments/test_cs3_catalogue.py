"""What towers find in the catalogue, with their caches and without, and on shuffled rows."""

import numpy as np
import pytest

from experiments.cs3.building import build
from experiments.cs3.catalogue import catalogue, catalogue_recalls, recall_at
from experiments.cs3.grid import CS3Grid
from experiments.cs3.measures import distinct_in_batch
from experiments.cs3.methods import method_of, title, tuned_as
from experiments.cs3.simulated import simulated_data
from experiments.cs3.stream import Data, Lists, Stream, shuffled
from simulation.parameters import World
from tests.helpers.tiny_grids import WORLD
from tests.helpers.tower_pairs import moved
from transforms.features import Split

GRID = CS3Grid.model_validate(
    {
        "name": "tiny", "world": WORLD, "requests": 120, "batch_size": 32, "embedding_dim": 4, "hidden_units": [8, 4],
        "main": ["full"],
    }
)  # fmt: skip


def stream(items, prices, clicks, start=0):
    """Rows a second apart, each with a history of one item."""
    size = len(items)
    return Stream(
        features={"item_id": np.array(items), "price": np.array(prices)},
        lists={"history": Lists(np.arange(size), np.arange(size), np.ones(size, int))},
        label=np.array(clicks, np.float32),
        timestamp=np.arange(start, start + size),
        group=np.arange(size),
    )


def data():
    """Items 1 to 4 are known; 5 is the id of all strangers."""
    splits: dict[Split, Stream] = {
        "train": stream([1, 2, 1], [10, 20, 11], [1, 0, 1]),
        "eval": stream([2, 3, 5], [21, 30, 50], [1, 1, 1], 3),
        "test": stream([3, 4], [31, 40], [1, 1], 6),
    }
    return Data((), {"item_id": 6}, {"item_id": 5}, splits, {})


def told(found):
    ids, values = found
    return dict(zip(ids.tolist(), values.features["price"].tolist(), strict=True))


def test_a_catalogue_has_the_known_items_before_a_split_with_their_last_values_there():
    assert told(catalogue(data(), "eval", "item_id", 5)) == {1: 11, 2: 20}
    assert told(catalogue(data(), "test", "item_id", 5)) == {1: 11, 2: 21, 3: 30}


def test_an_item_is_found_if_fewer_than_k_others_score_at_least_as_high():
    # Scores of the one user: 3, 2, 2, 1.
    items = np.array([[3.0], [2.0], [2.0], [1.0]])
    for wanted, ranks in ((0, 1), (1, 3), (2, 3), (3, 4)):
        found = [recall_at(k, np.ones((1, 1)), items, np.array([wanted])) for k in (1, 2, 3, 4)]
        assert found == [float(k >= ranks) for k in (1, 2, 3, 4)]
    assert recall_at(4, np.ones((2, 1)), items, np.array([-1, 0])) == 0.5


@pytest.fixture(scope="module")
def trained():
    """Real towers whose caches hold what a few batches left, and their stream."""
    found = simulated_data(World.model_validate(WORLD), 120, 1)
    batches = list(found.splits["train"].batches(64))
    model = moved(build("dssm", method_of("full"), found, GRID, 1, 0.01), batches[0][0])
    for batch in batches[:3]:
        model.revealed(batch)
    return model, found


def test_recalls_are_those_of_every_click_against_every_item_and_caches_come_back(trained):
    model, found = trained
    clicks = found.splits["eval"].taken(found.splits["eval"].label > 0)
    ids, values = catalogue(found, "eval", "item_id", found.in_vocabulary_ids["item_id"])

    def expected():
        served = model.peer(0)
        users = served.user_embedding(next(iter(clicks.batches(10_000)))[0]).numpy()
        items = served.item_embedding(next(iter(values.batches(10_000)))[0]).numpy()
        scores = float(model.towers.similarity.scale) * users @ items.T
        hits = [
            item in ids and (row >= row[ids.tolist().index(item)]).sum() <= 5
            for row, item in zip(scores, clicks.features["item_id"].tolist(), strict=True)
        ]
        return float(np.mean(hits))

    before = model.caches.contents()
    recalls = catalogue_recalls(model, found, "eval", 5)
    assert recalls["recall"] == pytest.approx(expected()) and 0 < recalls["recall"] < 1
    after = model.caches.contents()
    assert all(np.array_equal(one, other) for name in before for one, other in zip(before[name], after[name]))
    for side in ("user", "item"):
        for name, store in model.caches.stores.items():
            if name.endswith(side):
                store.reset()
        assert recalls[f"recall_without_{side}_caches"] == pytest.approx(expected())
        model.caches.fill(before)
    assert len({round(value, 6) for value in recalls.values()}) > 1


def test_towers_without_caches_have_one_recall(trained):
    _, found = trained
    model = build("dssm", method_of("base"), found, GRID, 1, 0.01)
    assert set(catalogue_recalls(model, found, "test", 5)) == {"recall"}


def test_shuffled_rows_keep_what_belongs_together_and_the_times_of_the_stream():
    own = stream([11, 12, 13, 14, 15], [1, 2, 3, 4, 5], [0, 1, 0, 1, 0])
    mixed = shuffled(own, 3)
    order = [item - 11 for item in mixed.features["item_id"].tolist()]
    assert sorted(order) == [0, 1, 2, 3, 4] and order != [0, 1, 2, 3, 4]
    assert mixed.features["price"].tolist() == [place + 1 for place in order]
    assert mixed.lists["history"].ragged(slice(0, 5)).to_list() == [[place] for place in order]
    assert mixed.label.tolist() == own.label[order].tolist() and mixed.timestamp.tolist() == [0, 1, 2, 3, 4]


def test_a_shuffled_method_is_its_method_and_takes_its_rate():
    assert method_of("full_shuffled").shuffled and method_of("full_shuffled").cts and not method_of("full").shuffled
    assert tuned_as("base_shuffled") == "base" and title("base_shuffled") == "base, train rows shuffled"


def test_users_in_a_batch_are_counted_batch_by_batch():
    assert distinct_in_batch(np.array([1, 1, 2, 3, 3, 3, 4]), 3) == pytest.approx((2 + 1 + 1) / 3)
