"""The search over all items against NumPy's."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from models.retrieval.tower_model import ScaledProduct
from serving.retrieval.search import BLOCK, ExactSearch, ItemPlaces, ProductSearch, WholeSearch, top_by_blocks
from serving.retrieval.signatures import Retrieval

SIZES = (1, 5, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, 7 * BLOCK + 3)


def _similarity(scale: float = 1.0, bias: float = 0.0) -> ScaledProduct:
    layer = ScaledProduct()
    layer.build(None)
    layer.set_weights([np.float32(scale), np.float32(bias)])
    return layer


def _padded(scores: np.ndarray) -> tf.Tensor:
    padding = np.repeat(scores[:, -1:], -scores.shape[1] % BLOCK, axis=1)
    return tf.constant(np.concatenate([scores, padding], axis=1), tf.float32)


def _order(scores: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("levels", [1, 3, 50, 10**6])
def test_blocks_give_what_a_sort_gives_the_lower_position_first_among_equals(size: int, levels: int) -> None:
    # All negative, so that padding by zeros would show.
    scores = -1.0 - np.random.default_rng(size).integers(0, levels, [3, size])
    for count in {1, min(10, size), size}:
        found = top_by_blocks(_padded(scores), size, tf.constant(count)).numpy()
        np.testing.assert_array_equal(found, _order(scores, count))


@pytest.mark.parametrize(("scale", "bias"), [(1.0, 0.0), (2.5, -3.0), (-0.5, 1.0), (0.0, 2.0)])
@pytest.mark.parametrize("size", SIZES)
def test_a_product_of_any_scale_is_ranked_as_its_logits(size: int, scale: float, bias: float) -> None:
    random = np.random.default_rng(size)
    # Small integers: every product is exact, so that ties are ties.
    vectors, users = (random.integers(-3, 4, [n, 4]).astype(np.float32) for n in (size, 5))
    search = ProductSearch(vectors, _similarity(scale, bias), scale, bias)
    count = min(size, 20)
    found, logits = search.best(tf.constant(users), tf.constant(count))
    wanted = scale * users @ vectors.T + bias
    np.testing.assert_array_equal(found.numpy(), _order(wanted, count))
    np.testing.assert_array_equal(logits.numpy(), np.take_along_axis(wanted, _order(wanted, count), 1))


@pytest.mark.parametrize("by", ["product", "any similarity"])
def test_for_no_user_there_are_no_rows_of_as_many_columns_as_asked_for(by: str) -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(4, 3)
    search: ExactSearch = WholeSearch(vectors, _similarity())
    if by == "product":
        search = ProductSearch(vectors, _similarity(), 1.0, 0.0)
    for best in (search.best, tf.function(search.best, autograph=False)):
        found, logits = best(tf.zeros([0, 3]), tf.constant(2))
        assert found.shape == logits.shape == (0, 2) and found.dtype == tf.int32


def test_padding_takes_no_block_from_scores_that_are_all_negative() -> None:
    vectors = np.full([5 * BLOCK + 3, 1], -9.0, np.float32)
    # One of the best in each of three blocks, none of which is the padded one.
    best = [7, BLOCK + 1, 3 * BLOCK]
    vectors[best, 0] = [-1.0, -2.0, -3.0]
    found, logits = _product(vectors).best(tf.ones([1, 1]), tf.constant(3))
    assert found.numpy().tolist() == [best] and logits.numpy().tolist() == [[-1.0, -2.0, -3.0]]


def test_a_similarity_that_is_no_product_is_asked_for_every_item() -> None:
    random = np.random.default_rng(2)
    vectors, users = random.normal(size=[90, 2, 3]).astype(np.float32), random.normal(size=[4, 2, 3])

    def heads(outputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        user, item = outputs
        return tf.reduce_sum(tf.reduce_max(tf.einsum("bhw,bmgw->bmhg", user, item), axis=3), axis=2)

    search = WholeSearch(vectors, heads)
    found, logits = search.best(tf.constant(users, tf.float32), tf.constant(7))
    wanted = np.einsum("bhw,mgw->bmhg", users, vectors).max(3).sum(2)
    np.testing.assert_array_equal(found.numpy(), _order(wanted, 7))
    np.testing.assert_allclose(logits.numpy(), -np.sort(-wanted, axis=1)[:, :7], rtol=1e-5)
    assert search.similarity_entry() == {"kind": "model"}


def _retrieval(search: Callable[..., ExactSearch], size: int = 30) -> tuple[Retrieval, np.ndarray, tf.Tensor]:
    vectors = np.random.default_rng(1).normal(size=[size, 4]).astype(np.float32)
    users = np.random.default_rng(2).normal(size=[3, 4]).astype(np.float32)
    ids = np.array([b"i%02d" % number for number in range(size)], object)
    return Retrieval(ids, search(vectors), b""), users @ vectors.T, tf.constant(users)


def _product(vectors: np.ndarray) -> ProductSearch:
    return ProductSearch(vectors, _similarity(), 1.0, 0.0)


def _whole(vectors: np.ndarray) -> WholeSearch:
    return WholeSearch(vectors, _similarity())


@pytest.mark.parametrize("search", [_product, _whole])
def test_those_left_out_do_not_come_and_the_next_best_do(search: Callable[..., ExactSearch]) -> None:
    retrieval, scores, users = _retrieval(search)
    best = _order(scores, 30)
    names = np.array([b"i%02d" % number for number in range(30)], object)
    exclude = names[best[:, [0, 2]]]
    exclude[1] = [b"", b"nobody"]
    answer = retrieval.answer(users, tf.constant(4), tf.constant(exclude.tolist()))
    wanted = [names[best[0, [1, 3, 4, 5]]], names[best[1, :4]], names[best[2, [1, 3, 4, 5]]]]
    assert answer["item_id"].numpy().tolist() == [row.tolist() for row in wanted]
    for row, ids in enumerate(wanted):
        np.testing.assert_allclose(answer["score"][row], [scores[row, int(one[1:])] for one in ids], rtol=1e-5)


def test_one_list_holds_for_all_and_what_is_not_left_is_the_missing_marker() -> None:
    retrieval, scores, users = _retrieval(_product, 5)
    answer = retrieval.answer(users, tf.constant(4), tf.constant([[b"i00", b"i01", b"i02", b"i02"]]))
    for row in range(3):
        left = [b"i03", b"i04"] if scores[row, 3] > scores[row, 4] else [b"i04", b"i03"]
        assert answer["item_id"][row].numpy().tolist() == [*left, b"", b""]
    assert np.isneginf(answer["score"].numpy()[:, 2:]).all() and np.isfinite(answer["score"].numpy()[:, :2]).all()


@pytest.mark.parametrize("k", [0, -1, 31])
def test_a_k_beyond_the_catalogue_is_refused_in_words(k: int) -> None:
    retrieval, _, users = _retrieval(_product)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)k: received.*expected 1 to 30"):
        retrieval.answer(users, tf.constant(k), tf.zeros([1, 0], tf.string))


def test_lists_to_leave_out_that_are_too_few_are_refused_in_words() -> None:
    retrieval, _, users = _retrieval(_product)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)exclude: received.*expected as many as there are"):
        retrieval.answer(users, tf.constant(3), tf.constant([[b"a"], [b"b"]]))


def test_no_user_gets_no_item() -> None:
    retrieval, _, users = _retrieval(_product)
    answer = retrieval.answer(users[:0], tf.constant(4), tf.zeros([1, 0], tf.string))
    assert answer["item_id"].shape == answer["score"].shape == (0, 4)


def test_ids_may_be_numbers() -> None:
    vectors = np.eye(3, dtype=np.float32)
    retrieval = Retrieval(np.array([7, 8, 9]), _product(vectors), -1)
    answer = retrieval.answer(tf.constant([[3.0, 2.0, 1.0]]), tf.constant(3), tf.constant([[8, -1]], tf.int64))
    assert answer["item_id"].numpy().tolist() == [[7, 9, -1]]


@pytest.mark.parametrize("numbers", [False, True])
def test_places_are_those_of_the_ids_and_unknown_ones_have_none(numbers: bool) -> None:
    count = 2000
    drawn = np.random.default_rng(4).permutation(np.arange(-5, count))
    ids = drawn if numbers else np.array([b"%d" % one for one in drawn], object)
    unknown = [-9, count, count + 7] if numbers else [b"", b"x", b"00"]
    kind = tf.int64 if numbers else tf.string
    asked = tf.constant([[*ids[:3].tolist()], unknown, [*ids[[900, 5, 900]].tolist()]], kind)
    found = ItemPlaces(ids).of(asked, tf.constant(ids.tolist(), kind))
    assert found.numpy().tolist() == [[0, 1, 2], [-1, -1, -1], [900, 5, 900]]


def test_two_ids_of_one_fingerprint_are_refused() -> None:
    with pytest.raises(ValueError, match="7 and 7 have one fingerprint"):
        ItemPlaces(np.array([7, 8, 7]))
