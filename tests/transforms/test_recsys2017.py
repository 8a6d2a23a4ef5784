"""The RecSys 2017 source: rows, histories and splits worked out by hand, and refusals."""

import numpy as np
import pytest

from tests.helpers.raw_imports import imported, refused, rows_of
from tests.helpers.recsys2017_like import write_recsys2017_like, write_recsys2017_table
from transforms.beam.transform_dataset import load_transform, transform_dataset
from transforms.sources.recsys2017.schema import INTERACTIONS, ITEMS, USERS

DAY = 86_400
START = 1_478_000_000
USER_LINES = [
    [7, "1001,1002,1003,1004", 3, 4, 9, "de", 2, 1, 4, 2, 2, "11", 1, 0],
    [8, "", 0, 0, 0, "non_dach", 0, "", "NULL", 0, 0, "12,13,14", 0, 1],
]
ITEM_LINES = [
    [100, "5,6", 3, 4, 9, "de", 0, 2, "48.1", "11.6", 1, "70,71,72,73,74", START - DAY],
    [101, "", 6, 1, 2, "at", 1, 0, "", "", 5, "", ""],
    [102, "9", 6, 1, 2, "ch", 1, 0, "-1.5", "7", 5, "75", START + DAY],
]
EVENTS = [
    [7, 102, 0, START + 20 * DAY],
    [7, 100, 1, START],
    [7, 101, 2, START + 10],
    [7, 102, 5, START + 20],
    [7, 101, 4, START + 30],
    [7, 102, 3, START + 30],
    [7, 999, 0, START + 40],
    [8, 100, 0, START + 5 * DAY],
    # The last 7 days begin one second after START + 13 days, the 7 before them one after START + 6 days.
    [8, 101, 1, START + 6 * DAY],
    [8, 101, 0, START + 6 * DAY + 1],
    [9, 102, 3, START + 13 * DAY],
    [9, 102, 0, START + 13 * DAY + 1],
]


def write(root, events=EVENTS, users=USER_LINES, items=ITEM_LINES):
    write_recsys2017_table(root / "raw", INTERACTIONS, events)
    write_recsys2017_table(root / "raw", USERS, users)
    write_recsys2017_table(root / "raw", ITEMS, items)


def test_interactions_are_rows_in_order_of_time_and_a_recruiters_interest_is_none(tmp_path):
    write(tmp_path)
    imported("recsys2017", tmp_path)
    rows = rows_of(tmp_path / "out")
    names = ("split", "user_id", "item_id", "interaction_type", "label")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("train", b"7", b"100", 1, 1.0),
        ("train", b"7", b"101", 2, 1.0),
        ("train", b"7", b"101", 4, 0.0),
        ("train", b"7", b"102", 3, 1.0),
        ("train", b"7", b"999", 0, 0.0),
        ("train", b"8", b"100", 0, 0.0),
        ("train", b"8", b"101", 1, 1.0),
        ("eval", b"8", b"101", 0, 0.0),
        ("eval", b"9", b"102", 3, 1.0),
        ("test", b"9", b"102", 0, 0.0),
        ("test", b"7", b"102", 0, 0.0),
    ]
    assert [row["history_item_id"].tolist() for row in rows] == [
        [],
        [b"100"],
        # Item 102 was replied to in the same second, and before that only a recruiter was interested.
        [b"100", b"101"],
        [b"100", b"101"],
        [b"100", b"101", b"102"],
        [],
        [],
        [b"101"],
        [],
        [b"102"],
        [b"100", b"101", b"102"],
    ]
    assert [row["timestamp"] - START for row in rows[:3]] == [0, 10, 30]
    assert [row["request_id"] for row in rows[:3]] == [b"0-3", b"0-4", b"0-6"]


def test_tables_are_joined_by_position_and_lists_are_cut_to_columns(tmp_path):
    write(tmp_path)
    imported("recsys2017", tmp_path)
    rows = rows_of(tmp_path / "out")
    seventh, eighth, ninth = rows[0], rows[5], rows[8]
    assert [seventh[f"jobroles_{number}"] for number in (1, 2, 3)] == [b"1001", b"1002", b"1003"]
    assert [eighth[f"jobroles_{number}"] for number in (1, 2, 3)] == [b"", b"", b""]
    assert [eighth[f"edu_fieldofstudies_{number}"] for number in (1, 2)] == [b"12", b"13"]
    assert (seventh["user_career_level"], seventh["user_country"], seventh["user_region"]) == (3, b"de", 2)
    assert (seventh["wtcj"], seventh["premium"], seventh["edu_degree"]) == (1, 0, 2)
    assert (eighth["experience_n_entries_class"], eighth["experience_years_experience"]) == (-1, -1)
    assert (ninth["user_career_level"], ninth["user_country"], ninth["jobroles_1"]) == (-1, b"", b"")
    first, second, third, unknown = rows[0], rows[1], rows[3], rows[4]
    assert [first[f"tags_{number}"] for number in (1, 2, 3, 4)] == [b"70", b"71", b"72", b"73"]
    assert [(row["title_1"], row["title_2"]) for row in (first, second)] == [(b"5", b"6"), (b"", b"")]
    assert (second["item_country"], second["item_career_level"], second["employment"]) == (b"at", 6, 5)
    np.testing.assert_allclose(
        [[row[name] for name in ("latitude", "longitude")] for row in (first, second, third)],
        [[48.1, 11.6], [np.nan, np.nan], [-1.5, 7.0]],
        rtol=1e-6,
    )
    # The third was created after it was shown.
    ages = [row["item_age_days"] for row in (first, second, third, unknown)]
    np.testing.assert_array_equal(ages, [1.0, np.nan, 0.0, np.nan])
    assert (unknown["item_country"], unknown["is_payed"]) == (b"", -1)


def test_options_move_the_splits_and_cut_the_histories(tmp_path):
    write(tmp_path)
    imported("recsys2017", tmp_path, test_days=0.5, eval_days=7, history_length=1)
    rows = rows_of(tmp_path / "out")
    assert [row["split"] for row in rows] == ["train"] * 8 + ["eval", "eval", "test"]
    assert [row["history_item_id"].tolist() for row in rows[2:5]] == [[b"101"], [b"101"], [b"102"]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([7, 100, 6, START], "interactions.csv, line 14, field interaction_type: received '6'; expected 0 to 5"),
        ([7, 100, "", START], "line 14, field interaction_type: received ''"),
        ([7, "i1", 1, START], "line 14, field item_id: received 'i1'; expected a number of 0 or more"),
        ([7, 100, 1, START * 1000], "line 14, field created_at: received '1478000000000'; expected seconds since 1970"),
        ([7, 100, 1], "line 14: received 3 fields; expected 4 fields"),
        (["7,100,1,5"], "line 14: received 1 fields; expected 4 fields"),
    ],
)
def test_a_wrong_interaction_is_named(tmp_path, line, message):
    write(tmp_path, events=[*EVENTS, line])
    refused("recsys2017", tmp_path, message)


def test_wrong_tables_and_headers_are_named(tmp_path):
    write(tmp_path, users=[*USER_LINES, [9, *USER_LINES[0][1:3], "x", *USER_LINES[0][4:]]])
    refused(
        "recsys2017",
        tmp_path,
        "users.csv, line 4, field discipline_id: received 'x'; expected a number of 0 or more, or",
    )
    write(tmp_path, items=[*ITEM_LINES, ITEM_LINES[0]])
    refused("recsys2017", tmp_path, "items.csv, line 5, field id: received 100 again; expected each id once")
    write(tmp_path)
    path = tmp_path / "raw/items.csv"
    header, _, rest = path.read_text().partition("\n")
    path.write_text(rest)
    refused("recsys2017", tmp_path, "items.csv, line 1: received '100' in the first field; expected a header")
    path.write_text(header.replace("\t", ",") + "\n" + rest)
    refused("recsys2017", tmp_path, "items.csv, line 1: received 1 fields; expected 13 fields: id, title, career_level")
    path.unlink()
    refused(
        "recsys2017", tmp_path, "no items.csv among interactions.csv, users.csv; expected interactions.csv, users.csv"
    )


def test_too_few_days_are_refused(tmp_path):
    write(tmp_path, events=EVENTS[1:7])
    refused("recsys2017", tmp_path, "expected rows before .* where eval begins.*smaller test_days and eval_days")
    write(tmp_path, events=[[7, 100, 5, START]])
    refused("recsys2017", tmp_path, "interactions.csv: received no rows; expected at least one row")


def test_generated_files_import_and_transform(tmp_path):
    write_recsys2017_like(tmp_path / "raw", users=40, items=80, interactions=2_000)
    assert (
        (tmp_path / "raw/users.csv").read_text().startswith("recsyschallenge_v2017_users_final_anonym_export_unique.id")
    )
    dataset = imported("recsys2017", tmp_path)
    counted = {split: info.records for split, info in dataset.records["row"].items()}
    assert 1_930 < sum(counted.values()) < 2_000
    assert counted["test"] == pytest.approx(1_950 * 7 / 60, abs=60)
    few = tuple(
        f for f in dataset.feature_set.features if f.vocabulary in ("title", "country", "item_id", "item_age_days")
    )
    feature_set = dataset.feature_set.model_copy(update={"features": few})
    transform_dataset(tmp_path / "out", dataset, tmp_path / "transformed", feature_set, "row")
    transform = load_transform(tmp_path / "transformed")
    assert {b"1000", b"1007", b"2000"} <= set(transform.vocabulary_by_name("title"))
    assert transform.vocabulary_by_name("country") == [b"de"]
