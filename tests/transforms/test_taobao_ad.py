"""The TaobaoAd source: rows, histories and days of China worked out by hand, refusals, and the real heads."""

import shutil
from datetime import UTC, datetime

import numpy as np
import pytest

from tests.helpers.raw_imports import imported, refused, rows_of, write_raw
from tests.helpers.taobao_ad_like import (
    AD_HEADER,
    BEHAVIOUR_HEADER,
    PROFILE_HEADER,
    SAMPLE_HEADER,
    write_taobao_ad_like,
)
from transforms.beam.transform_dataset import load_transform, transform_dataset
from transforms.sources.registry import get_source


def second(day, clock="12:00:00"):
    """A moment of May 2017 in China."""
    return int(datetime.fromisoformat(f"2017-05-{day:02d}T{clock}+08:00").astimezone(UTC).timestamp())


NOON = second(10)
SAMPLE = [
    f"81,{second(13, '00:00:00')},1,430539_1007,1,0",
    f"81,{NOON},1,430548_1007,0,1",
    f"81,{NOON + 1},2,430548_1007,1,0",
    f"95,{second(11, '23:59:59')},3,430548_1007,1,0",
    f"95,{second(12, '00:00:00')},9,430548_1007,0,1",
]
ADS = [AD_HEADER, "1,6406,83237,1,95471,170.0", "2,6406,83237,1,NULL,199.5", "3,25,4,5,0,0.01"]
PROFILES = [PROFILE_HEADER, "81,0,5,2,5,,3,0,", "96,1,2,1,2,1,1,1,4"]
LOG = [
    BEHAVIOUR_HEADER,
    f"81,{NOON + 1},buy,30,300",
    f"81,{NOON - 1},cart,20,200",
    f"81,{second(1)},pv,10,100",
    f"81,{NOON},fav,25,250",
    "81,1725193255,pv,77,777",
    "95,-5,pv,78,778",
    "81,99999999999,pv,79,779",
    f"95,{second(2)},ipv,40,NULL",
]


def write(root, sample=SAMPLE, ads=ADS, profiles=PROFILES, log=LOG):
    files = {"raw_sample__csv": [SAMPLE_HEADER, *sample], "ad_feature__csv": ads, "user_profile__csv": profiles}
    write_raw(root, **files, **({"behavior_log__csv": log} if log else {}))


def test_impressions_are_rows_with_the_behaviours_strictly_before_and_days_of_china_split(tmp_path):
    write(tmp_path)
    imported("taobao_ad", tmp_path)
    rows = rows_of(tmp_path / "out")
    names = ("split", "user_id", "item_id", "timestamp", "label", "pid")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("train", b"81", b"1", NOON, 1.0, b"430548_1007"),
        ("train", b"81", b"2", NOON + 1, 0.0, b"430548_1007"),
        ("train", b"95", b"3", second(11, "23:59:59"), 0.0, b"430548_1007"),
        ("eval", b"95", b"9", second(12, "00:00:00"), 1.0, b"430548_1007"),
        ("test", b"81", b"1", second(13, "00:00:00"), 0.0, b"430539_1007"),
    ]
    assert [row["history_cate"].tolist() for row in rows] == [
        # What is done in the second of the impression is not yet known; impossible times never are.
        [10, 20],
        [10, 20, 25],
        [40],
        [40],
        [10, 20, 25, 30],
    ]
    assert [row["history_brand"].tolist() for row in rows[1:3]] == [[100, 200, 250], [-1]]
    assert [row["history_btag"].tolist() for row in rows[1:3]] == [[b"pv", b"cart", b"fav"], [b"pv"]]
    assert [row["request_id"] for row in rows] == [b"0-3", b"0-4", b"0-5", b"0-6", b"0-2"]
    assert rows[0]["local_time"] % 86_400 == 12 * 3600


def test_tables_are_joined_and_their_gaps_are_markers(tmp_path):
    write(tmp_path)
    imported("taobao_ad", tmp_path)
    rows = rows_of(tmp_path / "out")
    profile = ("cms_segid", "cms_group_id", "final_gender_code", "age_level", "pvalue_level", "shopping_level")
    assert [rows[0][name] for name in (*profile, "occupation", "new_user_class_level")] == [0, 5, 2, 5, -1, 3, 0, -1]
    assert [rows[2][name] for name in profile] == [-1] * 6
    ad = ("cate_id", "campaign_id", "customer", "brand")
    assert [[row[name] for name in ad] for row in rows] == [
        [6406, 83237, 1, 95471],
        [6406, 83237, 1, -1],
        [25, 4, 5, 0],
        [-1, -1, -1, -1],
        [6406, 83237, 1, 95471],
    ]
    np.testing.assert_array_equal(
        np.array([row["price"] for row in rows], np.float32), np.array([170.0, 199.5, 0.01, np.nan, 170.0], np.float32)
    )


def test_without_a_behaviour_log_histories_are_empty(tmp_path):
    write(tmp_path, log=())
    dataset = imported("taobao_ad", tmp_path)
    assert dataset.origin["files"] == ["raw_sample.csv", "ad_feature.csv", "user_profile.csv"]
    assert all(row["history_cate"].tolist() == row["history_btag"].tolist() == [] for row in rows_of(tmp_path / "out"))


def test_a_history_keeps_the_latest(tmp_path):
    write(tmp_path)
    imported("taobao_ad", tmp_path, history_length=2)
    rows = rows_of(tmp_path / "out")
    assert [row["history_cate"].tolist() for row in rows[:2]] == [[10, 20], [20, 25]]
    assert get_source("taobao_ad", {"history_length": 2}).feature_set().column("history_brand").max_length == 2


def test_the_names_of_the_description_are_known_too(tmp_path):
    write(
        tmp_path,
        ads=[ADS[0].replace("customer", "customer_id"), *ADS[1:]],
        profiles=[PROFILE_HEADER.strip(), *PROFILES[1:]],
        log=[LOG[0].replace("user", "nick"), *LOG[1:]],
    )
    path = tmp_path / "raw/raw_sample.csv"
    path.write_text(path.read_text().replace("nonclk", "noclk").replace("\n", "\r\n"))
    imported("taobao_ad", tmp_path)
    rows = rows_of(tmp_path / "out")
    assert [row["label"] for row in rows] == [1.0, 0.0, 0.0, 1.0, 0.0]
    assert (rows[0]["customer"], rows[0]["shopping_level"], rows[0]["history_cate"].tolist()) == (1, 3, [10, 20])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            f"81,{NOON},1,430548_1007,0,0",
            "raw_sample.csv, line 7, field clk: received '0'; expected 0 where nonclk is 1",
        ),
        (f"81,{NOON},1,430548_1007,1,1", "line 7, field clk: received '1'"),
        (f"81,{NOON},1,430548_1007,0,2", "line 7, field clk: received '2'; expected 0 or 1"),
        (f"81,{NOON},a1,430548_1007,0,1", "line 7, field adgroup_id: received 'a1'"),
        (f",{NOON},1,430548_1007,0,1", "line 7, field user: received ''; expected a number of 0 or more"),
        (
            f"81,{second(14, '00:00:00')},1,p,0,1",
            "line 7, field time_stamp: .*seconds of 2017-05-06 to 2017-05-13 in C",
        ),
        (f"81,{second(6, '00:00:00') - 1},1,p,0,1", "line 7, field time_stamp: received"),
        (f"81,{NOON},1,0,1", "line 7: received 5 fields; expected 6 fields"),
    ],
)
def test_a_wrong_impression_is_named(tmp_path, line, message):
    write(tmp_path, sample=[*SAMPLE, line])
    refused("taobao_ad", tmp_path, message)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"log": [*LOG, f"81,{NOON},look,1,1"]},
            "behavior_log.csv, line 10, field btag: received 'look'; expected pv, c",
        ),
        ({"log": [*LOG, "81,soon,pv,1,1"]}, "behavior_log.csv, line 10, field time_stamp: received 'soon'"),
        ({"ads": [*ADS, "2,1,1,1,1,1"]}, "ad_feature.csv, line 5, field adgroup_id: received 2 again"),
        (
            {"ads": [*ADS, "4,1,1,1,1,free"]},
            "ad_feature.csv, line 5, field price: received 'free'; expected a number or n",
        ),
        ({"profiles": [*PROFILES, "97,0,x,2,5,,3,0,"]}, "user_profile.csv, line 4, field cms_group_id: received 'x'"),
        ({"profiles": [PROFILES[0][:-21], "81,0,5,2,5,,3,0"]}, "line 1: .* one column 'new_user_class_level'"),
        ({"sample": SAMPLE[1:]}, r"raw_sample.csv: received times \d+ to \d+; .*where test begins. Fix: get the whole"),
    ],
)
def test_wrong_files_are_named(tmp_path, files, message):
    write(tmp_path, **files)
    refused("taobao_ad", tmp_path, message)


def test_a_missing_file_is_named_with_those_that_are_there(tmp_path):
    write(tmp_path)
    (tmp_path / "raw/ad_feature.csv").unlink()
    refused(
        "taobao_ad", tmp_path, "no ad_feature.csv among behavior_log.csv, raw_sample.csv, user_profile.csv; expected"
    )
    shutil.rmtree(tmp_path / "raw")
    (tmp_path / "raw").touch()
    refused("taobao_ad", tmp_path, "raw: received no such directory")


@pytest.mark.parametrize("behaviours", [20, 0])
def test_generated_files_import_and_transform_with_and_without_a_log(tmp_path, behaviours):
    write_taobao_ad_like(tmp_path / "raw", users=30, ads=60, shown=40, behaviours=behaviours)
    dataset = imported("taobao_ad", tmp_path, frequency_threshold=1)
    counted = {split: info.records for split, info in dataset.records["row"].items()}
    assert counted == pytest.approx({"train": 900, "eval": 150, "test": 150}, abs=40)
    few = tuple(feature for feature in dataset.feature_set.features if feature.name in ("pid", "history_btag", "price"))
    feature_set = dataset.feature_set.model_copy(update={"features": few})
    transform_dataset(tmp_path / "out", dataset, tmp_path / "transformed", feature_set, "row")
    transform = load_transform(tmp_path / "transformed")
    assert set(transform.vocabulary_by_name("pid")) == {b"430548_1007", b"430539_1007"}
    assert {b"pv", b"buy"} <= set(transform.vocabulary_by_name("history_btag")) or not behaviours


@pytest.mark.real_data
def test_the_real_heads_import_whole(tmp_path, data_folder):
    folder = data_folder / "alimama_head"
    if not folder.is_dir():
        pytest.skip(f"no alimama_head in {data_folder}")
    write(tmp_path, log=())
    for name in ("raw_sample", "behavior_log"):
        path = tmp_path / f"raw/{name}.csv"
        path.unlink(missing_ok=True)
        path.symlink_to(folder / f"{name}_test.csv")
    dataset = imported("taobao_ad", tmp_path)
    counted = {split: (info.records, info.positives) for split, info in dataset.records["row"].items()}
    assert {split: records for split, (records, _) in counted.items()} == {"train": 7405, "eval": 1288, "test": 1306}
    assert sum(positives for _, positives in counted.values()) == 435
    rows = rows_of(tmp_path / "out")
    with_history = [row for row in rows if len(row["history_cate"])]
    # The heads share 72 users.
    assert 60 <= len({row["user_id"] for row in with_history}) <= 72
    assert {tag for row in with_history for tag in row["history_btag"].tolist()} <= {b"pv", b"cart", b"fav", b"buy"}
