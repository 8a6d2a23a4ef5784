"""Streams of CS3: impressions of requests as rows, their batches, and how they lie on disk."""

import json

import numpy as np
import pytest

from experiments.cs3.dataset import dataset_data, groups
from experiments.cs3.measures import cold_masks, course, kendall, measured
from experiments.cs3.requests import Requests
from experiments.cs3.simulated import impressions, simulated_data
from experiments.cs3.stream import Lists, Stream, joined, load_data, save_data
from simulation.cascade_log import simulate
from simulation.parameters import World
from transforms.errors import InputError
from transforms.features import SPLITS, ModelInput, Shape

WORLD = World(
    users=40, items=60, candidates=10, min_candidates=8, pool_size=20, ranked_items=6, exposed_items=3,
    history_length=5, block_requests=32, base_logit=-0.5,
)  # fmt: skip
INPUTS = (
    ModelInput(name="user_id", vocabulary="user_id", shape=Shape.SCALAR, entity="user"),
    ModelInput(name="history_item_id", vocabulary="item_id", shape=Shape.RAGGED, entity="user"),
    ModelInput(name="item_id", vocabulary="item_id", shape=Shape.CANDIDATES, entity="item"),
)


def two_requests():
    """User 7 was shown items 11 and 13 of three, user 8 item 21; the third candidate of the latter is padding."""
    return Requests(
        features={
            "user_id": np.array([7, 8]),
            "history_item_id": np.array([[5, 6, 0], [9, 0, 0]]),
            "item_id": np.array([[11, 12, 13], [21, 22, 0]]),
        },
        history_length=np.array([2, 1]),
        candidate=np.array([[True, True, True], [True, True, False]]),
        exposed=np.array([[True, False, True], [True, False, True]]),
        label=np.array([[0, 1, 1], [1, 0, 1]], np.float32),
        user=np.array([6, 7]),
        truth=np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.0]]),
    )


def rows(found):
    """What the batches of a stream hold, joined."""
    features, labels = zip(*found, strict=True)
    histories = [row for batch in features for row in batch["history_item_id"].to_list()]
    scalars = {
        name: np.concatenate([batch[name].numpy() for batch in features])
        for name in features[0]
        if name != "history_item_id"
    }
    return scalars, histories, np.concatenate([label.numpy() for label in labels])


def test_impressions_are_rows_in_the_order_of_requests_with_their_own_histories_labels_and_times():
    stream = impressions(two_requests(), np.array([100, 200]), INPUTS)
    scalars, histories, labels = rows(stream.batches(2))
    assert scalars["user_id"].tolist() == [7, 7, 8] and scalars["item_id"].tolist() == [11, 13, 21]
    assert scalars["timestamp"].tolist() == [100, 100, 200] and labels.tolist() == [0.0, 1.0, 1.0]
    assert histories == [[5, 6], [5, 6], [9]]
    assert stream.group.tolist() == [0, 0, 1] and stream.truth is not None and stream.truth.tolist() == [0.1, 0.3, 0.4]


def test_joined_streams_keep_their_rows_and_their_groups_apart():
    one = impressions(two_requests(), np.array([100, 200]), INPUTS)
    scalars, histories, labels = rows(joined([one, one]).batches(4))
    assert scalars["item_id"].tolist() == [11, 13, 21] * 2 and labels.tolist() == [0.0, 1.0, 1.0] * 2
    assert histories == [[5, 6], [5, 6], [9]] * 2 and joined([one, one]).group.tolist() == [0, 0, 1, 2, 2, 3]


def test_lists_of_no_and_of_some_elements_are_those_that_their_rows_name():
    lists = Lists(np.arange(10), np.array([4, 0, 7, 4]), np.array([2, 3, 0, 2]))
    assert lists.ragged(slice(0, 4)).to_list() == [[4, 5], [0, 1, 2], [], [4, 5]]
    assert lists.ragged(slice(2, 3)).to_list() == [[]]


def test_a_simulated_stream_goes_on_in_time_from_split_to_split():
    data = simulated_data(WORLD, 60, 1)
    times = np.concatenate([data.splits[split].timestamp for split in SPLITS])
    assert (np.diff(times) >= 0).all() and times[0] >= WORLD.start_timestamp
    assert sum(len(data.splits[split]) for split in SPLITS) == 60 * WORLD.exposed_items
    assert all(item.shape is not Shape.CANDIDATES for item in data.inputs)
    prices = data.splits["train"].features["item_price"]
    assert abs(prices.mean()) < 1e-5 and prices.std() == pytest.approx(1.0, abs=1e-5)


def test_streams_are_the_same_after_storage(tmp_path):
    data = simulated_data(WORLD, 60, 1)
    save_data(tmp_path / "data", data)
    loaded, sha256 = load_data(tmp_path / "data")
    assert loaded.inputs == data.inputs and loaded.table_sizes == data.table_sizes and len(sha256) == 64
    assert loaded.in_vocabulary_ids == data.in_vocabulary_ids
    for split in SPLITS:
        own, other = (rows(one.splits[split].batches(7)) for one in (loaded, data))
        assert own[0].keys() == other[0].keys() and own[1] == other[1] and np.array_equal(own[2], other[2])
        assert all(np.array_equal(own[0][name], other[0][name]) for name in own[0])
        truths = [one.splits[split].truth for one in (loaded, data)]
        assert truths[0] is not None and truths[1] is not None and np.array_equal(truths[0], truths[1])


def test_a_dataset_whose_models_see_no_id_of_users_is_refused(tmp_path):
    simulate(tmp_path / "data", WORLD, 20, 3)
    file = tmp_path / "data" / "dataset.json"
    told = json.loads(file.read_text())
    told["feature_set"]["features"] = [own for own in told["feature_set"]["features"] if own["name"] != "user_id"]
    file.write_text(json.dumps(told))
    with pytest.raises(InputError, match="no id user_id among"):
        dataset_data(tmp_path / "data", None)


def test_rows_belong_to_their_request_or_where_that_is_alone_to_their_user():
    request, user = np.array([b"b", b"b", b"a", b"a"]), np.array([b"u", b"v", b"w", b"w"])
    assert groups(request, user).tolist() == [1, 1, 0, 0]
    assert groups(np.array([b"1", b"2", b"3", b"4"]), user).tolist() == [0, 1, 2, 2]


def stream_of(label, truth=None, group=None, **features):
    own = {name: np.array(values) for name, values in features.items()}
    size = len(label)
    known = None if truth is None else np.array(truth)
    return Stream(own, {}, np.array(label, np.float32), np.arange(size), np.array(group or [0] * size), known)


def test_metrics_are_those_worked_out_by_hand():
    stream = stream_of([1, 0, 0, 1], truth=[0.9, 0.2, 0.1, 0.5])
    towers, ranker = np.array([3.0, 2.0, 1.0, 0.0]), np.array([4.0, 1.0, 2.0, 3.0])
    found = measured(towers, ranker, stream, {"cold": np.array([True, True, True, False])})
    # Pairs of a positive and a negative: towers 2 of 4 in order, the ranker 4 of 4; cold rows 2 of 2.
    assert (
        found["auc"] == 0.5 and found["ranker_auc"] == 1.0 and found["auc_cold"] == 1.0 and found["share_cold"] == 0.75
    )
    # Of the 6 pairs of rows 3 are ordered alike and 3 the other way round.
    assert found["kendall_tau"] == 0.0
    p = stream.truth
    weights = np.outer(p, 1 - p)
    order = np.sign(towers[:, None] - towers[None]) / 2 + 0.5
    assert found["auc_truth"] == pytest.approx((weights * order).sum() / weights.sum())
    assert found["oracle_auc"] == 1.0 and found["oracle_auc_truth"] > found["auc_truth"]
    assert found["logloss"] == pytest.approx(-np.log([1 / (1 + np.exp(-3)), 1 - 1 / (1 + np.exp(-2)),
                                                      1 - 1 / (1 + np.exp(-1)), 0.5]).mean())  # fmt: skip


def test_tau_is_the_mean_of_groups_and_groups_of_one_row_have_none():
    one, other = np.array([1.0, 5.0, 2.0, 3.0, 9.0]), np.array([1.0, 2.0, 2.0, 1.0, 0.0])
    assert kendall(one, other, np.array([0, 1, 0, 1, 2])) == pytest.approx(1.0)
    assert kendall(one, -other, np.array([0, 1, 0, 1, 2])) == pytest.approx(-1.0)
    assert kendall(one, other, np.arange(5)) is None


def test_cold_ids_have_few_clicks_in_the_train_split_or_no_row_of_their_own():
    train = stream_of([1, 1, 1, 0, 0], user=[1, 1, 2, 3, 3])
    test = stream_of([0] * 5, user=[1, 2, 3, 4, 0])
    found = cold_masks(train, test, {"cold": "user"}, 1, {"user": 4})
    assert found["cold"].tolist() == [False, True, True, True, True]
    assert cold_masks(train, test, {"cold": "user"}, 2, {"user": 4})["cold"].all()
    # Id 1 has two clicks, but is a stranger where only id 0 stands for one thing.
    assert cold_masks(train, test, {"cold": "user"}, 1, {"user": 1})["cold"].all()


def test_the_course_has_an_auc_in_each_twentieth():
    label = np.tile([1.0, 0.0], 20)
    rising = np.concatenate([np.tile([0.0, 1.0], 10), np.tile([1.0, 0.0], 10)])
    found = course({"towers": rising}, label, None)
    assert found == {"towers": [0.0] * 10 + [1.0] * 10}
    assert course({"towers": rising}, label, label)["oracle"] == [1.0] * 20
