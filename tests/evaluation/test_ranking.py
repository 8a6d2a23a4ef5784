"""Recall and NDCG at k over all candidates of a request."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from evaluation.ranking import RankingDefinition, RequestRanking

# Request 0: clicks at ranks 0 and 2; request 1: one click at rank 1, its last candidate is padding.
_SCORE = np.array([[0.9, 0.1, 0.5, 0.7], [0.2, 0.6, 0.4, 0.99]])
_CANDIDATE = np.array([[True] * 4, [True, True, True, False]])
_CLICKED = np.array([[1, 0, 1, 0], [0, 0, 1, 0.0]])


def _metrics(
    score: np.ndarray,
    candidate: np.ndarray,
    clicked: np.ndarray,
    cut_offs: tuple[int, ...] = (1, 2, 3, 50),
    definition: RankingDefinition = "standard",
) -> dict[str, Any]:
    return RequestRanking(score, candidate, clicked, cut_offs, definition)(np.ones(len(score)))


def test_two_requests_by_hand() -> None:
    d2, d3 = 1 / math.log2(3), 1 / 2  # what the second and the third place are worth; the first is worth 1
    expected = {
        "recall@1": (1 / 2 + 0) / 2,
        "ndcg@1": (1 / 1 + 0) / 2,
        "recall@2": (1 / 2 + 1) / 2,
        "ndcg@2": (1 / (1 + d2) + d2 / 1) / 2,
        "recall@3": (2 / 2 + 1) / 2,
        "ndcg@3": ((1 + d3) / (1 + d2) + d2) / 2,
        "recall@50": 1.0,
        "ndcg@50": ((1 + d3) / (1 + d2) + d2) / 2,
    }
    assert _metrics(_SCORE, _CANDIDATE, _CLICKED) == pytest.approx(expected)


def test_the_definition_of_recflow_by_hand() -> None:
    d2, d3 = 1 / math.log2(3), 1 / 2
    # A third request has clicks alone, a fourth none: neither counts.
    score = np.vstack([_SCORE, [[0.1, 0.2, 0, 0], [0.5, 0.4, 0.3, 0.2]]])
    candidate = np.vstack([_CANDIDATE, [[True, True, False, False], [True] * 4]])
    clicked = np.vstack([_CLICKED, [[1, 1, 0, 0], [0, 0, 0, 0]]])
    expected = {
        "recall@1": 1 / 3,
        "ndcg@1": 1 / 3,
        "recall@2": 2 / 3,
        "ndcg@2": (1 + d2) / 3,
        "recall@3": 3 / 3,
        "ndcg@3": (1 + d2 + d3) / 3,
        "recall@50": 3 / 3,
        "ndcg@50": (1 + d2 + d3) / 3,
    }
    assert _metrics(score, candidate, clicked, definition="recflow") == pytest.approx(expected)


def test_requests_without_a_click_have_no_part_in_the_means() -> None:
    with_more = _metrics(
        np.vstack([_SCORE, _SCORE]), np.vstack([_CANDIDATE, _CANDIDATE]), np.vstack([_CLICKED, 0 * _CLICKED])
    )
    assert with_more == pytest.approx(_metrics(_SCORE, _CANDIDATE, _CLICKED))
    assert set(_metrics(_SCORE, _CANDIDATE, 0 * _CLICKED).values()) == {None}


@pytest.mark.parametrize("definition", ["standard", "recflow"])
def test_equal_scores_count_as_the_mean_over_their_orders(definition: RankingDefinition) -> None:
    tied = np.array([[0.5, 0.5, 0.8, 0.5, 0.1]])
    clicked = np.array([[1, 0, 1, 0, 1.0]])
    candidate = np.ones((1, 5), bool)
    orders = []
    for places in itertools.permutations([0.49, 0.5, 0.51]):
        score = tied.copy()
        score[0, [0, 1, 3]] = places
        orders.append(_metrics(score, candidate, clicked, definition=definition))
    mean = {key: np.mean([order[key] for order in orders]) for key in orders[0]}
    assert _metrics(tied, candidate, clicked, definition=definition) == pytest.approx(mean)


def test_a_labels_gain_may_be_a_fraction() -> None:
    # Gains 0.5 at rank 0 and 1 at rank 1; the best order has them the other way round.
    found = _metrics(np.array([[0.9, 0.5, 0.1]]), np.ones((1, 3), bool), np.array([[0.5, 1, 0]]), (1, 2))
    d2 = 1 / math.log2(3)
    expected = {"recall@1": 0.5 / 1.5, "ndcg@1": 0.5, "recall@2": 1.0, "ndcg@2": (0.5 + d2) / (1 + 0.5 * d2)}
    assert found == pytest.approx(expected)


def test_a_request_drawn_twice_counts_twice() -> None:
    twice = (
        np.vstack([_SCORE, _SCORE[:1]]),
        np.vstack([_CANDIDATE, _CANDIDATE[:1]]),
        np.vstack([_CLICKED, _CLICKED[:1]]),
    )
    definitions: tuple[RankingDefinition, ...] = ("standard", "recflow")
    for definition in definitions:
        drawn = RequestRanking(_SCORE, _CANDIDATE, _CLICKED, (1, 2), definition)(np.array([2.0, 1.0]))
        assert drawn == pytest.approx(_metrics(*twice, (1, 2), definition))


def test_many_comparisons_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    score, clicked = random.random((40, 7)), (random.random((40, 7)) < 0.3).astype(float)
    whole = _metrics(score, np.ones((40, 7), bool), clicked)
    monkeypatch.setattr("evaluation.ranking._COMPARED", 20)
    assert _metrics(score, np.ones((40, 7), bool), clicked) == whole


@pytest.mark.parametrize("cut_offs", [(), (0,), (10, -1), (1.5,)])
def test_a_k_that_is_none_is_refused(cut_offs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="whole numbers from 1"):
        RequestRanking(_SCORE, _CANDIDATE, _CLICKED, cut_offs)


def test_an_unknown_definition_is_refused() -> None:
    with pytest.raises(ValueError, match="'mean'; expected standard or recflow"):
        RequestRanking(_SCORE, _CANDIDATE, _CLICKED, (1,), "mean")  # type: ignore[arg-type]
