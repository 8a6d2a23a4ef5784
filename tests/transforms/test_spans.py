"""A stream of spans: cut from a dataset in the order of time, nothing lost, nothing twice."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.toy_data import learnable_rows, toy_features
from transforms.errors import InputError
from transforms.input import serialized
from transforms.records import load_dataset, verify_shards
from transforms.spans import cut_spans, files_of, spans_in
from transforms.writing import write_dataset


@pytest.fixture
def log(tmp_path: Path) -> Path:
    parts = [learnable_rows("train", 70, 0), learnable_rows("test", 31, 1)]
    # One after the other in time.
    times = np.asarray(parts[1].columns["timestamp"])
    np.add(times, 1_000_000, out=times)
    write_dataset(parts, tmp_path / "log", "toy", toy_features(), {"seed": 0})
    return tmp_path / "log"


def _records(folder: Path) -> list[bytes]:
    files = files_of(folder, load_dataset(folder))
    return [record for batch in serialized(files, 8) for record in batch.numpy()]


def test_spans_hold_each_row_once_in_its_order(log: Path, tmp_path: Path) -> None:
    names = cut_spans(log, tmp_path / "stream", 4)
    assert names == [f"span-0000{number}" for number in range(1, 5)]
    spans = spans_in(tmp_path / "stream")
    assert [path.name for path in spans] == names
    assert [load_dataset(span).records["row"]["train"].records for span in spans] == [25, 25, 25, 26]
    assert [record for span in spans for record in _records(span)] == _records(log)


def test_a_span_is_a_dataset_that_tells_its_times_and_clicks(log: Path, tmp_path: Path) -> None:
    cut_spans(log, tmp_path / "stream", 2)
    whole, spans = load_dataset(log), [load_dataset(span) for span in spans_in(tmp_path / "stream")]
    for span, path in zip(spans, spans_in(tmp_path / "stream"), strict=True):
        verify_shards(path, span)
        assert span.feature_set == whole.feature_set and span.source == "toy"
    infos = [span.records["row"]["train"] for span in spans]
    assert sum(info.positives for info in infos) == sum(info.positives for info in whole.records["row"].values())
    (_, end), (start, _) = infos[0].time_range or (0, 0), infos[1].time_range or (0, 0)
    assert 0 < end <= start


def test_more_spans_go_behind_those_that_are_there(log: Path, tmp_path: Path) -> None:
    cut_spans(log, tmp_path / "stream", 2)
    assert cut_spans(log, tmp_path / "stream", 1) == ["span-00003"]


def test_a_span_that_is_being_written_is_none_yet(log: Path, tmp_path: Path) -> None:
    cut_spans(log, tmp_path / "stream", 1)
    (tmp_path / "stream" / "span-00002").mkdir()
    (tmp_path / "stream" / ".span-00003.1").mkdir()
    assert [path.name for path in spans_in(tmp_path / "stream")] == ["span-00001"]
    assert spans_in(tmp_path / "nowhere") == []


def test_more_spans_than_rows_are_refused_before_anything_is_written(log: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--spans: received 102; expected at most 101"):
        cut_spans(log, tmp_path / "stream", 102)
    assert not (tmp_path / "stream").exists()
