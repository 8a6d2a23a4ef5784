"""Requests on a ratings matrix: what the policy shows, what users say, and what is known of it."""

import numpy as np
import pytest

from evaluation.pointwise import auc
from simulation.cascade_log import feature_set as simulated_feature_set
from simulation.parameters import World
from tests.helpers.imported_records import all_records, records_of
from tests.helpers.ratings_matrix_like import write_coat_like, write_jester_like
from transforms.beam.import_dataset import import_dataset
from transforms.errors import InputError
from transforms.features import SPLITS, Feature, FeatureSet
from transforms.sources.ratings_matrix.ratings import Ratings, read_ratings
from transforms.sources.ratings_matrix.read import preferences, rounds, yes_probability
from transforms.sources.ratings_matrix.schema import (
    COAT_ITEM_FIELDS,
    COAT_USER_FIELDS,
    RatingsMatrixOptions,
    RatingsMatrixSource,
)

TRUTHS = ("stage", "position", "logging_score", "true_click_probability")
USERS, JOKES = 40, 60
SMALL = {"candidates": 20, "exposed_items": 4, "requests_per_user": 10}


def imported(raw, out, **options):
    return import_dataset(RatingsMatrixSource(RatingsMatrixOptions(**options)), raw, out)


def matrix(users=400, items=60, seed=0):
    """Ratings with nothing missing, items that differ in how well they are liked."""
    rng = np.random.default_rng(seed)
    values = np.clip(rng.normal(size=items) * 2 + rng.normal(size=(users, items)) * 3, -10, 10)
    return Ratings(values, np.array([b"%d" % n for n in range(users)]), np.array([b"%d" % n for n in range(items)]))


@pytest.fixture(scope="module")
def jester(tmp_path_factory):
    root = tmp_path_factory.mktemp("jester")
    write_jester_like(root / "raw", USERS * 2, JOKES, complete_share=0.5)
    imported(root / "raw", root / "out", **SMALL)
    return root


def in_order(directory, record="request"):
    return [found for split in SPLITS for found in records_of(directory, record, split)]


def test_only_users_who_rated_everything_take_part_each_once_a_day(jester):
    requests = in_order(jester / "out")
    assert len(requests) == USERS * 10
    users = {int(found["user_id"][1:]) for found in requests}
    assert users == set(range(1, USERS + 1))
    times = [found["timestamp"] for found in requests]
    assert times == sorted(times)
    for number in range(10):
        assert len({found["user_id"] for found in requests[number * USERS : (number + 1) * USERS]}) == USERS
    assert [len(records_of(jester / "out", "request", split)) for split in SPLITS] == [320, 40, 40]


def test_each_request_shows_its_best_scores_and_an_item_is_shown_to_a_user_once(jester):
    shown_before: dict[bytes, set[bytes]] = {}
    for found in in_order(jester / "out"):
        assert found["candidate"].all()
        items = found["item_id"]
        assert len(set(items.tolist())) == 20
        shown = found["exposed"] == 1
        order = np.argsort(-found["logging_score"])
        assert set(items[shown]) == set(items[order[:4]])
        assert found["position"][order[:4]].tolist() == [1, 2, 3, 4]
        assert found["stage"][order].tolist() == [3] * 4 + [2] * 8 + [1] * 8
        assert (found["position"][~shown] == 0).all()
        assert (found["label"][~shown] == 0).all()
        before = shown_before.setdefault(found["user_id"], set())
        assert not before & set(items.tolist())
        before |= set(items[shown].tolist())
    assert {len(before) for before in shown_before.values()} == {40}


def test_histories_and_counters_hold_what_a_plain_loop_over_earlier_rounds_finds(jester):
    requests = in_order(jester / "out")
    clicked: dict[bytes, list[bytes]] = {}
    shown: dict[bytes, int] = {}
    clicks: dict[bytes, int] = {}
    for number in range(10):
        now = requests[number * USERS : (number + 1) * USERS]
        for found in now:
            assert found["history_item_id"].tolist() == clicked.get(found["user_id"], [])
            for index, item in enumerate(found["item_id"].tolist()):
                assert found["item_impressions_so_far"][index] == shown.get(item, 0)
                assert found["item_clicks_so_far"][index] == clicks.get(item, 0)
        for found in now:
            for index in np.argsort(found["position"]):
                item = found["item_id"][index]
                if found["exposed"][index]:
                    shown[item] = shown.get(item, 0) + 1
                if found["label"][index]:
                    clicks[item] = clicks.get(item, 0) + 1
                    clicked.setdefault(found["user_id"], []).append(item)
    assert sum(clicks.values()) > 200


def test_rows_are_the_shown_candidates(jester):
    rows = all_records(jester / "out", "row")
    for found in in_order(jester / "out"):
        shown = found["exposed"] == 1
        assert [row["item_id"] for row in rows[found["request_id"]]] == found["item_id"][shown].tolist()
        assert [row["label"] for row in rows[found["request_id"]]] == found["label"][shown].tolist()


def test_the_truth_of_every_candidate_comes_from_the_real_rating(jester):
    ratings = read_ratings(jester / "raw", "jester")
    user = {name: index for index, name in enumerate(ratings.users)}
    item = {name: index for index, name in enumerate(ratings.items)}
    for found in in_order(jester / "out")[::7]:
        rating = ratings.values[user[found["user_id"]], [item[name] for name in found["item_id"]]]
        expected = 1 / (1 + np.exp(-(rating - 5.0) / 1.5))
        np.testing.assert_allclose(found["true_click_probability"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # sigmoid((5 - 3) / 2) = 0.7311, sigmoid(-1) = 0.2689.
        ({"threshold": 3.0, "softness": 2.0}, [0.7311, 0.5, 0.2689]),
        ({"threshold": 3.0, "preference": "thresholded"}, [1.0, 1.0, 0.0]),
        ({"threshold": 3.0, "preference": "thresholded", "label_noise": 0.2}, [0.9, 0.9, 0.1]),
        ({"threshold": 3.0, "softness": 2.0, "label_noise": 0.5}, [0.6155, 0.5, 0.3845]),
    ],
)
def test_a_rating_becomes_a_probability_as_the_options_say(options, expected):
    ratings = Ratings(np.array([[5.0, 3.0, 1.0, np.nan]]), np.array([b"u"]), np.array([b"a", b"b", b"c", b"d"]))
    found = yes_probability(ratings, RatingsMatrixOptions(**options))[0]
    np.testing.assert_allclose(found[:3], expected, atol=1e-4)
    assert np.isnan(found[3])


def test_the_policy_prefers_what_is_declared():
    values = np.array([[1.0, 3.0, np.nan], [2.0, 2.0, 2.0], [6.0, 4.0, 8.0]])
    ratings = Ratings(values, np.array([b"u", b"v", b"w"]), np.array([b"a", b"b", b"c"]))
    own = preferences(ratings, RatingsMatrixOptions(popularity_share=0.0, bias_strength=2.0))
    # Within users: (-1, 1), equal ratings, and (0, -1, 1) / sqrt(2 / 3) of deviations (0, -2, 2).
    expected = np.array([[-2.0, 2.0, np.nan], [0.0, 0.0, 0.0], [0.0, -2 * 1.5**0.5, 2 * 1.5**0.5]])
    np.testing.assert_allclose(own, expected, atol=1e-12)
    everybody = preferences(ratings, RatingsMatrixOptions(popularity_share=1.0, bias_strength=1.0))
    # Means 3, 3, 5: deviations (-2, -2, 4) / 3 over sqrt(8 / 9).
    np.testing.assert_allclose(everybody[2], [-(0.5**0.5), -(0.5**0.5), 2**0.5], atol=1e-12)
    mixed = preferences(ratings, RatingsMatrixOptions(popularity_share=0.25, bias_strength=2.0))
    np.testing.assert_allclose(mixed, 0.75 * own + 0.25 * 2 * everybody)


def logged(**options):
    """Preference, truth, exposure and score of all candidates."""
    ratings, chosen = matrix(), RatingsMatrixOptions(seed=5, candidates=30, exposed_items=3, **options)
    probability, rows = yes_probability(ratings, chosen), []
    for asked in rounds(ratings, chosen):
        taken = np.take_along_axis(probability[asked.user], asked.item, axis=1)
        rows.append(np.stack([taken, asked.stage == 3, asked.score, asked.label]))
    return np.concatenate(rows, axis=1).reshape(4, -1)


def likes_ranked(score, truth) -> float:
    """AUC of a score for the items that are more likely liked than not."""
    area = auc((truth > 0.5).astype(int), score)
    assert area is not None
    return area


def test_without_bias_exposure_is_random_and_with_more_bias_it_is_less_so():
    gaps, aucs = [], []
    for strength in (0.0, 0.5, 2.0):
        truth, shown, score, _ = logged(bias_strength=strength)
        gaps.append(truth[shown == 1].mean() - truth[shown == 0].mean())
        aucs.append(likes_ranked(score, truth))
    # 12,000 shown candidates, standard deviation of the truth about 0.3: a standard error of 0.003.
    assert abs(gaps[0]) < 0.012
    assert 0.03 < gaps[1] < gaps[2]
    assert abs(aucs[0] - 0.5) < 0.01
    assert 0.55 < aucs[1] < aucs[2]


def test_the_chance_of_being_shown_first_is_that_of_plackett_luce():
    values = np.array([[0.0, 2.0, 4.0]]).repeat(20_000, axis=0)
    users, items = (np.array([b"%d" % n for n in range(size)]) for size in values.shape)
    options = RatingsMatrixOptions(
        bias_strength=1.0, popularity_share=0.0, candidates=3, exposed_items=1, requests_per_user=1
    )
    (asked,) = rounds(Ratings(values, users, items), options)
    weights = np.exp(np.array([-1.0, 0.0, 1.0]) * 1.5**0.5)
    share = np.bincount(asked.item[asked.stage == 3], minlength=3) / 20_000
    # The standard deviation of a share is at most 0.0035.
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.015)


def test_labels_are_yes_as_often_as_the_truth_says():
    truth, shown, _, label = logged(bias_strength=1.0)
    for low in np.arange(0, 1, 0.2):
        within = (shown == 1) & (truth >= low) & (truth < low + 0.2)
        assert label[within].mean() == pytest.approx(truth[within].mean(), abs=0.05)


def test_columns_of_the_truth_are_those_of_the_simulator_and_no_model_inputs():
    world = World(exposed_items=RatingsMatrixOptions().resolved().exposed_items)
    for source in (RatingsMatrixSource(), RatingsMatrixSource(RatingsMatrixOptions(format="coat", exposed_items=5))):
        feature_set = source.feature_set()
        for name in TRUTHS:
            assert feature_set.column(name) == simulated_feature_set(
                world.model_copy(update={"exposed_items": 5})
            ).column(name)
            with pytest.raises(ValueError, match="must not be a model input"):
                FeatureSet(
                    columns=feature_set.columns, features=(Feature(name=name, encoding="identity"),), list_size=2
                )


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_log(jester, tmp_path):
    write_jester_like(tmp_path / "raw", USERS * 2, JOKES, complete_share=0.5)
    again = imported(tmp_path / "raw", tmp_path / "out", **SMALL)
    other = imported(tmp_path / "raw", tmp_path / "other", seed=1, **SMALL)
    paths = sorted(path.relative_to(jester) for path in jester.rglob("*.*"))
    assert len(paths) > 20
    assert all((tmp_path / path).read_bytes() == (jester / path).read_bytes() for path in paths)
    assert again.sha256 != other.sha256
    assert again.origin["policy"]["threshold"] == 5.0


def test_a_coat_request_asks_about_self_selected_coats_only(tmp_path):
    write_coat_like(tmp_path / "raw", users=12, items=50, rated=16)
    imported(tmp_path / "raw", tmp_path / "out", format="coat", history_length=3)
    ratings = np.loadtxt(tmp_path / "raw/train.ascii")
    propensities = np.loadtxt(tmp_path / "raw/propensities.ascii")
    requests = in_order(tmp_path / "out")
    assert len(requests) == 12 * 4
    sizes = []
    for found in requests:
        real = found["candidate"] == 1
        user, items = int(found["user_id"][1:]), [int(name[1:]) for name in found["item_id"][real]]
        sizes.append(real.sum())
        assert (ratings[user, items] > 0).all()
        expected = 1 / (1 + np.exp(-(ratings[user, items] - 3.5) / 0.5))
        np.testing.assert_allclose(found["true_click_probability"][real], expected, rtol=1e-5)
        np.testing.assert_allclose(found["self_selection_propensity"][real], propensities[user, items], rtol=1e-5)
        assert (found["item_id"][~real] == b"").all()
        assert (found["item_color"][~real] == b"").all()
        assert all((found[name][~real] == 0).all() for name in (*TRUTHS, "exposed", "label"))
        assert len(found["history_item_id"]) <= 3
    # 16 rated coats, of which 3 are shown each time: 12, 12, 10 and 7 remain.
    assert sorted(sizes) == [7] * 12 + [10] * 12 + [12] * 24


def test_one_hot_columns_of_coat_become_categories(tmp_path):
    write_coat_like(tmp_path / "raw", users=5, items=30)
    imported(tmp_path / "raw", tmp_path / "out", format="coat")
    for entity, fields in (("user", COAT_USER_FIELDS), ("item", COAT_ITEM_FIELDS)):
        names = (tmp_path / f"raw/user_item_features/{entity}_features_map.txt").read_text().splitlines()
        flags = np.loadtxt(tmp_path / f"raw/user_item_features/{entity}_features.ascii")
        for found in in_order(tmp_path / "out"):
            ids = [found["user_id"]] if entity == "user" else found["item_id"][found["candidate"] == 1].tolist()
            for place, name in enumerate(ids):
                expected = {names[column] for column in np.flatnonzero(flags[int(name[1:])])}
                values = [np.ravel(found[f"{entity}_{field}"])[place].decode() for field in fields]
                assert {f"{field}:{value}" for field, value in zip(fields, values)} == expected
    features = {f.name for f in RatingsMatrixSource(RatingsMatrixOptions(format="coat")).feature_set().features}
    assert {"user_age", "item_jackettype", "user_gender", "item_gender"} <= features
    assert "self_selection_propensity" not in features


@pytest.mark.real_data
def test_the_real_jester_imports_and_its_policy_is_better_than_chance_and_worse_than_the_oracle(tmp_path, data_folder):
    if not (data_folder / "jester").is_dir():
        pytest.skip(f"no jester in {data_folder}")
    dataset = imported(data_folder / "jester", tmp_path / "out", records="request")
    splits = dataset.records["request"]
    assert [splits[split].records for split in SPLITS] == [5896, 737, 737]
    assert sum(info.examples for info in splits.values()) == 36_850
    rate = sum(info.positives for info in splits.values()) / 36_850
    assert rate == pytest.approx(0.373, abs=0.02)
    test = records_of(tmp_path / "out", "request", "test")
    truth, score = (np.concatenate([r[name] for r in test]) for name in ("true_click_probability", "logging_score"))
    assert 0.6 < likes_ranked(score, truth) < 0.8


@pytest.mark.real_data
def test_the_real_coat_imports(tmp_path, data_folder):
    if not (data_folder / "coat").is_dir():
        pytest.skip(f"no coat in {data_folder}")
    dataset = imported(data_folder / "coat", tmp_path / "out", format="coat")
    assert sum(info.records for info in dataset.records["request"].values()) == 290 * 4
    assert sum(info.records for info in dataset.records["row"].values()) == 290 * 12
    found = records_of(tmp_path / "out", "row", "train")[0]
    assert found["user_gender"] in (b"men", b"women")
    assert found["item_onfrontpage"] in (b"yes", b"no")


def test_real_exposure_learns_from_chosen_coats_and_is_judged_on_random_ones(tmp_path):
    write_coat_like(tmp_path / "raw", users=12, items=50, rated=20)
    dataset = imported(tmp_path / "raw", tmp_path / "out", format="coat", exposure="real", candidates=40)
    assert dataset.origin["random_exposure"] == ["test"]
    chosen, drawn = (np.loadtxt(tmp_path / "raw" / name) for name in ("train.ascii", "test.ascii"))
    cells: dict[str, set[tuple[int, int]]] = {split: set() for split in SPLITS}
    for split in SPLITS:
        for record in records_of(tmp_path / "out", "row", split):
            user, item = int(record["user_id"][1:]), int(record["item_id"][1:])
            cells[split].add((user, item))
            rating = (drawn if split == "test" else chosen)[user, item]
            graded = 1 / (1 + np.exp(-(rating - 3.5) / 0.5))
            assert record["label"] == pytest.approx(graded if split == "train" else float(rating >= 4), abs=1e-6)
    assert cells["test"] == set(zip(*np.nonzero(drawn), strict=True))
    assert cells["train"] | cells["eval"] == set(zip(*np.nonzero(chosen), strict=True))
    assert not cells["train"] & cells["eval"] and 10 < len(cells["eval"]) < 40
    for record in records_of(tmp_path / "out", "request", "train"):
        user = int(record["user_id"][1:])
        items = [int(name[1:]) for name in record["item_id"]]
        shown = {item for item, is_shown in zip(items, record["exposed"], strict=True) if is_shown}
        assert len(items) == len(set(items)) == 40
        assert shown == {item for one, item in cells["train"] if one == user}
        assert not {(user, item) for item in items} & cells["eval"]


def test_thresholded_labels_of_real_exposure_are_the_same_in_all_splits(tmp_path):
    write_coat_like(tmp_path / "raw", users=5, items=30)
    imported(tmp_path / "raw", tmp_path / "out", format="coat", exposure="real", preference="thresholded")
    assert {float(record["label"]) for record in records_of(tmp_path / "out", "row", "train")} == {0.0, 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"format": "jester"},
            "exposure 'real' with format 'jester': only 'coat' has",
        ),
        ({"bias_strength": 1.0}, "exposure 'real' with bias_strength, of the simulated policy; leave them out"),
    ],
)
def test_options_of_the_simulated_policy_are_refused_with_real_exposure(options, message):
    with pytest.raises(ValueError, match=message):
        RatingsMatrixOptions(**{"format": "coat", "exposure": "real", **options})


def test_a_user_with_more_ratings_than_candidates_is_refused(tmp_path):
    write_coat_like(tmp_path / "raw", users=5, items=30)
    with pytest.raises(InputError, match="option candidates: received candidates 20, and a user with 24 ratings"):
        imported(tmp_path / "raw", tmp_path / "out", format="coat", exposure="real", candidates=20)
