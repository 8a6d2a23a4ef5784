"""Records as a stream: in the order of the files, encoded as Beam's transform encodes them, with their times."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.toy_data import MONDAY, TRAIN, learnable_rows, toy_features, write_toy
from transforms.beam.transform_dataset import load_transform, transform_dataset, transformed_files
from transforms.errors import InputError
from transforms.features import LABEL, TEACHER_HIDDEN, TIMESTAMP, FeatureSet
from transforms.input import parsed, serialized
from transforms.records import Dataset, ShardInfo, SplitInfo, load_dataset, shard_paths
from transforms.stream import RowEncoder, check_order, transformed_stream
from transforms.vocabularies import in_vocabulary_ids, table_sizes
from transforms.writing import write_dataset

Log = tuple[Path, Dataset]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Log:
    folder = tmp_path_factory.mktemp("toy")
    dataset = write_toy(folder / "data")
    transform_dataset(folder / "data", dataset, folder / "out", toy_features(), "row")
    return folder, dataset


def _stream(log: Log, batch_size: int) -> list[dict[str, Any]]:
    folder, dataset = log
    files = shard_paths(folder / "data", dataset, "row", "train")
    return list(transformed_stream(files, batch_size, RowEncoder(load_transform(folder / "out"), toy_features())))


def _dense(values: Any) -> np.ndarray:
    return np.asarray((values.to_tensor(shape=[None, 2]) if isinstance(values, tf.RaggedTensor) else values).numpy())


def test_what_streams_is_what_beam_writes(toy: Log) -> None:
    folder = toy[0]
    spec = load_transform(folder / "out").transformed_feature_spec()
    (written,) = parsed(serialized(transformed_files(folder / "out", "train"), 100), spec)
    (streamed,) = _stream(toy, 100)
    assert set(streamed) == set(written) | {TIMESTAMP}
    # One small bundle goes through Beam in its order.
    for name, values in written.items():
        np.testing.assert_allclose(_dense(streamed[name]), _dense(values), rtol=1e-6, err_msg=name)


def test_records_come_in_the_order_of_the_log_in_batches_of_any_size(toy: Log) -> None:
    batches = _stream(toy, 4)
    assert [len(batch[LABEL]) for batch in batches] == [4, 2]
    times = np.concatenate([batch[TIMESTAMP].numpy() for batch in batches])
    np.testing.assert_array_equal(times, [MONDAY + 3600 * i for i in range(6)])
    np.testing.assert_array_equal(
        np.concatenate([batch[LABEL].numpy() for batch in batches]), np.asarray(TRAIN.columns["label"])
    )


class _Counting:
    """Tells of a row its price and the length of its history, raw."""

    columns = ("price", "history")

    def compute(self, raw: dict[str, Any]) -> dict[str, Any]:
        assert set(self.columns) <= set(raw) and "truth" not in raw
        parts = [raw["price"], tf.cast(raw["history"].row_lengths(), tf.float32)]
        return {TEACHER_HIDDEN: tf.stack(parts, axis=1)}


def test_further_features_are_made_of_raw_columns_that_need_not_be_features(toy: Log) -> None:
    folder, dataset = toy
    files = shard_paths(folder / "data", dataset, "row", "train")
    whole = toy_features()
    used = tuple(one for one in whole.features if one.column not in ("price", "history"))
    fewer = FeatureSet(columns=whole.columns, features=used, vocabularies=whole.vocabularies)
    transform_dataset(folder / "data", dataset, folder / "fewer", fewer, "row", splits=())
    with_all, with_few = (
        list(transformed_stream(files, 4, RowEncoder(load_transform(folder / out), features, more=[_Counting()])))
        for out, features in (("out", whole), ("fewer", fewer))
    )
    expected = [[1.0, 1], [3.0, 0], [np.nan, 3], [5.0, 1], [7.0, 0], [9.0, 1]]
    for batches in (with_all, with_few):
        found = np.concatenate([batch[TEACHER_HIDDEN].numpy() for batch in batches])
        np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert set(with_all[0]) == set(_stream(toy, 4)[0]) | {TEACHER_HIDDEN}
    assert "price" not in with_few[0] and "history" not in with_few[0]


def test_shards_come_one_after_the_other(tmp_path: Path) -> None:
    log = [learnable_rows("train", 60, seed) for seed in range(3)]
    for number, rows in enumerate(log):
        np.add(np.asarray(rows.columns[TIMESTAMP]), number * 10_000, out=np.asarray(rows.columns[TIMESTAMP]))
    write_dataset([*log, learnable_rows("eval", 5, 9)], tmp_path / "data", "toy", toy_features(), {"seed": 0})
    dataset = load_dataset(tmp_path / "data")
    assert len(dataset.records["row"]["train"].shards) == 3
    check_order("here", dataset.records["row"]["train"])
    transform_dataset(tmp_path / "data", dataset, tmp_path / "out", toy_features(), "row", splits=())
    times = np.concatenate([batch[TIMESTAMP].numpy() for batch in _stream((tmp_path, dataset), 32)])
    assert len(times) == 180 and (np.diff(times) >= 0).all()


def _shard(first: int | None, last: int | None) -> ShardInfo:
    return ShardInfo(
        path=f"row/train/{first}", records=1, examples=1, positives=0, sha256="0", first_timestamp=first,
        last_timestamp=last,
    )  # fmt: skip


def test_shards_that_overlap_in_time_are_refused_with_both_times() -> None:
    check_order("here", SplitInfo(shards=(_shard(1, 5), _shard(None, None), _shard(5, 9))))
    with pytest.raises(InputError, match=r"here, row/train/4: received a first timestamp of 4; expected 5 or later"):
        check_order("here", SplitInfo(shards=(_shard(1, 5), _shard(None, None), _shard(4, 9))))


def test_out_of_vocabulary_buckets_are_no_things_of_their_own(toy: Log) -> None:
    sizes = table_sizes(toy_features(), load_transform(toy[0] / "out"))
    # a and b are known (two buckets for the others); all seven hash buckets count, and 0 beside.
    assert sizes["items"] == 1 + 2 + 2 and sizes["hashed"] == 1 + 7
    found = in_vocabulary_ids(toy_features(), sizes)
    assert found["items"] == 1 + 2 and found["hashed"] == 8 and set(found) == set(sizes)
