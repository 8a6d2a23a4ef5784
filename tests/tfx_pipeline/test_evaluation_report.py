"""The evaluation's report, by figures worked out by hand."""

from tests.helpers.pipeline_runs import small_config
from tfx_pipeline.components.model_gate import SliceMetrics, bounds_in, one_class, report
from tfx_pipeline.nodes import eval_config

BOUNDS = list(bounds_in(eval_config(small_config(gate={"min_auc_gain": -0.01}))))


def lines_of(*metrics: SliceMetrics, refusals: tuple[str, ...] = ()) -> list[str]:
    return [" ".join(line.split()) for line in report(metrics, BOUNDS, refusals, {"model": "m"}).splitlines()]


def test_bounds_are_those_of_the_gate() -> None:
    assert [str(bound) for bound in BOUNDS] == ["at least 0.6", "at least -0.01 above the baseline", "0.5 to 1.5"]
    assert [bound.metric for bound in BOUNDS] == ["auc", "auc", "calibration"]


def test_metrics_differences_bounds_and_verdicts_are_told() -> None:
    lines = lines_of(SliceMetrics("all", {"auc": 0.75, "calibration": 1.0}, {"auc": 0.7, "calibration": 1.25}))
    assert lines[0] == "blessed"
    assert "auc 0.75 0.7 +0.05" in lines and "calibration 1 1.25 -0.25" in lines
    assert "auc at least 0.6 0.75 reached" in lines
    assert "auc at least -0.01 above the baseline +0.05 reached" in lines


def test_a_bound_that_is_missed_is_told_as_such() -> None:
    lines = lines_of(
        SliceMetrics("all", {"auc": 0.5, "calibration": 1.75}, {"auc": 0.7, "calibration": 1.0}), refusals=("why",)
    )
    assert lines[:2] == ["not blessed:", "- why"]
    assert "auc at least 0.6 0.5 missed" in lines
    assert "auc at least -0.01 above the baseline -0.2 missed" in lines
    assert "calibration 0.5 to 1.5 1.75 missed" in lines


def test_without_a_baseline_no_difference_is_needed() -> None:
    lines = lines_of(SliceMetrics("all", {"auc": 0.75, "calibration": float("nan")}))
    assert "auc 0.75" in lines and not any("above the baseline" in line for line in lines)
    assert "calibration 0.5 to 1.5 nan missed" in lines


def test_slices_inform_and_have_no_verdict() -> None:
    lines = lines_of(SliceMetrics("all", {"auc": 0.75}), SliceMetrics("hour = 3", {"auc": 0.4}))
    assert lines.index("slice hour = 3 model") + 1 == lines.index("auc 0.4")
    assert not any("missed" in line for line in lines if line.startswith("auc"))


def test_a_split_with_labels_of_one_class_is_named() -> None:
    nothing = SliceMetrics("all", {"auc": float("nan"), "example_count": 1000.0, "mean_label": 0.0})
    assert one_class(nothing) == [
        "the evaluated split has no positive label among 1,000 examples: AUC means nothing there"
    ]
    assert "no negative label" in one_class(SliceMetrics("all", {"example_count": 10.0, "mean_label": 1.0}))[0]
    assert (
        one_class(SliceMetrics("all", {"example_count": 10.0, "mean_label": 0.5}))
        == one_class(SliceMetrics("all"))
        == []
    )
