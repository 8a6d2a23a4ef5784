"""The MovieLens source: rows, histories and splits worked out by hand, refusals, and the real small set."""

import numpy as np
import pytest

from tests.helpers.imported_records import records_of
from tests.helpers.movielens_like import write_movielens_like
from tests.helpers.raw_imports import imported, refused, rows_of, write_raw
from transforms.beam.transform_dataset import load_transform, transform_dataset
from transforms.sources.registry import get_source

HEADER = "userId,movieId,rating,timestamp"
MOVIES = [
    "movieId,title,genres",
    "1,Toy Story (1995),Adventure|Animation|Children|Comedy|Fantasy",
    '11,"American President, The (1995)",Comedy|Drama',
    '12,"Fawlty ""T"" (1975-1979) ",Comedy',
    "13,Stranger Things,(no genres listed)",
    "14,Big Bang Theory (2007-),Comedy",
]
# The clock runs backwards in the file, as it does in the real one.
RATINGS = ["7,11,4.0,300", "7,1,5.0,100", "7,12,3.5,200", "8,1,4.5,300", "7,13,4.0,300", "7,14,0.5,400", "8,99,2.0,500"]
SPLIT = {"eval_share": 0.2, "test_share": 0.2}


def test_ratings_are_rows_in_order_of_time_with_the_films_rated_well_strictly_before(tmp_path):
    write_raw(tmp_path, ratings__csv=[HEADER, *RATINGS], movies__csv=MOVIES)
    imported("movielens", tmp_path, **SPLIT)
    rows = rows_of(tmp_path / "out")
    names = ("split", "user_id", "item_id", "timestamp", "label", "rating")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("train", b"7", b"1", 100, 1.0, 5.0),
        ("train", b"7", b"12", 200, 0.0, 3.5),
        # Of 7 ratings 0.6 x 7 = 4 come before eval, but all of the fifth's second go with it; 0.8 x 7 = 6 before test.
        ("eval", b"7", b"11", 300, 1.0, 4.0),
        ("eval", b"8", b"1", 300, 1.0, 4.5),
        ("eval", b"7", b"13", 300, 1.0, 4.0),
        ("eval", b"7", b"14", 400, 0.0, 0.5),
        ("test", b"8", b"99", 500, 0.0, 2.0),
    ]
    histories = [row["history_item_id"].tolist() for row in rows]
    # Films 11 and 13 were rated in one second: neither knows of the other. Film 12 was not rated well.
    assert histories == [[], [b"1"], [b"1"], [], [b"1"], [b"1", b"11", b"13"], [b"1"]]
    assert [row["request_id"] for row in rows] == [b"0-3", b"0-4", b"0-2", b"0-5", b"0-6", b"0-7", b"0-8"]


def test_titles_give_years_and_genres_have_columns_of_their_own(tmp_path):
    write_raw(tmp_path, ratings__csv=[HEADER, *RATINGS], movies__csv=MOVIES)
    imported("movielens", tmp_path, **SPLIT)
    films = {row["item_id"]: row for row in rows_of(tmp_path / "out")}
    genres = {item: [row[f"genre_{number}"] for number in (1, 2, 3)] for item, row in films.items()}
    assert genres == {
        b"1": [b"Adventure", b"Animation", b"Children"],
        b"11": [b"Comedy", b"Drama", b""],
        b"12": [b"Comedy", b"", b""],
        b"13": [b"", b"", b""],
        b"14": [b"Comedy", b"", b""],
        b"99": [b"", b"", b""],
    }
    years = {item: row["year"] for item, row in films.items()}
    assert years == {b"1": 1995, b"11": 1995, b"12": 1975, b"13": -1, b"14": 2007, b"99": -1}


def test_the_threshold_moves_labels_and_histories_and_a_history_keeps_the_latest(tmp_path):
    write_raw(tmp_path, ratings__csv=[HEADER, *RATINGS], movies__csv=MOVIES)
    imported("movielens", tmp_path, positive_rating=3.5, history_length=2, **SPLIT)
    rows = {(row["user_id"], row["item_id"]): row for row in rows_of(tmp_path / "out")}
    assert rows[b"7", b"12"]["label"] == 1.0
    assert rows[b"7", b"14"]["history_item_id"].tolist() == [b"11", b"13"]
    assert rows[b"7", b"11"]["history_item_id"].tolist() == [b"1", b"12"]


def test_files_of_1m_with_two_colons_and_latin_1_titles_give_the_same_columns(tmp_path):
    (tmp_path / "raw").mkdir()
    ratings = [line.replace(",", "::").replace(".0", "").replace(".5", "") for line in RATINGS]
    ratings[5] = "7::14::1::400"
    (tmp_path / "raw/ratings.dat").write_text("\n".join(ratings) + "\n")
    text = '1::Misérables, Les "x" (1995)::Drama|Musical\n11::President (1996)::Comedy\n'
    (tmp_path / "raw/movies.dat").write_bytes(text.encode("latin-1"))
    dataset = imported("movielens", tmp_path, **SPLIT)
    assert dataset.origin["files"] == ["ratings.dat", "movies.dat"]
    rows = rows_of(tmp_path / "out")
    assert [row["timestamp"] for row in rows] == [100, 200, 300, 300, 300, 400, 500]
    assert (rows[0]["rating"], rows[0]["year"], rows[0]["genre_2"]) == (5.0, 1995, b"Musical")
    assert rows[2]["request_id"] == b"0-1"
    assert rows[2]["history_item_id"].tolist() == [b"1"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("9,1,3.7,100", "ratings.csv, line 9, field rating: received '3.7'; expected a rating of 0.5 to 5 in halves"),
        ("9,1,0,100", "line 9, field rating: received '0'"),
        ("9,1,5.5,100", "line 9, field rating: received '5.5'"),
        ("9,,3.0,100", "line 9, field movieId: received ''; expected a number of 0 or more"),
        ("x9,1,3.0,100", "line 9, field userId: received 'x9'"),
        ("9,1,3.0,-5", "line 9, field timestamp: received '-5'"),
        ("9,1,3.0,1260759144000", "line 9, field timestamp: received '1260759144000'; expected seconds since 1970"),
        ("9,1,3.0", "line 9: received 3 fields; expected 4 fields. Fix: repair or remove the line"),
        ("", "line 9: received 1 fields"),
        ("7,12,1.0,900", "ratings.csv, line 9, field movieId: received 12 again of user 7; expected each film once"),
    ],
)
def test_a_wrong_rating_is_named(tmp_path, line, message):
    write_raw(tmp_path, ratings__csv=[HEADER, *RATINGS, line, "9,1,3.0,100"], movies__csv=MOVIES)
    refused("movielens", tmp_path, message, **SPLIT)


@pytest.mark.parametrize(
    ("movies", "message"),
    [
        ([*MOVIES, "1,Toy Story (1995),Comedy"], "movies.csv, line 7, field movieId: received 1 again"),
        ([*MOVIES, "x,A (1995),Comedy"], "movies.csv, line 7, field movieId: received 'x'"),
        ([*MOVIES, "15,A, The (1995),Comedy"], "movies.csv, line 7: received 4 fields; expected 3 fields"),
        ([*MOVIES, '15,"A (1995),Comedy', "16,B (1996),War"], "movies.csv, line 7: received 2 fields; expected 3"),
        ([*MOVIES, '15,A (1995),"Com', "16,B (1996),War"], "lines 2 to 8: received 6 rows in 7 lines.*double quote"),
        (["id,title,genres", "1,A,B"], "movies.csv, line 1: received columns id, title, .* one column 'movieId'"),
        (MOVIES[:1], "movies.csv: received a header and no rows"),
        ([], "movies.csv: received an empty file"),
    ],
)
def test_a_wrong_table_of_films_is_named(tmp_path, movies, message):
    write_raw(tmp_path, ratings__csv=[HEADER, *RATINGS], movies__csv=movies)
    refused("movielens", tmp_path, message, **SPLIT)


def test_missing_files_and_too_few_moments_are_refused(tmp_path):
    write_raw(tmp_path, ratings__csv=[HEADER, "1,1,4.0,5", "2,1,4.0,5"])
    refused("movielens", tmp_path, "received no movies.csv among ratings.csv; expected ratings.csv and movies.csv")
    write_raw(tmp_path, movies__csv=MOVIES)
    refused("movielens", tmp_path, "received times 5 to 5; expected rows before 5, where eval begins")
    (tmp_path / "raw/ratings.csv").unlink()
    refused("movielens", tmp_path, "no ratings.csv or ratings.dat among movies.csv")
    with pytest.raises(ValueError, match="below 1"):
        get_source("movielens", {"eval_share": 0.5, "test_share": 0.5})


@pytest.mark.parametrize("layout", ["csv", "dat"])
def test_generated_files_import_and_transform(tmp_path, layout):
    write_movielens_like(tmp_path / "raw", users=30, films=40, rated=20, layout=layout)
    dataset = imported("movielens", tmp_path)
    assert {split: info.records for split, info in dataset.records["row"].items()} == pytest.approx(
        {"train": 480, "eval": 60, "test": 60}, abs=3
    )
    positives = sum(info.positives for info in dataset.records["row"].values())
    assert 100 < positives < 400
    transform_dataset(tmp_path / "out", dataset, tmp_path / "transformed", dataset.feature_set, "row")
    vocabulary = load_transform(tmp_path / "transformed").vocabulary_by_name("genre")
    assert set(vocabulary) == {b"Action", b"Comedy", b"Drama", b"Sci-Fi", b"War"}


@pytest.mark.real_data
def test_the_real_small_set_imports_whole(tmp_path, data_folder):
    if not (data_folder / "movielens_small").is_dir():
        pytest.skip(f"no movielens_small in {data_folder}")
    (tmp_path / "raw").symlink_to(data_folder / "movielens_small")
    dataset = imported("movielens", tmp_path)
    counted = {split: (info.records, info.positives) for split, info in dataset.records["row"].items()}
    assert counted == {"train": (80_003, 41_576), "eval": (10_001, 5_104), "test": (10_000, 4_888)}
    train, test = records_of(tmp_path / "out", "row", "train"), records_of(tmp_path / "out", "row", "test")
    assert max(row["timestamp"] for row in train) < min(row["timestamp"] for row in test)
    times = [row["timestamp"] for row in train]
    assert times == sorted(times)
    known: dict[bytes, list[bytes]] = {}
    waiting: list[tuple[int, bytes, bytes]] = []
    for row in train:
        while waiting and waiting[0][0] < row["timestamp"]:
            _, user, item = waiting.pop(0)
            known.setdefault(user, []).append(item)
        assert row["history_item_id"].tolist() == known.get(row["user_id"], [])[-50:]
        if row["rating"] >= 4:
            waiting.append((row["timestamp"], row["user_id"], row["item_id"]))
    years = np.array([row["year"] for row in train])
    assert years[years > 0].min() == 1902
    assert (years < 0).mean() < 0.001
