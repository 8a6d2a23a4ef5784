import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transforms.arrow import pa
from transforms.beam.vocabulary import CountTokens, ordered_tokens
from transforms.features import Vocabulary


def tokens(*names: bytes) -> np.ndarray:
    return np.array(names, dtype=object)


def table(**counts: int) -> pa.Table:
    names = [name.encode() for name in counts]
    return pa.table({"token": pa.array(names, pa.binary()), "count": list(counts.values())})


def as_dict(counted: pa.Table) -> dict[bytes, int]:
    return dict(zip(counted["token"].to_pylist(), counted["count"].to_pylist(), strict=True))


@given(st.lists(st.lists(st.sampled_from([b"a", b"b", b"c", b"\xff"]), max_size=6), max_size=6), st.integers(0, 5))
def test_counts_are_those_of_counting_one_by_one_however_batches_are_merged(batches, cut):
    combine = CountTokens()
    halves = []
    for part in (batches[:cut], batches[cut:]):
        accumulator = combine.create_accumulator()
        for batch in part:
            accumulator = combine.add_input(accumulator, tokens(*batch))
        halves.append(combine.compact(accumulator))
    counted = as_dict(combine.extract_output(combine.merge_accumulators(halves)))
    flat = [token for batch in batches for token in batch]
    assert counted == {token: flat.count(token) for token in set(flat)}


def test_the_most_frequent_come_first_and_equal_counts_by_token():
    assert ordered_tokens(table(b=2, a=2, c=5), Vocabulary(name="s")) == [b"c", b"a", b"b"]


def test_the_threshold_is_the_smallest_count_that_stays():
    assert ordered_tokens(table(a=3, b=2, c=1), Vocabulary(name="s", frequency_threshold=2)) == [b"a", b"b"]


def test_top_k_keeps_so_many():
    assert ordered_tokens(table(a=3, b=2, c=1), Vocabulary(name="s", top_k=2)) == [b"a", b"b"]


def test_tokens_with_line_breaks_cannot_stand_in_the_file():
    counted = pa.table({"token": pa.array([b"a\nb", b"c\r", b"d"], pa.binary()), "count": [9, 9, 1]})
    assert ordered_tokens(counted, Vocabulary(name="s")) == [b"d"]


def test_no_tokens_at_all():
    combine = CountTokens()
    counted = combine.extract_output(combine.add_input(combine.create_accumulator(), tokens()))
    assert ordered_tokens(counted, Vocabulary(name="s")) == []
