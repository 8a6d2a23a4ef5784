import pytest
import tensorflow as tf

from transforms import input as transforms_input
from transforms.input import count_examples, expand_patterns, first_examples, labeled, parsed, serialized

SPEC = {"x": tf.io.FixedLenFeature([], tf.int64)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three files of ten examples each: x = 0 .. 29."""
    folder = tmp_path_factory.mktemp("input")
    for part in range(3):
        for suffix, options in (("tfrecord", None), ("gz", "GZIP")):
            with tf.io.TFRecordWriter(str(folder / f"{part}.{suffix}"), options) as writer:
                for x in range(part * 10, part * 10 + 10):
                    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[x]))
                    example = tf.train.Example(features=tf.train.Features(feature={"x": feature}))
                    writer.write(example.SerializeToString())
    return folder


def values(files, suffix="tfrecord", **options):
    batches = serialized(expand_patterns([f"{files}/*.{suffix}"]), 4, **options)
    return [batch["x"].numpy().tolist() for batch in parsed(batches, SPEC)]


def flat(batches):
    return [value for batch in batches for value in batch]


def test_without_shuffling_files_and_records_keep_their_order(files):
    assert flat(values(files)) == list(range(30))
    assert [len(batch) for batch in values(files)] == [4] * 7 + [2]


def test_gzip_files_read_the_same(files):
    assert values(files, "gz") == values(files)


def test_equal_seeds_give_equal_orders_and_every_example_once(files):
    first, again, other = (values(files, shuffle_buffer=30, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(flat(first)) == list(range(30)) and flat(first) != list(range(30))


def test_a_shuffled_dataset_has_the_same_order_however_often_it_is_read(files):
    paths = [f"{files}/{number}.tfrecord" for number in range(3)]
    batches = serialized(paths, 4, shuffle_buffer=30, seed=1)
    first, again = ([batch.numpy().tolist() for batch in batches] for _ in range(2))
    assert first == again


def test_a_short_last_batch_can_be_left_out(files):
    assert {len(batch) for batch in values(files, drop_remainder=True)} == {4}


def test_columns_can_be_changed_while_parsing(files):
    batches = parsed(serialized([f"{files}/0.tfrecord"], 10), SPEC, lambda columns: columns["x"] * 2)
    assert next(iter(batches)).numpy().tolist() == list(range(0, 20, 2))


def test_first_examples(files):
    assert len(first_examples([f"{files}/0.tfrecord"], 3)) == 3
    assert len(first_examples([f"{files}/0.tfrecord"], 99)) == 10


@pytest.mark.parametrize("block", [8, 13, 64, 8 << 20])
def test_records_are_counted_wherever_a_block_of_the_file_ends(tmp_path, monkeypatch, block):
    monkeypatch.setattr(transforms_input, "_READ_BUFFER_BYTES", block)
    lengths: tuple[list[int], ...] = ([0, 1, 7, 100, 3, 40], [], [5])
    files = [str(tmp_path / f"{number}.tfrecord") for number in range(len(lengths))]
    for file, own in zip(files, lengths, strict=True):
        with tf.io.TFRecordWriter(file) as writer:
            for length in own:
                writer.write(b"x" * length)
    assert count_examples(files) == 7


def test_rows_have_weights_if_the_source_has_them():
    columns = {"x": tf.constant([7, 8]), "label": tf.constant([1.0, 0.0]), "weight": tf.constant([0.5, 2.0])}
    features, label, weight = labeled(columns, "row")
    assert label.numpy().tolist() == [1, 0] and weight.numpy().tolist() == [0.5, 2]
    assert set(features) == {"x", "weight"}
    assert len(labeled({name: columns[name] for name in ("x", "label")}, "row")) == 2


def test_weights_of_requests_are_those_of_what_was_shown_and_the_mask_stays():
    columns = {
        "label": tf.constant([[1.0, 0.0, 0.0]]),
        "candidate": tf.constant([[1, 1, 0]]),
        "exposed": tf.constant([[1, 0, 0]]),
    }
    features, _, weight = labeled(columns, "request")
    assert set(features) == {"candidate"} and weight.numpy().tolist() == [[1, 0, 0]]
    features, _, weight = labeled({**columns, "weight": tf.constant([[0.5, 3.0, 9.0]])}, "request")
    assert set(features) == {"candidate", "exposed", "weight"} and weight.numpy().tolist() == [[0.5, 0, 0]]
