"""Statistics by hand."""

import numpy as np
import pytest

from experiments.mutual import paper
from experiments.statistics import adjusted, holm, paired, rela_imp


def test_the_paired_t_test_is_that_of_the_textbook():
    # Differences 1, 2, 3, 4, 5: mean 3, standard deviation sqrt(2.5), standard error sqrt(0.5), t = 3 / sqrt(0.5).
    # Student's t with 4 degrees of freedom has its 97.5 % point at 2.776445; P(|T| > 4.242641) = 0.013235.
    test = paired([2.0, 4.0, 6.0, 8.0, 10.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    assert test.mean == pytest.approx(3.0) and test.std == pytest.approx(2.5**0.5)
    assert test.low == pytest.approx(3 - 2.776445 * 0.5**0.5, abs=1e-6)
    assert test.high == pytest.approx(3 + 2.776445 * 0.5**0.5, abs=1e-6)
    assert test.p == pytest.approx(0.013235, abs=1e-6)
    assert test.differences == (1.0, 2.0, 3.0, 4.0, 5.0)


def test_the_signed_rank_test_counts_the_signs_that_are_as_extreme():
    # Of 2^5 ways to sign five ranks, two have all signs alike.
    assert paired([1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5).wilcoxon_p == pytest.approx(2 / 32)
    # 1 alone is negative: rank sums 1 and 14. Sums of at most 1 come in two ways (none, {1}), at either side.
    assert paired([-1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5).wilcoxon_p == pytest.approx(4 / 32)


def test_the_order_of_the_two_sides_decides_the_sign():
    assert paired([1.0, 1.0], [2.0, 4.0]).mean == pytest.approx(-2.0)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([1.0, 1.1, 0.9], "significantly better"),
        ([-1.0, -1.1, -0.9], "significantly worse"),
        ([1.0, -1.0, 0.5], "not significantly better"),
        ([1.0], "not significantly better"),
        ([0.0, 0.0, 0.0], "not significantly better"),
        ([0.5, 0.5, 0.5], "significantly better"),
    ],
)
def test_the_verdict_is_that_of_the_interval(differences, verdict):
    assert paired(differences, [0.0] * len(differences)).verdict == verdict


def test_one_pair_has_a_mean_and_no_test():
    test = paired([3.0], [1.0])
    assert test.mean == 2.0 and test.low is test.high is test.p is test.wilcoxon_p is None


@pytest.mark.parametrize(("one", "other"), [([], []), ([1.0], [1.0, 2.0])])
def test_what_is_not_paired_is_refused(one, other):
    with pytest.raises(ValueError, match="as many of each"):
        paired(one, other)


def test_holms_p_values_are_those_of_his_procedure():
    # Sorted 0.01, 0.03, 0.04: times 3, 2, 1, and never below the one before.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_rela_imp_gives_the_percentage_of_the_paper():
    # The largest gain that the paper reports for Avazu, 0.66 %: DCN, run 3.
    runs = paper.TABLE_1["avazu"]["dcn"]
    assert 100 * (rela_imp(runs["mutual"][2], runs["independent"][2]) or 0.0) == pytest.approx(0.664, abs=5e-4)
    assert rela_imp(0.75, 0.5 + 0.125) == pytest.approx(1.0)


def test_rela_imp_of_the_papers_runs_on_criteo_spans_what_it_says():
    # "0.25 to 0.37 %"
    gains = [
        100 * (rela_imp(after, before) or 0.0)
        for runs in paper.TABLE_1["criteo"].values()
        for after, before in zip(runs["mutual"], runs["independent"], strict=True)
    ]
    assert (round(min(gains), 2), round(max(gains), 2)) == (0.25, 0.37)


def test_the_papers_tables_agree_with_each_other():
    """Table 2 repeats runs of Table 1, before and after; Tables 3 and 4 its group of four, but for one figure."""
    for data, rows in paper.TABLE_2.items():
        for model, (alone, same, _) in rows.items():
            runs = paper.TABLE_1[data][model]
            assert same == runs["mutual"][runs["independent"].index(alone)]
    for data, of_data in paper.SIZES.items():
        model, sizes = of_data["model"], of_data["peers"]
        printed = np.subtract(sizes[4], paper.TABLE_1[data][model]["mutual"])
        assert (abs(printed) > 1e-9).sum() <= 1


def test_a_test_among_others_is_decided_by_its_adjusted_p_value():
    # t of (1, 2, 3) is 2 / (1 / sqrt 3) = 3.4641: p 0.0742; of (1.8, 2, 2.2) 17.32: p 0.0033.
    wide, narrow = paired([1.0, 2.0, 3.0], [0.0] * 3), paired([1.8, 2.0, 2.2], [0.0] * 3)
    below = paired([-1.8, -2.0, -2.2], [0.0] * 3)
    assert narrow.p == pytest.approx(0.003317, abs=1e-6)
    assert [one.verdict for one in adjusted([narrow])] == [
        "significantly better"
    ] and wide.verdict == "not significantly better"
    # Fifteen tests together: 15 * 0.003317 = 0.0498; sixteen: 0.0531.
    assert {one.verdict for one in adjusted([narrow] * 15)} == {"significantly better"}
    assert {one.verdict for one in adjusted([below] * 15)} == {"significantly worse"}
    family = adjusted([narrow] * 16)
    assert [one.adjusted_p for one in family] == pytest.approx([16 * 0.003317] * 16, abs=1e-4)
    assert (
        {one.verdict for one in family}
        == {one.verdict for one in adjusted([below] * 16)}
        == {"not significantly better"}
    )


def test_a_test_without_a_p_value_leaves_the_others_corrected():
    narrow, single = paired([1.8, 2.0, 2.2], [0.0] * 3), paired([1.0], [0.0])
    missing, *others = adjusted([single, narrow, narrow])
    assert missing.adjusted_p is None and missing.verdict == "not significantly better"
    assert [one.adjusted_p for one in others] == pytest.approx([2 * 0.003317] * 2, abs=1e-6)
    assert adjusted([]) == []
