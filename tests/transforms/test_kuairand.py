"""The KuaiRand source: rows, histories and splits worked out by hand, versions, refusals, and the real tables."""

import csv
from datetime import UTC, datetime

import numpy as np
import pytest

from tests.helpers.imported_records import records_of
from tests.helpers.kuairand_like import (
    LOG_COLUMNS,
    USER_COLUMNS,
    VIDEO_COLUMNS,
    write_kuairand_like,
    write_kuairand_table,
)
from tests.helpers.raw_imports import imported, refused, rows_of
from transforms.beam.transform_dataset import load_transform, transform_dataset
from transforms.sources.kuairand.schema import (
    FIRST_STANDARD,
    RANDOM,
    SECOND_STANDARD,
    STATISTIC_NUMBERS,
    STATISTICS,
    USERS,
    VIDEOS,
)
from transforms.sources.registry import get_source

USER = [7, "full_active", 0, -124, 1, 514, '"500+"', 150, '"[100,1k)"', 34, '"[30,60)"', 799, "730+"]
USER += [1, 1, 29, 949, "", 0, 0, 14, 135, 6, 3, 0, "0.0", "1.0", "", "0.0", "0.0", "0.0"]
VIDEO_LINES = [
    [1, 501, "NORMAL", "2022-04-30", "Web", "0.0", "87433.0", "720.0", "1280.0", 9155697141, "9.0", '"20,43"'],
    [2, 502, "AD", "2022-05-08", "UNKNOWN", "0.0", "", "720.0", "1280.0", 0, "", 39],
    [3, 503, "NORMAL", "", "Kmovie", "0.0", "9000.0", "720.0", "960.0", 5, "4.0", ""],
]


def milliseconds(day, clock):
    """A moment of China, e.g. `05-06` and `23:59:59.500`."""
    moment = datetime.fromisoformat(f"2022-{day}T{clock}+08:00").astimezone(UTC)
    return round(moment.timestamp() * 1000)


def log_line(user, video, time, **values):
    row = dict.fromkeys(LOG_COLUMNS, 0) | {"user_id": user, "video_id": video, "time_ms": time, "tab": 1} | values
    return [row[name] for name in LOG_COLUMNS]


NOON = milliseconds("05-06", "12:00:00")
SECOND = [
    log_line(7, 3, milliseconds("05-08", "00:00:00"), long_view=1),
    log_line(7, 1, NOON, is_click=1, play_time_ms=9_000),
    log_line(7, 2, NOON + 9_000, is_click=1, play_time_ms=100, is_like=1),
    log_line(7, 3, NOON + 9_100),
    log_line(7, 3, NOON + 9_101, tab=14),
    log_line(8, 1, milliseconds("05-06", "23:59:59.999"), is_click=1),
    log_line(8, 2, milliseconds("05-07", "00:00:00")),
]


def write(root, first=(), second=SECOND, random=(), users=(USER,), videos=VIDEO_LINES, version="pure"):
    folder = root / "raw"
    first = first or [log_line(7, 99, milliseconds("04-08", "00:00:00"), is_click=1)]
    write_kuairand_table(folder, FIRST_STANDARD, version, LOG_COLUMNS, first)
    write_kuairand_table(folder, SECOND_STANDARD, version, LOG_COLUMNS, second)
    write_kuairand_table(folder, RANDOM, version, LOG_COLUMNS, random)
    write_kuairand_table(folder, USERS, version, USER_COLUMNS, users)
    write_kuairand_table(folder, VIDEOS, version, VIDEO_COLUMNS, videos)


def test_a_click_is_known_strictly_after_its_play_has_ended_and_days_of_china_split(tmp_path):
    write(tmp_path)
    imported("kuairand", tmp_path)
    rows = rows_of(tmp_path / "out")
    found = [(row["split"], row["user_id"], row["item_id"], row["timestamp"], row["label"]) for row in rows]
    noon = NOON // 1000
    assert found == [
        ("train", b"7", b"99", milliseconds("04-08", "00:00:00") // 1000, 1.0),
        ("train", b"7", b"1", noon, 1.0),
        ("train", b"7", b"2", noon + 9, 1.0),
        ("train", b"7", b"3", noon + 9, 0.0),
        ("train", b"7", b"3", noon + 9, 0.0),
        ("train", b"8", b"1", milliseconds("05-06", "23:59:59") // 1000, 1.0),
        ("eval", b"8", b"2", milliseconds("05-07", "00:00:00") // 1000, 0.0),
        ("test", b"7", b"3", milliseconds("05-08", "00:00:00") // 1000, 0.0),
    ]
    assert [row["history_item_id"].tolist() for row in rows] == [
        [],
        [b"99"],
        [b"99"],
        # Video 1 was played until noon and 9 seconds, video 2 for a tenth of a second more.
        [b"99", b"1"],
        [b"99", b"1", b"2"],
        [],
        [b"1"],
        [b"99", b"1", b"2"],
    ]
    assert rows[4]["history_author_id"].tolist() == [-1, 501, 502]
    assert [row["request_id"] for row in rows[:3]] == [b"0-2", b"1-3", b"1-4"]
    assert rows[4]["tab"] == 14
    # 12:00 in China, whatever the zone of the machine.
    assert rows[1]["local_time"] % 86_400 == 12 * 3600


def test_tables_are_joined_and_their_gaps_are_markers(tmp_path):
    write(tmp_path)
    imported("kuairand", tmp_path)
    rows = rows_of(tmp_path / "out")
    user = rows[1]
    assert (user["user_active_degree"], user["follow_user_num"], user["fans_user_num_range"]) == (
        b"full_active",
        514.0,
        b"[100,1k)",
    )
    assert (user["is_live_streamer"], user["is_video_author"]) == (-1, 1)
    assert [user[f"onehot_feat{number}"] for number in (3, 4, 8, 13, 14)] == [949, -1, 135, 1, -1]
    stranger = rows[5]
    assert (stranger["user_active_degree"], stranger["onehot_feat0"]) == (b"", -1)
    assert np.isnan(stranger["register_days"])
    first, second, third = rows[1], rows[2], rows[3]
    assert (first["author_id"], first["music_id"], first["video_type"]) == (501, 9_155_697_141, b"NORMAL")
    assert [(row["tag_1"], row["tag_2"]) for row in (first, second, third)] == [
        (b"20", b"43"),
        (b"39", b""),
        (b"", b""),
    ]
    assert (first["video_duration"], second["upload_type"], second["music_type"]) == (87_433.0, b"", -1)
    assert np.isnan(second["video_duration"])
    # Uploaded on 30 April, shown on 6 May; the second only after it was shown, the third on no known day.
    np.testing.assert_array_equal([row["video_age_days"] for row in (first, second, third)], [6.0, 0.0, np.nan])
    assert rows[0]["author_id"] == -1
    assert np.isnan(rows[0]["video_age_days"])


def test_nothing_measured_after_the_event_is_written_and_statistics_only_when_asked_for(tmp_path):
    write(tmp_path)
    columns = {column.name for column in get_source("kuairand").feature_set().columns_of("row")}
    late = {"play_time_ms", "comment_stay_time", "profile_stay_time", "is_follow", "is_like", "visible_status", "date"}
    assert not columns & late
    assert not any("cnt" in name for name in columns)
    refused("kuairand", tmp_path, "no video_features_statistic_pure.csv among log_random", statistics=True)
    means = [[video, *(video + number / 10 for number in range(len(STATISTIC_NUMBERS)))] for video in (3, 1)]
    write_kuairand_table(tmp_path / "raw", STATISTICS, "pure", ("video_id", *STATISTIC_NUMBERS), means)
    imported("kuairand", tmp_path, statistics=True)
    rows = rows_of(tmp_path / "out")
    assert rows[1]["video_show_cnt"] == pytest.approx(1.1)
    assert rows[3]["video_outsite_share_all_cnt"] == pytest.approx(3 + 5.0)
    assert np.isnan(rows[2]["video_show_cnt"])


@pytest.mark.parametrize(("label", "expected"), [("is_like", [2]), ("long_view", [7]), ("is_click", [0, 1, 2, 5])])
def test_another_feedback_can_be_the_label(tmp_path, label, expected):
    write(tmp_path)
    imported("kuairand", tmp_path, label=label)
    rows = rows_of(tmp_path / "out")
    assert [index for index, row in enumerate(rows) if row["label"] == 1.0] == expected
    assert rows[4]["history_item_id"].tolist() == [b"99", b"1", b"2"]


def test_the_random_log_is_all_test_and_knows_the_clicks_of_all_logs(tmp_path):
    drawn = [
        log_line(7, 2, milliseconds("04-22", "00:00:00"), is_rand=1, is_click=1),
        log_line(7, 3, NOON + 9_001, is_rand=1),
    ]
    write(tmp_path, random=drawn)
    imported("kuairand", tmp_path, logs="random")
    rows = rows_of(tmp_path / "out")
    assert [(row["split"], row["item_id"], row["is_rand"]) for row in rows] == [("test", b"2", 1), ("test", b"3", 1)]
    assert [row["history_item_id"].tolist() for row in rows] == [[b"99"], [b"99", b"2", b"1"]]


def test_splits_of_the_files_take_the_last_two_days_that_there_are(tmp_path):
    days = [milliseconds(day, "10:00:00") for day in ("04-30", "05-01", "05-02")]
    write(tmp_path, second=[log_line(7, 1, time) for time in days])
    message = r"expected rows before \d+, where eval begins, and from \d+ on.*choose splits=files"
    refused("kuairand", tmp_path, message)
    imported("kuairand", tmp_path, splits="files")
    assert [row["split"] for row in rows_of(tmp_path / "out")] == ["train", "train", "eval", "test"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_click": 2}, "log_standard_4_22_to_5_08_pure.csv, line 3, field is_click: received '2'; expected 0 or 1"),
        ({"user_id": ""}, "line 3, field user_id: received ''; expected a number of 0 or more"),
        ({"video_id": "v1"}, "line 3, field video_id: received 'v1'"),
        ({"time_ms": NOON // 1000}, "line 3, field time_ms: .*milliseconds of 2022-04-08 to 2022-05-08"),
        ({"play_time_ms": -1}, "line 3, field play_time_ms: received '-1'"),
        ({"tab": "1,2"}, "line 3: received 20 fields; expected 19 fields"),
    ],
)
def test_a_wrong_line_of_a_log_is_named(tmp_path, changes, message):
    write(tmp_path, second=[SECOND[0], log_line(**({"user": 7, "video": 1, "time": NOON} | changes))])
    refused("kuairand", tmp_path, message)


def test_wrong_tables_are_named(tmp_path):
    write(tmp_path, users=[USER, USER])
    refused(
        "kuairand", tmp_path, "user_features_pure.csv, line 3, field user_id: received 7 again; expected each user_id"
    )
    write(tmp_path, users=[[*USER[:5], "many", *USER[6:]]])
    refused("kuairand", tmp_path, "user_features_pure.csv, line 2, field follow_user_num: received 'many'")
    write(tmp_path, videos=[*VIDEO_LINES, [4, "x", *VIDEO_LINES[0][2:]]])
    refused("kuairand", tmp_path, "video_features_basic_pure.csv, line 5, field author_id: received 'x'")
    write(tmp_path)
    write_kuairand_table(tmp_path / "raw", USERS, "pure", USER_COLUMNS[:5], [USER[:5]])
    refused("kuairand", tmp_path, "user_features_pure.csv, line 1: received columns user_id, .*'follow_user_num_range'")


def test_the_version_is_found_and_missing_files_are_named(tmp_path):
    (tmp_path / "raw" / "data").mkdir(parents=True)
    refused(
        "kuairand", tmp_path, "raw: received data; expected the csv files of KuaiRand.*its folder `data` as --input"
    )
    (tmp_path / "raw" / "data").rmdir()
    early = [log_line(7, 99, milliseconds("04-08", clock), is_click=1) for clock in ("00:00:00", "00:01:00")]
    write(tmp_path, first=early, version="27k")
    dataset = imported("kuairand", tmp_path)
    assert dataset.origin["version"] == "27k"
    assert [row["item_id"] for row in rows_of(tmp_path / "out")][:2] == [b"99", b"99"]
    assert dataset.origin["files"][:2] == [f"{FIRST_STANDARD}_27k_part{number}.csv" for number in (1, 2)]
    (tmp_path / "out").rename(tmp_path / "raw" / "elsewhere")
    (tmp_path / f"raw/{SECOND_STANDARD}_27k_part2.csv").unlink()
    refused("kuairand", tmp_path, "no log_standard_4_22_to_5_08_27k_part2.csv among")
    write(tmp_path, version="1k")
    refused("kuairand", tmp_path, "received files of versions 1k and 27k; .*choose version=1k")
    refused("kuairand", tmp_path, "no log_standard_4_08_to_4_21_pure.csv among", version="pure")
    assert imported("kuairand", tmp_path, version="1k").origin["version"] == "1k"


def test_generated_files_of_each_version_import_and_transform(tmp_path):
    write_kuairand_like(tmp_path / "raw", users=30, videos=80, shown=62)
    dataset = imported("kuairand", tmp_path)
    counted = {split: info.records for split, info in dataset.records["row"].items()}
    assert counted == pytest.approx({"train": 29 * 60, "eval": 60, "test": 60}, abs=2)
    assert 0.3 < sum(info.positives for info in dataset.records["row"].values()) / 1860 < 0.9
    names = ("history_item_id", "item_id", "tag_1", "tag_2", "hour", "video_age_days")
    few = tuple(feature for feature in dataset.feature_set.features if feature.name in names)
    feature_set = dataset.feature_set.model_copy(update={"features": few})
    transform_dataset(tmp_path / "out", dataset, tmp_path / "transformed", feature_set, "row")
    assert set(load_transform(tmp_path / "transformed").vocabulary_by_name("tag")) == {b"39", b"20", b"43"}


@pytest.mark.real_data
def test_the_real_tables_join_the_real_likes_and_hates(tmp_path, data_folder):
    folder = data_folder / "kuairand_like_hate"
    if not folder.is_dir():
        pytest.skip(f"no kuairand_like_hate in {data_folder}")
    (tmp_path / "raw").mkdir()
    for name in (f"{USERS}_pure.csv", f"{VIDEOS}_pure.csv"):
        (tmp_path / "raw" / name).symlink_to(folder / name)
    # Not a raw log: separated by tabs, and without some columns.
    with open(folder / "processed_standard_kcore_15.tsv") as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    rows = [[line.get(name, 0) for name in LOG_COLUMNS] for line in lines]
    write_kuairand_table(tmp_path / "raw", FIRST_STANDARD, "pure", LOG_COLUMNS, rows)
    write_kuairand_table(tmp_path / "raw", SECOND_STANDARD, "pure", LOG_COLUMNS, [])
    refused("kuairand", tmp_path, "log_standard_4_22_to_5_08_pure.csv: received a header and no rows")
    write_kuairand_table(tmp_path / "raw", SECOND_STANDARD, "pure", LOG_COLUMNS, rows[-1:])
    dataset = imported("kuairand", tmp_path, splits="files")
    counted = dataset.records["row"]
    assert sum(info.records for info in counted.values()) == 41_828 + 1
    found = records_of(tmp_path / "out", "row", "eval") + records_of(tmp_path / "out", "row", "test")
    assert all(row["user_active_degree"] for row in found)
    assert not any(np.isnan(row["register_days"]) for row in found)
    # Most videos are of 27K's table, which is not here.
    assert 0 < np.mean([row["author_id"] >= 0 for row in found]) < 0.2
    clicks = {line["user_id"].encode(): 0 for line in lines}
    for line in lines:
        clicks[line["user_id"].encode()] += line["is_click"] == "1"
    longest = {row["user_id"]: len(row["history_item_id"]) for row in found}
    assert all(length <= min(clicks[user] + 1, 50) for user, length in longest.items())
    assert max(longest.values()) == 50
