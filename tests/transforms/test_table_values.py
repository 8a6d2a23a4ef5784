"""Raw values of any type become texts, numbers, times and lists, or are refused where they stand."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from transforms.arrow import pa
from transforms.errors import InputError
from transforms.sources.table import convert
from transforms.sources.table.conditions import parse_condition
from transforms.sources.table.lists import cut, lists
from transforms.sources.table.parts import Label
from transforms.sources.table.times import local_seconds, seconds

NEW_YEAR = 1_767_225_600
"""2026-01-01, UTC."""


def where(row: int) -> str:
    return f"log.csv, line {row + 2}, column x"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", None, ""], ["a", "", ""]),
        ([9007199254740993, None], ["9007199254740993", ""]),
        ([123.0, 1.5, None, float("nan")], ["123", "1.5", "", ""]),
        ([True, False], ["true", "false"]),
        ([Decimal("12.00"), Decimal("1.50")], ["12", "1.50"]),
        ([b"\xc3\xa9", b""], ["é", ""]),
        ([["a"], [], None], ["a", "", ""]),
        ([None, None], ["", ""]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    ],
)
def test_ids_keep_their_digits(values: Any, expected: list[str]) -> None:
    assert convert.texts(_array(values), where).to_pylist() == expected


def _array(values: Any) -> pa.Array:
    return values if isinstance(values, pa.Array | pa.DictionaryArray) else pa.array(values)


def test_numbers_of_text_and_of_numbers_are_the_same() -> None:
    np.testing.assert_array_equal(
        convert.numbers(pa.array(["1.5", " 2e1 ", "", None]), where), [1.5, 20, np.nan, np.nan]
    )
    np.testing.assert_array_equal(convert.numbers(pa.array([3, None]), where), [3, np.nan])
    np.testing.assert_array_equal(convert.integers(pa.array(["3", "4.0", None]), where), [3, 4, -1])
    np.testing.assert_array_equal(convert.integers(pa.array([3.0, None]), where), [3, -1])
    assert convert.truths(pa.array(["Yes", "0", "", "TRUE"]), where).tolist() == [1, 0, -1, 1]


def test_numbers_with_a_decimal_comma() -> None:
    written = pa.array(["26,04", "1.234,56", "-1.234.567", "7", ",5", "1,5e2", "", None])
    expected = [26.04, 1234.56, -1234567, 7, 0.5, 150, np.nan, np.nan]
    np.testing.assert_array_equal(convert.numbers(written, where, ","), expected)
    np.testing.assert_array_equal(convert.integers(pa.array(["1.234", "4,0", None]), where, ","), [1234, 4, -1])
    assert convert.truths(pa.array(["1,0", "0,0", "no"]), where, ",").tolist() == [1, 0, 0]
    at_least = Label(column="x", at_least=3.5)
    assert convert.labels(pa.array(["3,5", "3,4"]), at_least, where, ",").tolist() == [1, 0]
    assert convert.matches(pa.array(["2,5", "2.5", "a"]), (2.5,), where, ",").tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("text", "decimal", "fix"),
    [
        ("26,04", ".", "set csv.decimal to ',' if"),
        ("1.234,56", ".", "set csv.decimal to ',' if"),
        ("26.04", ",", "set csv.decimal to '.' if"),
        ("0.123", ",", "set csv.decimal to '.' if"),
        ("1.23,4", ".", "correct the value, or the declaration"),
        ("12,3x", ".", "correct the value, or the declaration"),
        ("26,04", None, "correct the value, or the declaration"),
    ],
)
def test_a_number_with_the_other_decimal_mark_is_refused(text: str, decimal: Any, fix: str) -> None:
    for read in (convert.numbers, convert.integers):
        with pytest.raises(InputError) as error:
            read(pa.array(["1", text]), where, decimal)
        assert error.value.received == repr(text) and error.value.fix.startswith(fix)


@pytest.mark.parametrize(
    ("label", "values", "expected"),
    [
        (Label(column="x"), ["1", "0", "true"], [1, 0, 1]),
        (Label(column="x"), [0.25, 1], [0.25, 1]),
        (Label(column="x", positive=("click", "buy")), ["view", "buy", "click"], [0, 1, 1]),
        (Label(column="x", positive=(4, 5)), ["4.0", "3", "5"], [1, 0, 1]),
        (Label(column="x", positive=(True,)), ["yes", "no", "1"], [1, 0, 1]),
        (Label(column="x", at_least=4), [4, 3.9], [1, 0]),
        (Label(column="x", above=30), ["30", "31"], [0, 1]),
        (Label(column="x", missing="negative"), [None, "1"], [0, 1]),
        (Label(column="x", at_least=4, missing="negative"), [None, 5.0], [0, 1]),
    ],
)
def test_labels_follow_their_rule(label: Label, values: list[Any], expected: list[float]) -> None:
    assert convert.labels(pa.array(values), label, where).tolist() == expected


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([NEW_YEAR], {}),
        ([NEW_YEAR * 1000], {"unit": "ms"}),
        ([str(NEW_YEAR * 1000)], {"unit": "ms"}),
        ([float(NEW_YEAR)], {}),
        (["2026-01-01"], {}),
        (["2026-01-01T00:00:00Z", "2025-12-31 19:00:00.25-05:00"], {}),
        (["2026-01-01 01:00", "2026-01-01T00:00Z"], {"timezone": "Europe/Berlin"}),
        (["2026-01-01", "20260101T0000", "2026-01-01 00:00 UTC", "2026-01-01T01:00:00,25 +0100"], {}),
        (["1/1/2026 12:00:00 AM"], {"pattern": "%m/%d/%Y %I:%M:%S %p"}),
        (["01.01.2026 01:00"], {"pattern": "%d.%m.%Y %H:%M", "timezone": "Europe/Berlin"}),
        ([date(2026, 1, 1)], {}),
        ([datetime(2026, 1, 1, tzinfo=UTC)], {"timezone": "Europe/Berlin"}),
        ([datetime(2026, 1, 1, 1)], {"timezone": "Europe/Berlin"}),
    ],
)
def test_times_are_seconds_in_utc(values: list[Any], options: dict[str, Any]) -> None:
    assert set(seconds(pa.array(values), where, **options).tolist()) == {NEW_YEAR}


def test_the_hour_that_comes_twice_is_its_first_and_the_missing_one_is_moved_on() -> None:
    autumn, spring = "2025-10-26 02:30", "2025-03-30 02:30"
    times = seconds(pa.array([autumn, spring, None]), where, timezone="Europe/Berlin")
    first, moved = (datetime(2025, 10, 26, 0, 30, tzinfo=UTC), datetime(2025, 3, 30, 1, tzinfo=UTC))
    assert times.tolist() == [int(first.timestamp()), int(moved.timestamp()), -1]
    assert local_seconds(np.array([NEW_YEAR, -1]), "Europe/Berlin").tolist() == [NEW_YEAR + 3600, -1]


def test_the_local_clock_is_utc_plus_the_offset_of_the_moment_as_clients_compute_it() -> None:
    for month, offset in ((1, 1), (7, 2)):
        moment = datetime(2026, month, 1, 12, tzinfo=UTC).astimezone(ZoneInfo("Europe/Vienna"))
        sent = int(moment.timestamp() + (moment.utcoffset() or timedelta()).total_seconds())
        times = np.array([int(moment.timestamp())])
        assert local_seconds(times, "Europe/Vienna").tolist() == [sent]
        assert sent - times[0] == offset * 3600


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([20260101, None], {"pattern": "%Y%m%d"}, [NEW_YEAR, -1]),
        ([20260101.0, np.nan], {"pattern": "%Y%m%d"}, [NEW_YEAR, -1]),
        ([1012026], {"pattern": "%d%m%Y"}, [NEW_YEAR]),
        ([2026010101], {"pattern": "%Y%m%d%H", "timezone": "Europe/Berlin"}, [NEW_YEAR]),
        (["2026-01-01 01:00 CET"], {"pattern": "%Y-%m-%d %H:%M %Z", "timezone": "America/New_York"}, [NEW_YEAR]),
        (["2026-01-01 01:00 +0100"], {"pattern": "%Y-%m-%d %H:%M %z", "timezone": "America/New_York"}, [NEW_YEAR]),
        ([str(NEW_YEAR * 10**9 - 1)], {"unit": "ns"}, [NEW_YEAR - 1]),
        ([f"{NEW_YEAR}.25", f"{NEW_YEAR}"], {}, [NEW_YEAR, NEW_YEAR]),
        (["1.7672256e+09"], {}, [NEW_YEAR]),
    ],
)
def test_times_in_other_writings(values: list[Any], options: dict[str, Any], expected: list[int]) -> None:
    assert seconds(pa.array(values, from_pandas=True), where, **options).tolist() == expected


@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "America/New_York"])
def test_times_far_away_and_around_1970_are_times(zone: str | None) -> None:
    days = [date(9999, 12, 31), date(1, 1, 1), date(1970, 1, 1), None]
    for values in (pa.array(days), pa.array([None if day is None else day.isoformat() for day in days])):
        times = seconds(values, where, timezone=zone, of_event=False)
        shift = {None: 0, "Europe/Berlin": -3600, "America/New_York": 5 * 3600}[zone]
        assert times[0] == 253_402_214_400 + shift and times[2:].tolist() == [shift, -1]
        assert abs(times[1] + 62_135_596_800) < 86_400
        assert local_seconds(times, zone)[[0, 2, 3]].tolist() == [253_402_214_400, 0, -1]
    far = pa.array(["9999-12-31 00:00:00,5", "9999-12-31 00:00 UTC", "9999-12-31T01:00+01:00"])
    assert seconds(far, where, of_event=False).tolist() == [253_402_214_400] * 3
    # -1 is the marker of a missing time.
    eve = pa.array([datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), None])
    assert seconds(eve, where, of_event=False).tolist() == [-2, -1]
    with pytest.raises(InputError, match="received 1969-12-31 23:59:59"):
        seconds(eve, where)


def test_numbers_may_have_a_sign_in_front() -> None:
    assert convert.numbers(pa.array(["+5.5", "+.5", "-5.", "+1e-2"]), where, ".").tolist() == [5.5, 0.5, -5, 0.01]
    assert convert.integers(pa.array(["+5", "-5", "+7.0"]), where).tolist() == [5, -5, 7]
    assert convert.numbers(pa.array(["+5,5"]), where, ",").tolist() == [5.5]


def test_numbers_are_finite_and_ids_keep_their_digits() -> None:
    assert convert.texts(pa.array([2.0**53 - 1, -1.5]), where).to_pylist() == ["9007199254740991", "-1.5"]
    assert convert.texts(pa.array([1.1, 16777215], pa.float32()), where).to_pylist() == ["1.1", "16777215"]
    assert convert.numbers(pa.array([2**60, None]), where).tolist()[0] == 2.0**60
    assert convert.matches(pa.array([np.inf, 1e20]), (np.inf, "x"), where).tolist() == [True, False]
    assert convert.integers(pa.array([2.0**60, None]), where).tolist() == [2**60, -1]


def test_lists_are_lists_delimited_texts_or_json() -> None:
    assert lists(pa.array(["a|b", "", None]), "|", where).to_pylist() == [["a", "b"], [], []]
    assert lists(pa.array(["[1, 2]", ""]), None, where).to_pylist() == [[1, 2], []]
    assert lists(pa.array([[1, 2], None, []]), None, where).to_pylist() == [[1, 2], [], []]
    mixed = pa.array(['[1, "a", true]', "[99999999999999999999]", '[{"b": 1}]'])
    assert lists(mixed, None, where).to_pylist() == [["1", "a", "true"], ["99999999999999999999"], ['{"b": 1}']]
    sliced = pa.array([[1], [2, 3], [4]]).slice(1)
    assert lists(sliced, None, where).to_pylist() == [[2, 3], [4]]


@pytest.mark.parametrize(("last", "expected"), [(True, [2, 3, 4]), (False, [1, 2, 4])])
def test_lists_are_cut_at_either_end(last: bool, expected: list[int]) -> None:
    offsets, values = cut(np.array([0, 3, 3, 4]), pa.array([1, 2, 3, 4]), 2, last)
    assert (offsets.tolist(), values.to_pylist()) == ([0, 2, 2, 3], expected)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("x == 2", [False, True, False]),
        ("x > 1", [False, True, False]),
        ("x >= 1 and x < 2", [True, False, False]),
        ("x != 2", [True, False, True]),
        ("x in [1, 2]", [True, True, False]),
        ("x == ''", [False, False, True]),
        ("x != ''", [True, True, False]),
    ],
)
def test_conditions_compare_texts_of_numbers_as_numbers(condition: str, expected: list[bool]) -> None:
    for values in (pa.array(["1.0", "2", None]), pa.array([1, 2, None])):
        assert convert.holds(parse_condition(condition), {"x": values}.__getitem__, where).tolist() == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (f"x == {2**53 + 1}", [False, True, False]),
        (f"x != {2**53 + 1}", [True, False, True]),
        (f"x in [1, {2**53 + 1}]", [False, True, False]),
    ],
)
def test_whole_numbers_are_compared_to_the_last_digit(condition: str, expected: list[bool]) -> None:
    large = [2**53, 2**53 + 1, None]
    for values in (pa.array(large), pa.array(large, pa.uint64()), pa.array([one and str(one) for one in large])):
        assert convert.holds(parse_condition(condition), {"x": values}.__getitem__, where).tolist() == expected
    above = convert.holds(parse_condition(f"x > {2**53}"), {"x": pa.array(large)}.__getitem__, where)
    assert above.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: convert.numbers(pa.array(["1", "1,5"]), where), "line 3, column x: received '1,5'; expected a number"),
        (lambda: convert.integers(pa.array([1.5]), where), "received 1.5; expected a whole number"),
        (lambda: convert.truths(pa.array(["maybe"]), where), "'maybe'; expected 0 or 1"),
        (lambda: convert.texts(pa.array([["a", "b"]]), where), "2 values; expected one value"),
        (lambda: convert.labels(pa.array(["4"]), Label(column="x"), where), "received '4'; expected 0 or 1"),
        (lambda: convert.labels(pa.array([4]), Label(column="x"), where), "say what is positive"),
        (lambda: convert.labels(pa.array([None, "1"]), Label(column="x"), where), "missing: negative"),
        (lambda: seconds(pa.array([NEW_YEAR * 1000]), where), "it looks like unit: ms"),
        (lambda: seconds(pa.array([NEW_YEAR]), where, "ms"), "it looks like unit: s"),
        (lambda: seconds(pa.array(["01/02/2026"]), where), "give timestamp a format"),
        (lambda: seconds(pa.array(["2026-02-30"]), where), "expected ISO 8601"),
        (
            lambda: seconds(pa.array([20260131]), where),
            "20260131; expected a time from 1990 to 2099, read in unit s. Fix: it looks like format: '%Y%m%d'",
        ),
        (lambda: seconds(pa.array([date(1900, 1, 1)]), where), "received 1900-01-01; expected a time from 1990"),
        (
            lambda: seconds(pa.array(["9"]), where, pattern="%d"),
            "received '9'; expected a time from 1990 to 2099. Fix: correct the value, or the format",
        ),
        (lambda: convert.numbers(pa.array([1, np.inf]), where), "line 3, column x: received inf; expected a finite"),
        (
            lambda: convert.numbers(pa.array(["1", "-1e39"]), where),
            "line 3, column x: received '-1e39'; expected a",
        ),
        (
            lambda: convert.texts(pa.array([1, 2.0**53]), where),
            "received 9007199254740992.0; expected ids of less than",
        ),
        (lambda: convert.texts(pa.array([2**24], pa.float32()), where), "received 16777216.0; expected ids of less"),
        (lambda: convert.integers(pa.array(["1", "9223372036854775808"]), where), "line 3, column x: received '92"),
        (lambda: convert.integers(pa.array([1.0, 1e30]), where), "line 3, column x: received 1e+30; expected a whole"),
        (lambda: convert.numbers(pa.array([date(2026, 1, 1)]), where), "a column of type date32"),
        (lambda: lists(pa.array(["a|b"]), None, where), "give the separator"),
    ],
)
def test_bad_values_are_refused_where_they_stand(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value)
    assert error.value.where.startswith("log.csv, line")
