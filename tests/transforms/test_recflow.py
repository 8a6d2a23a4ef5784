"""The RecFlow source: stages, labels, histories and clocks, worked out by hand from a few raw rows."""

import numpy as np
import pytest

from tests.helpers.imported_records import all_records, records_of
from tests.helpers.recflow_files import DAY, history, moment, raw_row, write_days
from tests.helpers.recflow_like import days_from, write_recflow_like
from transforms.beam.import_dataset import import_dataset
from transforms.features import SPLITS, Feature, FeatureSet
from transforms.sources.recflow.files import split_days
from transforms.sources.recflow.read import ReadDay
from transforms.sources.recflow.schema import PERIODS, Recflow, RecflowOptions

NEVER_INPUTS = ("stage", "rank_pos", "rerank_pos", "rank_index", "rerank_index", "label")


def imported(root, **options):
    return import_dataset(Recflow(RecflowOptions(splits="files", **options)), root / "raw", root / "out")


def real(request, name):
    """A column of a request without padding, as a list."""
    return np.asarray(request[name])[request["candidate"] == 1].tolist()


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """A folder with three days of 60 requests, imported with lists cut to 32 of 70."""
    root = tmp_path_factory.mktemp("recflow")
    write_recflow_like(root / "raw", days_from(DAY, 3), 60, seed=3)
    imported(root, list_size=32)
    return root


def test_items_of_all_stages_are_candidates_and_the_latest_stage_counts(tmp_path):
    rows = [
        raw_row(7, 30, "realshow", "rerank_pos", "rank_pos", effective_view=1, rank_index=4, rerank_index=2),
        raw_row(7, 35, "realshow", "rerank_pos", "rank_neg", long_view=1),
        raw_row(7, 10, "rerank_neg", "rank_pos"),
        raw_row(7, 20, "rerank_neg", "rank_neg"),
        raw_row(7, 50, "rank_neg", effective_view=1),
        raw_row(7, 40, "coarse_neg"),
        raw_row(7, 60, "prerank_neg"),
    ]
    write_days(tmp_path / "raw", rows)
    imported(tmp_path, list_size=9)
    (request,) = all_records(tmp_path / "out", "request")[b"7"]
    assert real(request, "item_id") == [b"10", b"20", b"30", b"35", b"40", b"50", b"60"]
    assert real(request, "stage") == [4, 3, 5, 5, 2, 3, 1]
    assert real(request, "exposed") == [0, 0, 1, 1, 0, 0, 0]
    # The label of an item that was not shown means nothing, whatever stands in the file.
    assert real(request, "label") == [0, 0, 1, 0, 0, 0, 0]
    assert real(request, "rank_pos") == [1, 0, 1, 0, 0, 0, 0]
    assert real(request, "rank_index") == [0, 0, 4, 0, 0, 0, 0]
    assert real(request, "rerank_index") == [0, 0, 2, 0, 0, 0, 0]
    padding = request["candidate"] == 0
    assert padding.tolist() == [False] * 7 + [True] * 2
    assert (request["item_id"][padding] == b"").all()
    assert (request["author_id"][padding] == -1).all()
    assert np.isnan(request["video_age_hours"][padding]).all()
    assert all((request[name][padding] == 0).all() for name in ("stage", "exposed", "label", "rank_pos"))
    found = all_records(tmp_path / "out", "row")[b"7"]
    assert [(row["item_id"], row["label"]) for row in found] == [(b"30", 1.0), (b"35", 0.0)]


def test_another_feedback_can_be_the_label(tmp_path):
    write_days(tmp_path / "raw", [raw_row(7, 1, "realshow", effective_view=1), raw_row(7, 2, "realshow", long_view=1)])
    imported(tmp_path, label="long_view")
    (request,) = all_records(tmp_path / "out", "request")[b"7"]
    assert real(request, "label") == [0, 1]


def test_ids_are_as_they_are_but_category_level_one_2_is_none(tmp_path):
    rows = [
        raw_row(20, 0, "realshow", category_level_one=2, category_level_two=2, upload_type=0, author_id=-1, age=-1),
        raw_row(20, 1, "rank_neg", category_level_one=0, category_level_two=0, upload_type=2, age=-1),
    ]
    rows[0]["user_id"] = rows[1]["user_id"] = 0
    views = history((0, moment(DAY, "11:00")), (5, moment(DAY, "11:30")))
    views[-1, 3] = 2
    write_days(tmp_path / "raw", rows, {20: views})
    imported(tmp_path)
    (request,) = all_records(tmp_path / "out", "request")[b"20"]
    assert (request["user_id"], request["age"], request["gender"], request["device_id"]) == (b"0", -1, 0, 100)
    assert real(request, "item_id") == [b"0", b"1"]
    assert real(request, "author_id") == [-1, 501]
    assert real(request, "category_level_one") == [-1, 0]
    assert real(request, "category_level_two") == [2, 0]
    assert real(request, "upload_type") == [0, 2]
    assert request["history_item_id"].tolist() == [b"0", b"5"]
    assert request["history_author_id"].tolist() == [500, 505]
    assert request["history_category_level_one"].tolist() == [1, -1]
    assert request["history_category_level_two"].tolist() == [7, 7]
    assert request["history_upload_type"].tolist() == [0, 0]


def test_hours_are_those_of_china_and_timestamps_are_utc_seconds(tmp_path):
    # 1 February 2024 was a Thursday; 00:30 in China is 16:30 of 31 January, UTC.
    uploaded = 1_706_718_600 - 90 * 60
    rows = [raw_row(7, 1, "realshow", clock="00:30", upload_timestamp=uploaded)]
    rows += [raw_row(7, 2, "realshow", clock="00:30", upload_timestamp=0)]
    rows += [raw_row(7, 3, "realshow", clock="00:30", upload_timestamp=1_706_718_601)]
    write_days(tmp_path / "raw", rows)
    imported(tmp_path)
    (request,) = all_records(tmp_path / "out", "request")[b"7"]
    assert request["timestamp"] == 1_706_718_600
    assert request["request_local_time"] == 1_706_718_600 + 8 * 3600
    assert request["request_local_time"] % 86400 == 1800
    assert request["request_minute"] == 30
    assert real(request, "upload_local_time")[:2] == [uploaded + 8 * 3600, -1]
    assert real(request, "upload_minute")[:2] == [0, -1]
    np.testing.assert_allclose(real(request, "video_age_hours"), [1.5, np.nan, 0.0])


def test_a_history_holds_the_last_views_strictly_before_the_request(tmp_path):
    noon = moment(DAY, "12:00")
    out_of_order = history((3, noon - 10), (1, noon - 30), (2, noon - 20), (8, noon), (9, noon + 5))
    write_days(
        tmp_path / "raw",
        [raw_row(7, 1, "realshow"), raw_row(8, 1, "realshow"), raw_row(9, 1, "realshow")],
        {7: out_of_order, 8: history(), 9: history(*[(100 + i, noon - 100 + i) for i in range(50)])},
    )
    imported(tmp_path, history_length=2)
    requests = all_records(tmp_path / "out", "request")
    assert requests[b"7"][0]["history_item_id"].tolist() == [b"2", b"3"]
    assert requests[b"8"][0]["history_item_id"].tolist() == []
    assert requests[b"9"][0]["history_item_id"].tolist() == [b"148", b"149"]


def test_repeated_rows_of_a_video_are_one_candidate_with_all_their_flags(tmp_path):
    rows = [raw_row(7, 1, "rank_neg", rank_index=40), raw_row(7, 1, "rerank_neg"), raw_row(7, 2, "realshow")]
    write_days(tmp_path / "raw", [*rows, raw_row(7, 1, "rerank_pos", rerank_index=3)])
    imported(tmp_path)
    (request,) = all_records(tmp_path / "out", "request")[b"7"]
    assert real(request, "item_id") == [b"1", b"2"]
    assert real(request, "stage") == [4, 5]
    assert (real(request, "rank_index"), real(request, "rerank_index")) == ([40, 0], [3, 0])


def test_the_last_day_is_test_and_the_day_before_is_eval(synthetic):
    starts = [moment(day, "00:00") // 1000 for day in days_from(DAY, 4)]
    for index, split in enumerate(SPLITS):
        for record in ("row", "request"):
            times = [found["timestamp"] for found in records_of(synthetic / "out", record, split)]
            assert times == sorted(times)
            assert starts[index] <= times[0] <= times[-1] < starts[index + 1]


@pytest.mark.parametrize(
    ("splits", "train_days", "evaluated", "tested"),
    [("full", 35, "2024-02-17", "2024-02-18"), ("first_period", 21, "2024-02-03", "2024-02-04")],
)
def test_the_published_protocols_read_their_own_days(tmp_path, splits, train_days, evaluated, tested):
    (tmp_path / "all_stage").mkdir()
    for day in days_from("2024-01-13", 37):
        (tmp_path / "all_stage" / f"{day}.feather").touch()
    found = split_days(tmp_path, RecflowOptions(splits=splits))
    assert next(iter(found)) == PERIODS[splits][0] == "2024-01-13"
    assert [day for day, split in found.items() if split == "eval"] == [evaluated]
    assert [day for day, split in found.items() if split == "test"] == [tested]
    assert sum(split == "train" for split in found.values()) == train_days


def test_every_shown_item_is_kept_and_candidates_stand_in_order_of_id(synthetic):
    requests = all_records(synthetic / "out", "request")
    assert len(requests) == 180
    for (request,) in requests.values():
        ids = [int(item) for item in real(request, "item_id")]
        assert ids == sorted(set(ids))
        assert len(ids) == 32
        # 6 shown, 4 more of the first ten (as re-ranked or ranked), then 22 others in equal shares of three stages.
        counted = np.bincount(real(request, "stage"), minlength=6).tolist()
        assert counted == [0, 7, 7, 8, 4, 6]
        assert sum(real(request, "exposed")) == 6


def test_rows_may_stand_in_any_order_and_pieces_may_have_any_size(synthetic, tmp_path):
    from transforms.arrow import feather, pa

    shuffled = tmp_path / "raw"
    for folder in ("all_stage", "seq_effective_50_dict", "others"):
        (shuffled / folder).mkdir(parents=True)
    name = f"all_stage/{DAY}.feather"
    table = feather.read_table(synthetic / "raw" / name)
    table = table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows)))
    feather.write_feather(table, str(shuffled / name), chunksize=997)
    for name in (f"seq_effective_50_dict/{DAY}.pkl", "others/id_cnt.pkl"):
        (shuffled / name).write_bytes((synthetic / "raw" / name).read_bytes())
    options = RecflowOptions(splits="files", list_size=32)
    (_, whole), (_, rows) = ReadDay(str(synthetic / "raw"), options)((DAY, "train"))
    pieces = list(ReadDay(str(shuffled), options, rows_per_piece=500)((DAY, "train")))
    assert len(pieces) > 8
    assert [name for name, _ in pieces] == sorted(name for name, _ in pieces)
    for expected in (whole, rows):
        found = [batch for _, batch in pieces if batch.record == expected.record]
        assert sum(map(len, found)) == len(expected)
        for column in ("request_id", "item_id", "stage", "label", "author_id", "timestamp"):
            joined = np.concatenate([np.asarray(batch.columns[column]) for batch in found])
            assert joined.tolist() == np.asarray(expected.columns[column]).tolist(), column


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_candidates(synthetic, tmp_path):
    write_recflow_like(tmp_path / "raw", days_from(DAY, 3), 60, seed=3)
    raw = sorted(path.relative_to(tmp_path) for path in (tmp_path / "raw").rglob("*.*"))
    assert len(raw) == 13
    again, other = imported(tmp_path, list_size=32).sha256, imported_elsewhere(tmp_path, seed=1, list_size=32)
    for path in raw:
        assert (tmp_path / path).read_bytes() == (synthetic / path).read_bytes()
    found = sorted(path.relative_to(tmp_path) for path in (tmp_path / "out").rglob("*.*"))
    assert all((tmp_path / path).read_bytes() == (synthetic / path).read_bytes() for path in found)
    assert again != other


def imported_elsewhere(root, **options):
    source = Recflow(RecflowOptions(splits="files", **options))
    return import_dataset(source, root / "raw", root / "other").sha256


def test_rows_alone_come_from_the_small_files_and_are_the_same(synthetic, tmp_path):
    source = Recflow(RecflowOptions(splits="files", list_size=32, records=("row",)))
    (tmp_path / "raw").mkdir()
    for folder in ("realshow", "seq_effective_50_dict"):
        (tmp_path / "raw" / folder).symlink_to(synthetic / "raw" / folder)
    import_dataset(source, tmp_path / "raw", tmp_path / "out")
    assert repr(all_records(tmp_path / "out", "row")) == repr(all_records(synthetic / "out", "row"))


def test_a_share_of_the_requests_is_read_whole(synthetic, tmp_path):
    (tmp_path / "raw").symlink_to(synthetic / "raw")
    imported(tmp_path, list_size=70, request_share=0.4)
    requests = all_records(tmp_path / "out", "request")
    assert len(requests) == pytest.approx(72, abs=20)
    assert {int(found["candidate"].sum()) for (found,) in requests.values()} == {70}


def test_what_the_cascade_decided_can_be_no_feature():
    feature_set = Recflow().feature_set()
    for name in NEVER_INPUTS:
        with pytest.raises(ValueError, match="must not be a model input"):
            FeatureSet(columns=feature_set.columns, features=(Feature(name=name, encoding="identity"),), list_size=2)
    columns = {column.name for column in feature_set.columns_of("request")}
    assert not columns & {"playing_time", "long_view", "like", "realshow", "effective_view"}


def test_features_are_those_of_the_official_models_unless_told_otherwise():
    official = [feature.name for feature in Recflow().feature_set().features]
    assert len(official) == 3 + 5 + 5 + 8
    more = [feature.name for feature in Recflow(RecflowOptions(official_features=False)).feature_set().features]
    assert more == [*official, "duration_ms", "video_age_hours"]
    hashed = Recflow(RecflowOptions(hash_buckets=1000)).feature_set().fixed_table_sizes()
    assert (hashed["item_id"], hashed["author_id"]) == (1001, 1001)
    assert {f.name for f in Recflow().feature_set().features_in("author_id")} == {"author_id", "history_author_id"}
