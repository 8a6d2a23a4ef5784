"""The EB-NeRD source: rows and requests hold what was known when a list was shown, and nothing later."""

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.ebnerd_files import START, Shown, behaviors_row, expected_row, made_up, without_click, write_raw
from tests.helpers.imported_records import all_records, records_of
from transforms.beam.import_dataset import import_dataset
from transforms.features import RECORD_KINDS, SPLITS
from transforms.sources.ebnerd import read as ebnerd_read
from transforms.sources.ebnerd.schema import Ebnerd, EbnerdOptions

ITEM_COLUMNS = [column.name for column in Ebnerd().feature_set().columns if column.entity == "item"]


def imported(root, lists, reads, **options):
    write_raw(root / "raw", [behaviors_row(shown) for shown in lists], reads)
    options = {"list_size": 24, **options}
    return import_dataset(Ebnerd(EbnerdOptions(**options)), root / "raw", root / "out")


def same(first, second) -> bool:
    """Equal records; NaN equals NaN."""
    return repr(first) == repr(second)


@pytest.fixture(scope="module")
def world():
    return made_up()


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    imported(root, *world)
    return root / "out"


def test_every_row_holds_what_a_plain_loop_over_earlier_events_finds(world, whole):
    lists, reads = world
    rows = all_records(whole, "row")
    assert len(rows) == len(lists)
    counts = np.zeros(3)
    for shown in lists:
        found = {int(row["item_id"]): row for row in rows[str(shown.number).encode()]}
        assert sorted(found) == sorted(shown.items)
        for item, row in found.items():
            expected = expected_row(shown, item, lists, reads)
            expected.pop("pool")
            assert [int(read) for read in row["history"]] == expected.pop("history")
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, rel=1e-5, nan_ok=True), (shown, item, name)
            assert row["label"] == (item in shown.clicked)
            assert row["timestamp"] == shown.time
            assert row["user_id"] == str(shown.user).encode()
            assert row["on_article_page"] == (shown.page is not None)
            assert (row["device_type"], row["is_sso_user"]) == (1 + shown.user % 3, shown.user % 2 == 0)
            counts += [row["clicks_6h"], row["times_shown_to_user"], row["times_read_by_user"]]
    assert (counts > 20).all(), "the made-up world tests nothing"


def test_candidates_are_the_shown_and_the_pool_of_the_last_hours_by_id(world, whole):
    lists, reads = world
    requests, rows = all_records(whole, "request"), all_records(whole, "row")
    padded = 0
    for shown in lists:
        (request,) = requests[str(shown.number).encode()]
        real = request["candidate"] == 1
        ids = [int(item) for item in request["item_id"][real]]
        pool = expected_row(shown, shown.items[0], lists, reads)["pool"]
        assert ids == sorted({*pool, *shown.items})
        assert [item for item, seen in zip(ids, request["exposed"][real]) if seen] == sorted(shown.items)
        assert [item for item, label in zip(ids, request["label"][real]) if label] == sorted(shown.clicked)
        by_id = {row["item_id"]: row for row in rows[str(shown.number).encode()]}
        for index, item in enumerate(request["item_id"]):
            if request["exposed"][index]:
                for name in ITEM_COLUMNS:
                    assert same(request[name][index].item(), by_id[item][name]), name
        padding = ~real
        padded += padding.sum()
        assert (request["item_id"][padding] == b"").all()
        assert (request["shown_1h"][padding] == -1).all()
        assert np.isnan(request["article_age_hours"][padding]).all()
        assert request["label"][padding].sum() == request["exposed"][padding].sum() == 0
    assert padded


def test_a_pool_that_is_too_large_keeps_the_shown_and_the_most_recently_shown_others(world, tmp_path):
    lists, reads = world
    imported(tmp_path, lists, reads, list_size=8, records=("request",))
    cut, requests = 0, all_records(tmp_path / "out", "request")
    for shown in lists:
        (request,) = requests[str(shown.number).encode()]
        ids = {int(item) for item in request["item_id"] if item}
        bucket = shown.time // 600
        last: dict[int, int] = {}
        for other in lists:
            if bucket - 36 <= other.time // 600 < bucket:
                for item in other.items:
                    last[item] = max(last.get(item, 0), other.time // 600)
        others = sorted(set(last) - set(shown.items), key=lambda item: (-last[item], -item))
        assert ids == {*shown.items, *others[: 8 - len(shown.items)]}
        cut += len(others) > 8 - len(shown.items)
    assert cut


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_later_events_do_not_change_earlier_records(world, whole, tmp_path, share):
    lists, reads = world
    cut = sorted(shown.time for shown in lists)[int(len(lists) * share)]
    chooser = random.Random(3)
    later = [
        replace(shown, items=(5000, 5001), clicked=(5000,), user=chooser.randint(1, 7))
        for shown in lists
        if shown.time >= cut
    ]
    earlier = [shown for shown in lists if shown.time < cut]
    for name, changed in (("removed", earlier), ("altered", earlier + later)):
        imported(tmp_path / name, changed, reads, splits="all_test")
        for record in ("row", "request"):
            before, after = all_records(whole, record), all_records(tmp_path / name / "out", record)
            for shown in earlier:
                key = str(shown.number).encode()
                assert same(before[key], after[key]), (name, record, shown)


def test_a_click_changes_nothing_that_is_known_before_its_page_view_ends(world, whole, tmp_path):
    lists, reads = world
    chosen = max((shown for shown in lists if shown.clicked and shown.read_time > 600), key=lambda s: -s.time)
    imported(tmp_path, [without_click(s) if s is chosen else s for s in lists], reads)
    before, after = all_records(whole, "row"), all_records(tmp_path / "out", "row")
    changed = 0
    for shown in lists:
        key = str(shown.number).encode()
        strip = [[{k: v for k, v in row.items() if k != "label"} for row in rows[key]] for rows in (before, after)]
        if shown.time <= chosen.click_time:
            assert same(*strip)
        changed += not same(*strip)
    assert changed


def test_the_users_partition_does_not_change_any_record(world, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(ebnerd_read, "_LISTS_PER_PARTITION", 40)
    imported(tmp_path, *world)
    for record in ("row", "request"):
        one, many = all_records(whole, record), all_records(tmp_path / "out", record)
        assert len(list((tmp_path / "out" / record / "train").iterdir())) > len(
            list((whole / record / "train").iterdir())
        )
        assert all(same(one[key], many[key]) for key in one)
        assert set(one) == set(many)


def test_the_order_of_rows_in_the_files_does_not_matter(world, whole, tmp_path):
    lists, reads = world
    imported(tmp_path, lists[::-1], {user: events[::-1] for user, events in reversed(reads.items())})
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert len(files) > 10
    for path in files:
        assert (whole / path).read_bytes() == (tmp_path / "out" / path).read_bytes()


def test_splits_are_the_last_day_and_the_day_before_and_shards_are_in_order_of_time(world, whole):
    lists, _ = world
    end = max(shown.time for shown in lists)
    for record in ("row", "request"):
        split_records = {split: records_of(whole, record, split) for split in SPLITS}
        for split, found in split_records.items():
            times = [values["timestamp"] for values in found]
            assert times == sorted(times)
            low, high = {
                "train": (START, end - 2 * 86400),
                "eval": (end - 2 * 86400 + 1, end - 86400),
                "test": (end - 86400 + 1, end),
            }[split]
            assert low <= min(times)
            assert max(times) <= high
        assert len({values["request_id"] for found in split_records.values() for values in found}) == len(lists)


def test_a_split_begins_with_its_first_second(tmp_path):
    hour = 3600
    # The last list is at 100 h, so the last two hours, and the two before, begin one second after 98 h and 96 h.
    seconds = {1: 0, 2: 96 * hour, 3: 96 * hour + 1, 4: 98 * hour, 5: 98 * hour + 1, 6: 100 * hour}
    lists = [Shown(number, second, 1, (100, 101)) for number, second in seconds.items()]
    imported(tmp_path, lists, {1: []}, test_hours=2, eval_hours=2, records=("request",))
    found = {s: [r["request_id"] for r in records_of(tmp_path / "out", "request", s)] for s in SPLITS}
    assert found == {"train": [b"1", b"2"], "eval": [b"3", b"4"], "test": [b"5", b"6"]}


def test_all_test_puts_everything_into_the_test_split(world, tmp_path):
    lists, reads = world
    dataset = imported(tmp_path, lists, reads, splits="all_test", records=("row",))
    assert list(dataset.records) == ["row"]
    assert list(dataset.records["row"]) == ["test"]
    assert dataset.records["row"]["test"].records == sum(len(shown.items) for shown in lists)


def test_a_share_of_the_lists_becomes_requests_and_all_become_rows(world, tmp_path):
    lists, reads = world
    dataset = imported(tmp_path, lists, reads, request_share=0.4)
    requests = sum(info.records for info in dataset.records["request"].values())
    rows = sum(info.records for info in dataset.records["row"].values())
    assert requests == pytest.approx(0.4 * len(lists), rel=0.3)
    assert rows == sum(len(shown.items) for shown in lists)


def test_an_articles_age_is_the_time_since_an_id_as_large_was_first_seen(tmp_path):
    hour = 3600
    lists = [
        Shown(1, 0, 1, (100,)),
        Shown(2, 10 * hour, 1, (200, 100)),
        # 150 was born half way between the ends of the buckets of lists 1 and 2; 300 is new.
        Shown(3, 20 * hour, 1, (100, 150, 200, 300)),
        Shown(4, 20 * hour + 600, 1, (300,)),
    ]
    imported(tmp_path, lists, {1: [(-400 * hour, 90), (-30 * hour, 50)]}, splits="all_test")
    rows = all_records(tmp_path / "out", "row")
    ages = {int(row["item_id"]): row["article_age_hours"] for row in rows[b"3"]}
    bucket = 1 / 6
    assert ages[200] == pytest.approx(10 - bucket)
    assert ages[150] == pytest.approx(15 - bucket)
    assert ages[100] == pytest.approx(20 - bucket)
    assert ages[300] == 0.0
    assert rows[b"4"][0]["article_age_hours"] == 0.0
    assert rows[b"1"][0]["article_age_hours"] == 0.0
    old = Shown(1, 0, 1, (80, 95))
    imported(tmp_path / "old", [old], {1: [(-400 * hour, 90)]}, splits="all_test")
    ages = {int(row["item_id"]): row["article_age_hours"] for row in all_records(tmp_path / "old" / "out", "row")[b"1"]}
    assert ages == {80: 336.0, 95: 0.0}


def test_empty_lists_missing_numbers_and_repeated_articles_have_a_defined_meaning(tmp_path):
    rows = [
        behaviors_row(Shown(1, 0, 1, (100, 101), (101,))),
        behaviors_row(Shown(2, 3600, 1, ())) | {"article_ids_clicked": None, "article_ids_inview": None},
        behaviors_row(Shown(3, 7200, 9, (101, 102, 101), (101,))) | {"read_time": None, "device_type": None},
    ]
    write_raw(tmp_path / "raw", rows, {1: []})
    options = EbnerdOptions(list_size=4, splits="all_test")
    import_dataset(Ebnerd(options), tmp_path / "raw", tmp_path / "out")
    found, requests = all_records(tmp_path / "out", "row"), all_records(tmp_path / "out", "request")
    assert sorted(found) == [b"1", b"3"]
    assert [(row["item_id"], row["label"]) for row in found[b"3"]] == [(b"101", 1.0), (b"102", 0.0)]
    assert found[b"3"][0]["device_type"] == -1
    assert len(found[b"3"][0]["history"]) == found[b"3"][0]["history_size"] == 0
    assert requests[b"2"][0]["exposed"].tolist() == [0, 0, 0, 0]
    assert requests[b"2"][0]["item_id"].tolist() == [b"100", b"101", b"", b""]
    assert [int(item) for item in requests[b"2"][0]["history"]] == [101]


def test_what_is_measured_after_the_list_stood_is_not_in_the_records():
    names = {column.name for kind in RECORD_KINDS for column in Ebnerd().feature_set().columns_of(kind)}
    assert not {name for name in names if "next" in name or "scroll" in name or name in ("read_time", "position")}


def test_ids_are_features_only_when_asked_for():
    plain = {feature.name for feature in Ebnerd().feature_set().features}
    feature_set = Ebnerd(EbnerdOptions(id_features=True, frequency_threshold=7)).feature_set()
    assert {f.name for f in feature_set.features} - plain == {"user_id", "item_id", "history"}
    assert {f.name for f in feature_set.features_in("article")} == {"item_id", "history"}
    thresholds = {vocabulary.name: vocabulary.frequency_threshold for vocabulary in feature_set.id_vocabularies}
    assert (thresholds["article"], thresholds["user_id"], thresholds["device_type"]) == (7, 7, 1)
