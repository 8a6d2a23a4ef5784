"""Histories by user in parts: as a plain loop has them, and the same whatever the number of parts."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tests.helpers.movielens_like import write_movielens_like
from tests.helpers.raw_imports import imported, rows_of
from transforms.sources import user_rows
from transforms.sources.events_before import MILLISECOND_BITS, SECOND_BITS, Histories
from transforms.sources.user_rows import Types, UserSpread

MOMENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), max_size=30)


@given(events=MOMENTS, rows=MOMENTS, length=st.integers(1, 4), late=st.booleans())
def test_histories_are_those_of_a_plain_loop(events, rows, length, late):
    # The largest times that fit.
    bits, shift = (MILLISECOND_BITS, (1 << MILLISECOND_BITS) - 7) if late else (SECOND_BITS, 0)
    users, times = (np.array([event[field] for event in events], np.int64) for field in (0, 1))
    histories = Histories(users, times + shift, {"number": np.arange(len(events))}, bits)
    asked = [np.array([row[field] for row in rows], np.int64) for field in (0, 1)]
    found = histories.before(asked[0], asked[1] + shift, length)["number"]
    expected = [
        [number for _, number in sorted((t, n) for n, (u, t) in enumerate(events) if u == user and t < time)][-length:]
        for user, time in rows
    ]
    assert [list(part) for part in np.split(np.asarray(found.values), found.offsets[1:-1])] == (expected or [[]])


def test_a_spread_gives_each_users_rows_back_in_one_part_and_removes_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    types: Types = {"user": "int64", "time": "int64", "name": "string"}
    with UserSpread({"row": types, "none": types}, parts=3) as spread:
        for start in (0, 5):
            numbers = np.arange(start, start + 5)
            names = np.char.add(b"n", numbers.astype("S"))
            spread.add("row", {"user": numbers % 4, "time": 100 - numbers, "name": names})
        assert spread.time_range("row") == (91, 100)
        assert spread.time_range("none") is None
        parts = [spread.rows("row", part) for part in range(3)]
        assert [part["user"].tolist() for part in parts] == [[0, 3, 0, 3, 0], [1, 1, 1], [2, 2]]
        assert parts[2]["name"].tolist() == [b"n2", b"n6"]
        assert spread.rows("none", 1)["time"].tolist() == []
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "small", [{"BYTES_PER_PART": 1500}, {"BATCH_ROWS": 7}, {"BYTES_PER_PART": 900, "BATCH_ROWS": 9}]
)
def test_parts_and_pieces_change_no_row(tmp_path, monkeypatch, small):
    write_movielens_like(tmp_path / "raw", users=30, films=40, rated=20)
    imported("movielens", tmp_path)
    whole = rows_of(tmp_path / "out")
    assert [row["timestamp"] for row in whole] == sorted(row["timestamp"] for row in whole)
    (tmp_path / "out").rename(tmp_path / "whole")
    for name, value in small.items():
        monkeypatch.setattr(user_rows, name, value)
    dataset = imported("movielens", tmp_path)
    assert len(dataset.records["row"]["train"].shards) > 5
    parts = rows_of(tmp_path / "out")

    def told(rows):
        return {row["request_id"]: {name: np.asarray(value).tolist() for name, value in row.items()} for row in rows}

    assert told(parts) == told(whole)
    # Shards are in order as far as 32 spans of time are.
    times = np.array([row["timestamp"] for row in parts])
    width = (times.max() - times.min()) / 32
    assert (np.maximum.accumulate(times) - times).max() <= width
