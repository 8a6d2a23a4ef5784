"""Histories, counters and joins as a plain loop over all pairs of rows has them, whatever the parts and their order."""

import random
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from transforms.arrow import pa
from transforms.errors import InputError
from transforms.sources.point_in_time.compute import compute, with_request_times
from transforms.sources.point_in_time.events_before import Events
from transforms.sources.point_in_time.keys import key_codes, key_hashes
from transforms.sources.point_in_time.parts import Part, PartStore
from transforms.sources.point_in_time.plan import Count, History, Join, Stage, stages

Row = dict[str, Any]
# The largest milliseconds do not fit beside a key in 63 bits: times are ranked then.
MOMENT = st.sampled_from([0, 1, 2, 3, 5, 8, 1 << 61])
EVENT = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["a", "b", "", None]),
        "item_id": st.sampled_from(["x", "y", "z"]),
        "timestamp": MOMENT,
        "click": st.sampled_from([True, False, None]),
    }
)
PRICE = st.fixed_dictionaries({"item": st.sampled_from(["x", "y", "w", None]), "timestamp": MOMENT})
TYPES = {"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.int64(), "click": pa.bool_(),
         "_file": pa.int64(), "_row": pa.int64(), "item": pa.string(), "price": pa.int64(),
         "worth": pa.float64(), "tags": pa.list_(pa.string())}  # fmt: skip


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Rows of equal columns as a table."""
    return pa.table({name: pa.array([row[name] for row in rows], TYPES[name]) for name in rows[0]})


def sent(rows: Sequence[Row], per: tuple[str, ...], partitions: int, seed: int) -> list[Part]:
    """What workers of each partition receive, in random chunks and order."""
    order = random.Random(seed)
    shuffled = order.sample(rows, len(rows))
    chunks = [Part(table_of(shuffled[start : start + 3])) for start in range(0, len(rows), 3)]
    parts: list[list[Part]] = [[] for _ in range(partitions)]
    for part in chunks:
        partition = key_hashes(part.rows, per) % np.uint64(partitions)
        for number in range(partitions):
            parts[number].append(Part.from_bytes(part.take(np.flatnonzero(partition == number)).to_bytes()))
    return [Part.joined(order.sample(pieces, len(pieces))) for pieces in parts if pieces]


def placed(rows: list[Row]) -> list[Row]:
    """Rows in two files, each with its place."""
    return [row | {"_file": number % 2, "_row": number // 2} for number, row in enumerate(rows)]


def by_place(part: Part) -> list[Row]:
    return sorted(part.to_table().to_pylist(), key=lambda row: (row["_row"], row["_file"]))


def earlier(rows: list[Row], row: Row, per: str, lag: int = 0, within: int | None = None) -> list[Row]:
    """Clicks of a key strictly before a row, in order."""
    events = [
        other
        for other in rows
        if other["click"]
        and row[per]
        and other[per] == row[per]
        and other["timestamp"] + lag < row["timestamp"]
        and (within is None or other["timestamp"] >= row["timestamp"] - within)
    ]
    return sorted(events, key=lambda other: (other["timestamp"], other["_file"], other["_row"]))


@given(rows=st.lists(EVENT, min_size=1, max_size=25), last=st.integers(1, 3), lag=st.integers(0, 3),
       partitions=st.integers(1, 3), seed=st.integers(0, 9))  # fmt: skip
def test_histories_and_counters_are_those_of_a_plain_loop(rows, last, lag, partitions, seed):
    rows = placed(rows)
    histories = (
        History("items", "item_id", ("user_id",), "click", last),
        History("times", "timestamp", ("user_id",), "click", last),
        History("late", "item_id", ("user_id",), "click", last, lag),
    )
    counters = Count("clicks", ("item_id",), "click", lag), Count("recent", ("item_id",), "click", lag, within=4)
    both = Count("pairs", ("user_id", "item_id"))
    parts = sent(rows, ("user_id",), partitions, seed)
    part = Part.joined(compute(part, Stage(("user_id",), (), histories), {}) for part in parts)
    # On to other keys, with the histories on board.
    for stage in (Stage(("item_id",), (), counters), Stage(both.per, (), (both,))):
        pieces = [part.take(np.arange(len(part))[number::2]) for number in (1, 0)]
        part = compute(Part.joined(Part.from_bytes(piece.to_bytes()) for piece in pieces), stage, {})
    for row, result in zip(rows, by_place(part), strict=True):
        events = earlier(rows, row, "user_id")
        assert result["items"] == [event["item_id"] for event in events][-last:]
        assert result["times"] == [event["timestamp"] for event in events][-last:]
        assert result["late"] == [event["item_id"] for event in earlier(rows, row, "user_id", lag)][-last:]
        assert result["clicks"] == len(earlier(rows, row, "item_id", lag))
        assert result["recent"] == len(earlier(rows, row, "item_id", lag, 4))
        together = [other for other in rows if other["timestamp"] < row["timestamp"] and row["user_id"]
                    and all(other[name] == row[name] for name in both.per)]  # fmt: skip
        assert result["pairs"] == len(together)


@given(rows=st.lists(EVENT, min_size=1, max_size=12), prices=st.lists(PRICE, max_size=12), seed=st.integers(0, 9))
def test_a_timed_table_gives_the_latest_row_strictly_before(rows, prices, seed):
    rows = placed(rows)
    prices = list({(price["item"], price["timestamp"]): price for price in prices}.values())
    prices = [price | {"price": number} for number, price in enumerate(placed(prices))]
    join = Join("prices", ("item_id",), ("price",), ("item",), timed=True)
    tables = {"prices": table_of(random.Random(seed).sample(prices, len(prices)))} if prices else {}
    part = compute(Part.joined(sent(rows, ("item_id",), 1, seed)), Stage(join.per, (join,), ()), tables)
    for row, result in zip(rows, by_place(part), strict=True):
        earlier = [price for price in prices if price["item"] == row["item_id"]]
        earlier = [price for price in earlier if price["timestamp"] < row["timestamp"]]
        latest = max(earlier, key=lambda price: price["timestamp"], default=None)
        assert result["price"] == (latest["price"] if latest else None)


def test_a_table_without_times_has_each_key_once():
    rows = placed([{"item_id": name, "timestamp": 5} for name in ("x", "y", "w", "x")])
    prices = [{"item": name, "price": number, "_file": 0, "_row": 7 - number} for number, name in enumerate("yxv")]
    join = Join("prices", ("item_id",), ("price",), ("item",), place="prices.csv, line {1}".format)
    part = compute(Part(table_of(rows)), Stage(join.per, (join,), ()), {"prices": table_of(prices)})
    assert [row["price"] for row in by_place(part)] == [1, 0, None, 1]
    prices.append({"item": "y", "price": 4, "_file": 0, "_row": 9})
    with pytest.raises(InputError, match="prices.csv, line 9, field item: received y again; expected each item once"):
        compute(Part(table_of(rows)), Stage(join.per, (join,), ()), {"prices": table_of(prices)})


def test_a_row_of_a_table_may_repeat_where_it_says_the_same():
    rows = placed([{"item_id": name, "timestamp": 5} for name in "xy"])
    nan = float("nan")
    values = [("x", 1.0, ["a"]), ("y", nan, []), ("x", 1.0, ["a"]), ("y", nan, [])]
    prices = [{"item": item, "worth": worth, "tags": tags, "_file": 0, "_row": row}
              for row, (item, worth, tags) in enumerate(values)]  # fmt: skip
    join = Join("prices", ("item_id",), ("worth", "tags"), ("item",), may_repeat=True)
    stage = Stage(join.per, (join,), ())
    part = compute(Part(table_of(rows)), stage, {"prices": table_of(prices)})
    assert [row["tags"] for row in by_place(part)] == [["a"], []]
    with pytest.raises(InputError, match="row 4, field item: received x again, with other values"):
        other = prices[0] | {"tags": ["b"], "_row": 4}
        compute(Part(table_of(rows)), stage, {"prices": table_of([*prices, other])})


def test_a_timed_table_has_each_key_once_at_a_time():
    rows = placed([{"item_id": "x", "timestamp": 5}])
    prices = [
        {"item": "x", "timestamp": time, "price": time, "_file": 0, "_row": row} for row, time in enumerate((1, 2))
    ]
    join = Join("prices", ("item_id",), ("price",), ("item",), True, "prices.csv, line {1}".format, "article")
    stage = Stage(join.per, (join,), ())
    assert by_place(compute(Part(table_of(rows)), stage, {"prices": table_of(prices)}))[0]["price"] == 2
    prices.append(prices[0] | {"price": 7, "_row": 9})
    with pytest.raises(
        InputError, match="line 9, field article: received x again; expected each article once at a time"
    ):
        compute(Part(table_of(rows)), stage, {"prices": table_of(prices)})


def test_events_of_one_moment_are_in_order_of_file_and_row_and_know_nothing_of_each_other():
    moments = [(9, 0, 0, "d"), (5, 1, 0, "c"), (5, 0, 7, "b"), (5, 0, 2, "a")]
    names = ("timestamp", "_file", "_row", "item_id")
    rows = [dict(zip(names, moment, strict=True)) | {"user_id": "u"} for moment in moments]
    part = compute(Part(table_of(rows)), Stage(("user_id",), (), (History("items", "item_id", last=2),)), {})
    assert part.to_table()["items"].to_pylist() == [["b", "c"], [], [], []]


@pytest.mark.parametrize("in_files", [True, False])
def test_parts_come_back_from_where_they_wait(tmp_path, in_files):
    rows = placed([{"user_id": name, "timestamp": time} for time, name in enumerate("aabab")])
    part = compute(Part(table_of(rows)), Stage(("user_id",), (), (History("times", "timestamp", last=2),)), {})
    store = PartStore(str(tmp_path) if in_files else None)
    references = list(store.put((number, part.take(np.arange(number, 5))) for number in (3, 0)))
    assert [number for number, _ in references] == [3, 0]
    assert len(list(tmp_path.iterdir())) == int(in_files)
    tails = [store.get(reference).to_table()["times"].to_pylist() for _, reference in references]
    assert tails == [[[0, 1], [2]], [[], [0], [], [0, 1], [2]]]


def test_hashes_are_the_same_everywhere_and_spread_rows_without_a_key():
    rows = {"name": ["a", "b", "a", None, "", None], "number": [1, 2, 1, 4, 5, None]}
    places = {"_file": [0, 0, 1, 1, 1, 1], "_row": [0, 1, 2, 3, 4, 5]}
    table = pa.table({**rows, **places})
    by_name, by_number = key_hashes(table, ("name",)), key_hashes(table, ("number",))
    # As written into datasets: another value would move users to other splits.
    assert [int(value) for value in by_name[:2] >> np.uint64(40)] == [9689267, 681159]
    assert [int(value) for value in by_number[:2] >> np.uint64(40)] == [11441855, 2118810]
    assert by_name[0] == by_name[2]
    assert len(set(by_name[3:].tolist())) == 3
    assert by_number[5] == by_name[5]
    assert key_hashes(table, ("name",), seed=1)[0] != by_name[0]
    assert len(set(key_hashes(table, ()).tolist())) == 6


def test_rows_of_a_request_share_its_first_time_and_are_known_at_their_own():
    names = ("request_id", "user_id", "item_id", "timestamp", "_file", "_row")
    rows = [("r", "a", "x", 10, 0, 0), ("r", "a", "y", 14, 0, 1), ("s", "a", "z", 12, 0, 2), (None, "a", "w", 15, 0, 3),
            ("", "a", "v", 16, 0, 4)]  # fmt: skip
    part = with_request_times(Part(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))))
    part = compute(part, Stage(("user_id",), (), (History("items", "item_id"),)), {})
    result = by_place(part)
    assert [row["timestamp"] for row in result] == [10, 10, 12, 15, 16]
    # Item y of the first request was known only when the second had begun.
    assert [row["items"] for row in result] == [[], [], ["x"], ["x", "z", "y"], ["x", "z", "y", "w"]]


def test_operations_come_after_what_they_read_and_histories_last():
    category = Join("items", ("item_id",), ("category",), ("article",))
    history = History("categories", "category", where="click")
    clicks, age = Count("clicks", ("item_id",), "click"), Join("users", ("user_id",), ("age",), ("customer",))
    assert stages([history, clicks, age, category]) == [
        Stage(("item_id",), (category,), (clicks,)),
        Stage(("user_id",), (age,), (history,)),
    ]
    by_age = Count("by_age", ("item_id", "age"))
    assert [stage.per for stage in stages([by_age, history, category, age])] == [
        ("item_id",), ("user_id",), ("item_id", "age")
    ]  # fmt: skip
    with pytest.raises(ValueError, match="wait for one another"):
        stages([Join("one", ("a",), ("b",)), Join("two", ("b",), ("a",))])


@pytest.mark.parametrize("times", [[3, 5, 5, 9], [0, 1 << 61, 1 << 61, 1 << 62]])
def test_the_time_of_the_last_event_is_found(times):
    events = Events.of(np.array([1, 1, 2, 1]), np.array(times))
    start, stop = events.before(np.array([1, 1, 2, 7]), np.array([times[3], times[0], times[3], times[3]]))
    assert (stop - start).tolist() == [2, 0, 1, 0]
    assert events.time_of_last(stop)[[0, 2]].tolist() == [times[1], times[2]]


def test_a_missing_integer_is_no_key() -> None:
    (codes,) = key_codes([(pa.table({"x": pa.array([-1, 5, -1, 5, 7])}), ("x",))])
    assert codes[0] == codes[2] == -1 and codes[1] == codes[3] >= 0 and codes[4] not in codes[:4]
