"""EB-NeRD's raw files: what is refused, with file, record and field; and the real week."""

from typing import Any

import numpy as np
import pytest

from tests.helpers.ebnerd_files import START, Shown, behaviors_row, made_up, write_raw
from tests.helpers.imported_records import records_of
from transforms.arrow import pa, pq
from transforms.beam.import_dataset import import_dataset
from transforms.errors import InputError
from transforms.sources.ebnerd.schema import Ebnerd, EbnerdOptions

ALL_TEST = EbnerdOptions(list_size=8, splits="all_test")


def raw_rows() -> list[dict[str, Any]]:
    return [behaviors_row(Shown(number, number * 60, 1, (100, 101), (101,))) for number in range(1, 8)]


BAD_VALUES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no time": ({"impression_time": None}, "record 5, field impression_time", "nothing"),
    "before 1970": ({"impression_time": -5_000_000}, "record 5, field impression_time", "-5"),
    "no user": ({"user_id": None}, "record 5, field user_id", "nothing"),
    "no id": ({"impression_id": None}, "record 5, field impression_id", "nothing"),
    "negative reading": ({"read_time": -3.0}, "record 5, field read_time", "-3"),
    "endless reading": ({"read_time": 1e9}, "record 5, field read_time", "1000000000"),
    "negative article": ({"article_ids_inview": [101, -7]}, "record 5, field article_ids_inview", "-7"),
    "empty article": ({"article_ids_inview": [101, None]}, "record 5, field article_ids_inview", "an empty element"),
    "stray click": ({"article_ids_clicked": [999]}, "record 5, field article_ids_clicked", "999"),
    "long list": ({"article_ids_inview": list(range(95, 105))}, "record 5, field article_ids_inview", "10 articles"),
}


@pytest.mark.parametrize("row_group_size", [2, 64])
@pytest.mark.parametrize("case", BAD_VALUES)
def test_an_impossible_value_is_refused_with_record_field_and_value(tmp_path, case, row_group_size):
    values, where, received = BAD_VALUES[case]
    rows = raw_rows()
    rows[4] |= values
    write_raw(tmp_path / "raw", rows, {1: []}, row_group_size)
    with pytest.raises(InputError) as error:
        import_dataset(Ebnerd(ALL_TEST), tmp_path / "raw", tmp_path / "out")
    assert f"behaviors.parquet, {where}" in error.value.where
    assert received in str(error.value.received)
    assert error.value.fix
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_a_history_without_a_time_for_each_article_is_refused(tmp_path):
    write_raw(tmp_path / "raw", raw_rows(), {1: [], 2: [(-50, 90), (-40, 91)]})
    table = pq.read_table(tmp_path / "raw" / "history.parquet")
    times = pa.array([[], [START * 1_000_000]], pa.large_list(pa.timestamp("us")))
    index = table.schema.get_field_index("impression_time_fixed")
    pq.write_table(table.set_column(index, "impression_time_fixed", times), tmp_path / "raw" / "history.parquet")
    with pytest.raises(InputError, match=r"history.parquet, record 2, field impression_time_fixed: received 1"):
        import_dataset(Ebnerd(ALL_TEST), tmp_path / "raw", tmp_path / "out")


def test_an_impression_twice_is_refused(tmp_path):
    rows = raw_rows()
    write_raw(tmp_path / "raw", [*rows, rows[2]], {1: []})
    with pytest.raises(InputError, match="impression_id: received 3 twice"):
        Ebnerd(ALL_TEST).check(tmp_path / "raw")


@pytest.mark.parametrize("name", ["behaviors.parquet", "history.parquet"])
def test_a_file_that_is_missing_or_not_parquet_is_refused(tmp_path, name):
    folder = write_raw(tmp_path / "raw", raw_rows(), {1: []})
    Ebnerd(ALL_TEST).check(folder)
    (folder / name).write_text("not parquet")
    with pytest.raises(InputError, match=rf"{name}: received a file that is not parquet"):
        Ebnerd(ALL_TEST).check(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: received no such file"):
        Ebnerd(ALL_TEST).check(folder)


def test_a_column_that_is_missing_or_of_another_type_is_refused(tmp_path):
    folder = write_raw(tmp_path / "raw", raw_rows(), {1: []})
    table = pq.read_table(folder / "behaviors.parquet")
    pq.write_table(table.drop(["article_ids_clicked"]), folder / "behaviors.parquet")
    with pytest.raises(InputError, match="a column 'article_ids_clicked'"):
        Ebnerd(ALL_TEST).check(folder)
    text = table["user_id"].cast(pa.string())
    pq.write_table(
        table.set_column(table.schema.get_field_index("user_id"), "user_id", text), folder / "behaviors.parquet"
    )
    with pytest.raises(InputError, match="field user_id: received string; expected type integer"):
        Ebnerd(ALL_TEST).check(folder)
    pq.write_table(table.slice(0, 0), folder / "behaviors.parquet")
    with pytest.raises(InputError, match="no records"):
        Ebnerd(ALL_TEST).check(folder)


def test_data_that_covers_too_little_time_for_the_splits_is_refused_before_anything_is_written(tmp_path):
    lists, reads = made_up(lists=30, hours=40)
    folder = write_raw(tmp_path / "raw", [behaviors_row(shown) for shown in lists], reads)
    with pytest.raises(InputError, match=r"hours of data; expected more than test_hours \+ eval_hours = 48"):
        import_dataset(Ebnerd(EbnerdOptions(list_size=24)), folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    options = EbnerdOptions(list_size=24, test_hours=5, eval_hours=5)
    assert set(import_dataset(Ebnerd(options), folder, tmp_path / "out").records["row"]) == {"train", "eval", "test"}


def within_list_auc(rows: list[dict], name: str) -> float:
    """Mean over lists with both classes of the AUC of a column inside the list."""
    lists: dict[bytes, list[tuple[float, float]]] = {}
    for row in rows:
        lists.setdefault(row["request_id"], []).append((row["label"], row[name]))
    aucs = []
    for pairs in lists.values():
        positives = np.array([value for label, value in pairs if label])[:, None]
        negatives = np.array([value for label, value in pairs if not label])[None]
        if positives.size and negatives.size:
            aucs.append(((positives > negatives) + 0.5 * (positives == negatives)).mean())
    return float(np.mean(aucs))


@pytest.mark.real_data
def test_the_real_week_imports_and_its_counters_order_lists_better_than_age(tmp_path, data_folder):
    if not (data_folder / "ebnerd").is_dir():
        pytest.skip(f"no ebnerd in {data_folder}")
    source = Ebnerd(EbnerdOptions(records=("row",)))
    dataset = import_dataset(source, data_folder / "ebnerd", tmp_path / "out")
    splits = dataset.records["row"]
    assert sum(info.records for info in splits.values()) == 278_139
    # 24,888 clicks, some of them on the same article of the same list.
    assert sum(info.positives for info in splits.values()) == 24_829
    test = records_of(tmp_path / "out", "row", "test")
    assert 1 - within_list_auc(test, "article_age_hours") == pytest.approx(0.585, abs=0.02)
    assert within_list_auc(test, "clicks_6h") > 0.70
    assert within_list_auc(test, "ctr_6h") > 0.65
