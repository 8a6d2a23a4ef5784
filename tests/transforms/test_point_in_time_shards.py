"""From tables to shards on Beam: the same dataset whatever the workers, partitions and chunks; splits and shards."""

import dataclasses
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest

from tests.helpers.imported_records import records_of
from transforms.arrow import pa
from transforms.beam.import_dataset import import_dataset
from transforms.errors import InputError
from transforms.features import SPLITS, Column, Encoding, Feature, FeatureSet
from transforms.records import Dataset
from transforms.sources.base import Source
from transforms.sources.point_in_time import splits
from transforms.sources.point_in_time.batches_of import BatchesOf
from transforms.sources.point_in_time.plan import Count, History, Join, Plan, Requests
from transforms.sources.point_in_time.splits import ByColumn, ByHash, ByTime, Layout, TimeCounts, time_shares
from transforms.sources.point_in_time.transform import PointInTime

FEATURES = FeatureSet(
    columns=(
        Column(name="history", dtype="string", entity="user", variable_length=True, max_length=3),
        Column(name="colors", dtype="string", entity="user", variable_length=True, max_length=3),
        Column(name="clicks", dtype="int64", entity="item"),
        Column(name="color", dtype="string", entity="item"),
        Column(name="tags", dtype="string", entity="item", width=2),
    ),
    features=(Feature(name="item_id", encoding=Encoding.ID),),
    list_size=4,
)
PLAN = Plan(
    operations=(
        History("history", "item_id", where="click", last=3),
        History("colors", "color", where="click", last=3),
        Count("clicks", ("item_id",), "click"),
        Join("items", ("item_id",), ("color", "tags")),
    ),
    split=time_shares((0.6, 0.2, 0.2), "the log", "give more rows"),
    finish=BatchesOf(FEATURES),
    partitions=2,
    shard_rows=40,
)


def log_table(rows: int) -> pa.Table:
    """A log out of order, with ties; every tenth row is no record, every third one begins a request."""
    draw, numbers = np.random.default_rng(5), np.arange(rows)
    return pa.table(
        {
            "request_id": np.char.add("r", (numbers // 3).astype(str)),
            "user_id": np.char.add("u", draw.integers(0, 9, rows)[numbers // 3].astype(str)),
            "item_id": np.char.add("i", draw.integers(0, 5, rows).astype(str)),
            "timestamp": 1_000 + draw.integers(0, rows, rows),
            "label": draw.integers(0, 2, rows).astype(np.float32),
            "exposed": numbers % 3 < 2,
            "click": draw.integers(0, 2, rows).astype(bool),
            "day": np.array(SPLITS)[numbers // 3 % 5 % 3],
            "_file": np.zeros(rows, np.int64),
            "_row": numbers,
            "_record": numbers % 10 > 0,
        }
    )


ITEMS = pa.table(
    {
        "item_id": ["i0", "i1", "i2", "i3"],
        "color": ["red", None, "green", "blue"],
        "tags": [["a", "b"], ["c"], None, []],
        "_file": pa.array([0, 0, 0, 0], pa.int64()),
        "_row": pa.array([0, 1, 2, 3], pa.int64()),
    }
)


class Log(Source):
    """A log in memory, cut into chunks."""

    name, summary, licence, where, records = "log", "a log", "ours", "here", ("row", "request")

    def __init__(self, plan: Plan = PLAN, rows: int = 400, chunk: int = 30, items: pa.Table | InputError = ITEMS):
        super().__init__()
        self.plan, self.table, self.chunk, self.items = plan, log_table(rows), chunk, items
        self.features = FEATURES

    def feature_set(self) -> FeatureSet:
        return self.features

    def check(self, input_dir: Any) -> None:
        """Nothing to look at."""

    def read(self, input_dir: Any) -> beam.PTransform:
        return _Read(self)


class _Read(beam.PTransform):
    def __init__(self, log: Log):
        super().__init__()
        self.log = log

    def expand(self, root: beam.Pipeline) -> Any:
        chunks = [
            self.log.table.slice(start, self.log.chunk) for start in range(0, len(self.log.table), self.log.chunk)
        ]
        tables = root | "Log" >> beam.Create(chunks) | beam.Reshuffle()
        return {"log": tables, "items": root | "Items" >> beam.Create([self.log.items])} | PointInTime(self.log.plan)


def imported(out: Path, *beam_args: str, **options: Any) -> Dataset:
    return import_dataset(Log(**options), "nowhere", out, ("--runner=FnApiRunner", *beam_args))


def rows_of(out: Path, record: Any = "row") -> list[dict[str, Any]]:
    return [row for split in SPLITS for row in records_of(out, record, split)]


def test_records_are_those_of_a_plain_loop_in_shards_that_do_not_overlap(tmp_path):
    dataset = imported(tmp_path / "out")
    events, colors = log_table(400).to_pylist(), {row["item_id"]: row["color"] for row in ITEMS.to_pylist()}
    records = sorted(
        (row for row in events if row["_record"] and row["exposed"]), key=lambda row: (row["timestamp"], row["_row"])
    )
    rows = rows_of(tmp_path / "out")
    assert len(rows) == len(records) == 240
    for row, record in zip(rows, records, strict=True):
        assert (row["user_id"].decode(), row["item_id"].decode()) == (record["user_id"], record["item_id"])
        clicks = [event for event in events if event["click"] and event["timestamp"] < record["timestamp"]]
        clicks.sort(key=lambda event: (event["timestamp"], event["_row"]))
        mine = [event["item_id"] for event in clicks if event["user_id"] == record["user_id"]][-3:]
        assert [item.decode() for item in row["history"]] == mine
        assert [color.decode() for color in row["colors"]] == [colors.get(item) or "" for item in mine]
        assert row["clicks"] == sum(event["item_id"] == record["item_id"] for event in clicks)
        assert row["color"].decode() == (colors.get(record["item_id"]) or "")
    assert {tuple(row["tags"]) for row in rows if row["item_id"] in (b"i0", b"i1")} == {(b"a", b"b"), (b"c", b"")}
    shards = [shard for split in SPLITS for shard in dataset.records["row"][split].shards]
    spans = np.array([[shard.first_timestamp, shard.last_timestamp] for shard in shards])
    assert (np.diff(spans.ravel())[1::2] > 0).all()
    assert len(shards) in range(9, 13)
    assert all(shard.records < 40 for shard in shards)
    counts = [dataset.records["row"][split].records for split in SPLITS]
    assert counts == pytest.approx([144, 48, 48], abs=12)


def test_runners_workers_partitions_and_chunks_change_nothing(tmp_path):
    first = imported(tmp_path / "first")
    plan = dataclasses.replace(PLAN, partitions=3)
    second = imported(
        tmp_path / "second", "--direct_num_workers=2", "--direct_running_mode=multi_threading", plan=plan, chunk=77
    )
    assert first.sha256 == second.sha256
    (tmp_path / "parts").mkdir()
    plan = dataclasses.replace(PLAN, partitions=1)
    runner, folder = "--runner=BundleBasedDirectRunner", f"--parts_folder={tmp_path / 'parts'}"
    third = imported(tmp_path / "third", runner, folder, plan=plan)
    assert third.sha256 == first.sha256
    assert list((tmp_path / "parts").iterdir())
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["dataset.json", "row"]


@pytest.mark.parametrize("rule", [ByHash(("user_id",), (0.5, 0.25, 0.25), 3), ByColumn("day")])
def test_other_splits_part_users_or_requests_and_have_shards_of_their_own(tmp_path, rule):
    finish = BatchesOf(FEATURES, ("row", "request"))
    plan = dataclasses.replace(PLAN, split=rule, finish=finish, requests=Requests())
    dataset = imported(tmp_path / "out", plan=plan)
    rows = [{**row, "split": split} for split in SPLITS for row in records_of(tmp_path / "out", "row", split)]
    key = rule.per[0] if isinstance(rule, ByHash) else "request_id"
    pairs = {(row[key], row["split"]) for row in rows}
    assert len(pairs) == len({name for name, _ in pairs}) >= 9
    counts = [dataset.records["row"][split].records for split in SPLITS]
    assert min(counts) > 10
    for split in SPLITS:
        requests = [
            (request["timestamp"], request["request_id"]) for request in records_of(tmp_path / "out", "request", split)
        ]
        times = [time for time, _ in requests]
        assert times == sorted(times)
        assert len(set(requests)) == len(requests)
    log = log_table(400).to_pylist()
    first = {event["request_id"]: event["timestamp"] for event in sorted(log, key=lambda one: -one["timestamp"])}
    for request in rows_of(tmp_path / "out", "request"):
        events = [event for event in log if event["request_id"] == request["request_id"].decode() and event["_record"]]
        assert request["timestamp"] == first[events[0]["request_id"]]
        size = len(events)
        assert [item.decode() for item in request["item_id"]] == [e["item_id"] for e in events] + [""] * (4 - size)
        assert request["candidate"].tolist() == [1] * size + [0] * (4 - size)
        assert request["exposed"].tolist() == [int(e["exposed"]) for e in events] + [0] * (4 - size)
        assert request["label"].tolist() == [e["label"] for e in events] + [0] * (4 - size)
        assert request["tags"].shape == (4, 2)


def test_a_log_of_which_nothing_is_computed_is_cut_too(tmp_path):
    columns = tuple(column for column in FEATURES.columns if column.name == "none")
    finish = BatchesOf(FEATURES.model_copy(update={"columns": columns}))
    log = Log(dataclasses.replace(PLAN, operations=(), finish=finish), rows=90)
    log.features = finish.feature_set
    import_dataset(log, "nowhere", tmp_path / "out")
    assert len(rows_of(tmp_path / "out")) == 54


def test_errors_of_readers_of_tables_and_of_splits_reach_the_user(tmp_path):
    error = InputError("items.csv, line 3", "'x'", "a number", "repair the line")
    with pytest.raises(InputError, match="items.csv, line 3: received 'x'"):
        imported(tmp_path / "out", items=error)
    twice = pa.concat_tables([ITEMS, ITEMS.slice(1, 1).set_column(4, "_row", pa.array([9], pa.int64()))])
    with pytest.raises(InputError, match="row 9, field item_id: received i1 again"):
        imported(tmp_path / "out", items=twice)


def test_empty_splits_and_too_large_requests_are_refused():
    counts = TimeCounts.of(np.array([5, 5, 7]))
    assert counts is not None
    with pytest.raises(InputError, match="times 5 to 7; expected rows before 5, where eval begins"):
        Layout.of({0: counts}, time_shares((0.2, 0.4, 0.4), "log", "fix"), 10)
    rows = log_table(6).append_column("_request", pa.array([0, 0, 0, 1, 1, 1]))
    finish = BatchesOf(FeatureSet(features=(), list_size=2), ("request",))
    with pytest.raises(InputError, match="request 'r0': received 3 candidates; expected at most 2"):
        list(finish(rows, "train"))


def test_times_are_counted_the_same_in_any_order_and_in_the_narrowest_buckets_that_fit(monkeypatch):
    monkeypatch.setattr(splits, "MOST_MOMENTS", 16)
    times = np.random.default_rng(0).integers(0, 100, 300)
    whole = TimeCounts.of(times)
    assert whole is not None
    pieces = [part for piece in np.array_split(times, 60) if (part := TimeCounts.of(piece))]
    for order in (pieces, pieces[::-1]):
        joined = order[0]
        for part in order[1:]:
            joined = TimeCounts.joined([joined, part])
        assert (joined.bits, joined.first, joined.last) == (3, times.min(), times.max())
        assert joined.moments.tolist() == np.unique(times >> 3).tolist()
        assert joined.counts.tolist() == np.unique(times >> 3, return_counts=True)[1].tolist()
    assert whole.at_share(0.5) == np.sort(times)[150] >> 3 << 3
    assert whole.at_share(1) == times.max() + 1


def test_a_moment_too_large_for_a_shard_is_spread_over_pieces():
    counts = TimeCounts.of(np.repeat([1, 2, 3, 4], [30, 250, 60, 50]))
    assert counts is not None
    layout = Layout.of({0: counts}, ByTime(lambda times: (3, 4)), 100)
    assert (layout.first.tolist(), layout.pieces.tolist(), layout.splits.tolist()) == (
        [1, 2, 3, 4],
        [1, 3, 1, 1],
        [0, 0, 1, 2],
    )
    times = np.array([1, 2, 2, 2, 3, 4])
    assert layout.pieces_of(times, None, np.array([7, 0, 1, 5, 9, 9], np.uint64)).tolist() == [0, 1, 2, 3, 4, 5]
    assert [layout.split_and_name(piece) for piece in (0, 3, 5)] == [
        (0, "000000-0000"),
        (0, "000001-0002"),
        (2, "000003-0000"),
    ]
