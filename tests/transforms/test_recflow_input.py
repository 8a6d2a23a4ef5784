"""Wrong RecFlow files are refused with file, row, field and the fix, and leave nothing behind."""

import os
import pickle

import numpy as np
import pytest

from tests.helpers.recflow_files import DAY, history, moment, raw_row, write_day, write_days
from tests.helpers.recflow_like import write_pickle
from transforms.arrow import feather, pa
from transforms.beam.import_dataset import import_dataset
from transforms.errors import InputError
from transforms.sources.recflow import read as recflow_read
from transforms.sources.recflow.schema import Recflow, RecflowOptions

FEATHER, PICKLE = f"all_stage/{DAY}.feather", f"seq_effective_50_dict/{DAY}.pkl"


def refused(root, message, **options):
    source = Recflow(RecflowOptions(**({"splits": "files"} | options)))
    with pytest.raises(InputError, match=message):
        import_dataset(source, root / "raw", root / "out")
    assert sorted(os.listdir(root)) == ["raw"], "something was left behind"


def rewritten(path, change):
    feather.write_feather(change(feather.read_table(path)), str(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_id": -1}, rf"{FEATHER}, row 2, field video_id: received -1; expected a number of 0 or more"),
        ({"realshow": 2}, rf"{FEATHER}, row 2, field realshow: received 2; expected 0 or 1"),
        ({"prerank_neg": -1}, "row 2, field prerank_neg: received -1"),
        ({"effective_view": 7}, "row 2, field effective_view: received 7; expected 0 or 1"),
        ({"realshow": 0}, "row 2, field realshow/rerank_pos/.*/prerank_neg: received 0; expected 1 in at least one"),
        ({"gender": -2}, "row 2, field gender: received -2; expected a number of 0 or more, or -1"),
        ({"request_timestamp": moment(DAY, "12:00") // 1000}, "field request_timestamp.*expected milliseconds within"),
        ({"user_id": 3}, r"request 7: received user_id [37] and [37]; expected one user_id a request"),
        ({"request_timestamp": moment(DAY, "12:01")}, "request 7: received request_timestamp .*; expected one"),
    ],
)
def test_an_impossible_value_is_named(tmp_path, changes, message):
    write_days(tmp_path / "raw", [raw_row(7, 1, "realshow"), raw_row(7, 2, "realshow", **changes)])
    refused(tmp_path, message)


def test_a_request_at_two_times_is_refused_even_where_its_rows_are_read_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(recflow_read.ReadDay.__init__, "__defaults__", (1,))
    write_days(tmp_path / "raw", [raw_row(7, 1, "realshow"), raw_row(7, 2, "rank_neg", clock="01:00")])
    refused(tmp_path, "request 7: received two values of request_timestamp")


def test_more_shown_items_than_the_list_holds_are_refused_with_the_size_that_would_do(tmp_path):
    write_days(tmp_path / "raw", [raw_row(7, video, "realshow") for video in range(5)])
    refused(tmp_path, "request 7: received 5 shown items; .*list_size = 4.*choose list_size=5 or more", list_size=4)


def test_ids_beyond_their_counts_are_refused(tmp_path):
    write_days(tmp_path / "raw", [raw_row(7, 30, "realshow"), raw_row(7, 31, "rank_neg")])
    write_pickle(tmp_path / "raw/others/id_cnt.pkl", {"photo_id": 30, "user_id": np.int64(10)})
    refused(tmp_path, "row 2, field video_id: received 31; expected an id of at most 30, as others/id_cnt.pkl says")
    write_pickle(tmp_path / "raw/others/id_cnt.pkl", [1, 2])
    refused(tmp_path, "id_cnt.pkl: received list; expected a dict of integers")


def test_a_missing_column_a_wrong_type_and_a_missing_value_are_refused(tmp_path):
    write_days(tmp_path / "raw", [raw_row(7, 1, "realshow"), raw_row(7, 2, "realshow")])
    path = tmp_path / "raw" / FEATHER
    whole = feather.read_table(path)
    index = whole.schema.get_field_index("duration")
    feather.write_feather(whole.remove_column(index), str(path))
    refused(tmp_path, f"{FEATHER}: received columns request_id, .*; expected a column 'duration'")
    feather.write_feather(whole.set_column(index, "duration", pa.array([1.0, None])), str(path))
    refused(tmp_path, f"{FEATHER}, field duration: received double; expected an integer type")
    feather.write_feather(whole.set_column(index, "duration", pa.array([1, None])), str(path))
    refused(tmp_path, f"{FEATHER}, row 2, field duration: received nothing; expected a value")
    feather.write_feather(whole.slice(0, 0), str(path))
    refused(tmp_path, f"{FEATHER}: received no rows")


def test_files_that_are_missing_or_no_feather_are_refused(tmp_path):
    write_days(tmp_path / "raw", [raw_row(7, 1, "realshow")])
    path = tmp_path / "raw" / FEATHER
    content = path.read_bytes()
    path.write_bytes(b"request_id,video_id\n1,2\n" * 9)
    refused(tmp_path, f"{FEATHER}: received a file that is not feather")
    path.write_bytes(content[: len(content) // 2])
    refused(tmp_path, f"{FEATHER}: received a file that is not feather")
    path.write_bytes(content)
    (tmp_path / "raw" / PICKLE).unlink()
    refused(tmp_path, f"{PICKLE}: received no such file")


def test_days_that_are_missing_or_no_days_are_refused(tmp_path):
    write_days(tmp_path / "raw", [raw_row(7, 1, "realshow")])
    refused(tmp_path, "received 34 of 37 days missing, the first 2024-01-13.*choose splits=files", splits="full")
    refused(tmp_path, "received 20 of 23 days missing", splits="first_period")
    (tmp_path / "raw" / FEATHER).rename(tmp_path / "raw/all_stage/monday.feather")
    refused(tmp_path, "received a file 'monday'; expected files named after days")
    (tmp_path / "raw/all_stage/monday.feather").unlink()
    refused(tmp_path, "received 2 days; expected 3 or more")
    os.rename(tmp_path / "raw/all_stage", tmp_path / "raw/other")
    refused(tmp_path, "all_stage: received no such directory")


class Runs:
    def __init__(self, mark):
        self._mark = mark

    def __reduce__(self):
        return os.mkdir, (self._mark,)


def test_histories_that_name_a_function_are_refused_and_it_does_not_run(tmp_path):
    write_days(tmp_path / "raw", [raw_row(7, 1, "realshow")])
    (tmp_path / "raw" / PICKLE).write_bytes(pickle.dumps({7: Runs(str(tmp_path / "mark"))}))
    refused(tmp_path, f"{PICKLE}: received a pickle that names posix.mkdir")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((50, 10), int), "received ndarray; expected a dict of integer arrays"),
        ({7: [1, 2]}, "request 7: received list; expected integer arrays"),
        ({7: history().astype(float)}, r"request 7: received an array of type float64 and shape \(50, 10\)"),
        ({7: history()[:, :9]}, r"request 7: received an array of type int64 and shape \(50, 9\)"),
        ({7: history(rows=51)}, "request 7: received 51 rows; expected integer arrays of at most 50 rows"),
        ({8: history()}, "received no entry for any of 1 requests; expected histories of the requests of its day"),
    ],
)
def test_histories_of_another_form_or_day_are_refused(tmp_path, content, message):
    write_days(tmp_path / "raw", [raw_row(7, 1, "realshow")])
    write_pickle(tmp_path / "raw" / PICKLE, content)
    refused(tmp_path, message)


def test_a_request_without_an_entry_has_no_history(tmp_path):
    write_days(tmp_path / "raw", [raw_row(7, 1, "realshow")])
    write_day(tmp_path / "raw", DAY, [raw_row(7, 1, "realshow"), raw_row(8, 1, "rank_neg")])
    write_pickle(tmp_path / "raw" / PICKLE, {7: history((5, 1))})
    dataset = import_dataset(Recflow(RecflowOptions(splits="files")), tmp_path / "raw", tmp_path / "out")
    assert dataset.records["request"]["train"].records == 2
    # A request of which nothing was shown has a record and no rows.
    assert dataset.records["row"]["train"].records == 1


def test_damaged_rows_are_refused(tmp_path):
    write_days(tmp_path / "raw", [raw_row(7, video, "realshow") for video in range(100)])
    path = tmp_path / "raw" / FEATHER
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 3, len(content) // 3 + 400)
    content[middle] = b"\xff" * 400
    path.write_bytes(bytes(content))
    refused(tmp_path, "damaged rows|row .* field")
