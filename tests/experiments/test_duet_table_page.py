"""The page of DUET: its figures are those of the results."""

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from experiments.duet.findings import LOGGING, ORACLE, Findings
from experiments.duet.grid import DuetGrid
from experiments.duet.methods import source_of
from experiments.duet.page import render
from experiments.grid import read_results
from experiments.plots import Line, Point, line_plot
from experiments.runner import write_results
from tests.helpers.command_line import consort
from tests.helpers.source_tree import ROOT

SEEDS = range(1, 6)
NOISE = {1: 0.0, 2: 1e-3, 3: -1e-3, 4: 2e-3, 5: -2e-3}
AUCS = {"single": 0.62, "weight_matched": 0.63, "two_tower": 0.60, "two_singles_ensemble": 0.625, "duet": 0.65,
        "duet_ensemble": 0.655, "duet_stages": 0.70, "stage_heads_10": 0.69}  # fmt: skip
STUDY = {"none": {"popularity_bias": 0.0}, "default": {}}


def metrics(auc):
    """Of a row, and the references that every cell has beside it."""
    references = {f"{who}_auc_{space}": value for who, value in (("logging", 0.66), ("oracle", 0.8))
                  for space in ("unexposed", "entire")}  # fmt: skip
    return {
        "auc": auc + 0.01, "auc_unexposed": auc, "auc_entire": auc + 0.02, "uauc": 0.6, "logloss": 0.25,
        "logging_policy_auc": 0.61, "oracle_auc": 0.78, "truth_unexposed": 0.0341, "prediction_unexposed": 0.0512,
        **references,
    }  # fmt: skip


def results(aucs=None, variants=("default",), seeds=SEEDS, **grid):
    """Results of five seeds, differences between rows nearly the same in each: those of DUET differ by `NOISE`."""
    aucs = {**AUCS, **(aucs or {})}
    cells: dict[tuple[str, str, int], dict[str, Any]] = {}
    for variant in variants:
        for row, auc in aucs.items():
            method, part = source_of(row)
            for seed in seeds:
                level = auc + seed * 1e-2 + (NOISE[seed] if row.startswith("duet") else 0.0)
                head = {"cell": f"{variant}-{seed}-{method}", "variant": variant, "method": method, "seed": seed,
                        "tried": False, "learning_rate": 0.001, "best_epoch": 2, "cpu_seconds": 30.0,
                        "data_sha256": "0" * 64}  # fmt: skip
                cell = cells.setdefault((variant, method, seed), {**head, "test": {"served": metrics(level)}})
                cell["test"][part] = metrics(level)
                if method in ("duet", "two_singles"):
                    cell["test"]["pair"] = {"agreement": 0.913, "error_correlation": 0.977, "disagreement": 0.01}
    values = {"name": "made_up", "world": "default", "requests": 1000, "main": list(AUCS), **grid}
    machine = {"processor": "P", "cores": 2, "versions": {"tensorflow": "2.16.2"}}
    contexts = [{"command": "consort table duet", "date": "2026-01-01", "machine": machine}]
    return {"grid": values, "contexts": contexts, "cells": list(cells.values())}


def page(data):
    return render(data)["duet.md"]


def row(text, *cells):
    start = "| " + " | ".join(cells)
    return next(line for line in text.splitlines() if line.startswith(start))


def test_the_difference_of_two_rows_and_its_interval_are_worked_out_by_hand():
    # 0.65 - 0.62 + noise: mean 3000 in 1e-5, standard error 100 sqrt(2.5 / 5), t(4) at 97.5 % 2.776445.
    one = Findings(results()).compare("duet", "single")
    half = 2.776445e-3 * (2.5 / 5) ** 0.5
    assert one is not None and one.test.verdict == "significantly better"
    assert one.test.mean == pytest.approx(0.03) and one.test.low == pytest.approx(0.03 - half, abs=1e-8)


def test_the_best_single_model_baseline_is_no_pair_and_no_mean_of_two():
    findings = Findings(results())
    assert findings.best_baseline() == "stage_heads_10"
    assert "two_singles_ensemble" not in findings.baselines() and "duet" not in findings.baselines()


@pytest.mark.parametrize(
    ("auc", "verdict"),
    [(0.70, "significantly better"), (0.66, "significantly worse"), (0.69, "not significantly better")],
)
def test_the_verdict_on_the_strongest_form_follows_from_the_figures(auc, verdict):
    tests = Findings(results({"duet_stages": auc})).strongest_tests()
    verdicts = {(one.metric, one.worse): one.test.verdict for one in tests}
    assert verdicts["auc_unexposed", "stage_heads_10"] == verdict
    line = row(page(results({"duet_stages": auc})), "unexposed", "DUET with stages > stage heads (weight 10)")
    assert line.endswith(f"| {verdict} |")


def test_the_logging_policy_and_the_oracle_are_rows_like_others():
    findings = Findings(results())
    assert findings.values("default", LOGGING, "auc_unexposed") == [0.66] * 5
    assert findings.values("default", ORACLE, "auc") == [0.78] * 5
    assert row(page(results()), "ours", "logging policy", "5", "0.66000 ± 0.00000")


def test_p_values_of_a_table_are_adjusted_together():
    tests = Findings(results()).paper_tests()
    # Of three AUCs: six other rows, the better of two singles among them, and the logging policy.
    assert len(tests) == 3 * 7
    assert all(one.test.adjusted_p is not None and one.test.p is not None for one in tests)
    assert all(
        one.test.adjusted_p >= one.test.p for one in tests if one.test.adjusted_p is not None and one.test.p is not None
    )


def test_the_verdict_is_that_of_the_adjusted_p_value():
    # Differences of 0.0035 or 0.0025 + (0, 1, -1, 2, -2) thousandths, standard error sqrt(0.5): t = 4.95 and 3.54. Of
    # 21 tests the first stands among few that are as wide, the second among nine.
    close = {"weight_matched": 0.6475, "two_tower": 0.6475, "single": 0.6475}
    for changes, alone, verdict in (
        ({"weight_matched": 0.6465}, 0.0078, "significantly better"),
        (close, 0.0241, "not significantly better"),
    ):
        tests = Findings(results(changes)).paper_tests()
        (one,) = (test for test in tests if (test.metric, test.worse) == ("auc_unexposed", "weight_matched"))
        assert one.test.p == pytest.approx(alone, abs=1e-4)
        assert one.test.low is not None and one.test.low > 0 and one.test.adjusted_p is not None
        assert (one.test.adjusted_p < 0.05) == (verdict == "significantly better") and one.test.verdict == verdict
    assert row(page(results(close)), "unexposed", "DUET > single set ranker").endswith("| not significantly better |")


def test_the_better_of_two_singles_has_a_row_and_tests():
    text = page(results())
    assert row(text, "ours", "two singles (the better)") and row(text, "unexposed", "DUET > two singles (the better)")
    assert row(text, "unexposed", "DUET with stages > two singles (the better)")


def test_duet_with_stages_is_compared_with_duet_in_each_world():
    bias = {"worlds": STUDY, "methods": ["single", "duet", "duet_stages"]}
    text = page(results(variants=("default", "bias-none"), bias=bias))
    assert row(text, "unexposed", "DUET with stages > DUET", "none")
    assert row(text, "entire space", "DUET with stages > DUET", "default")


def test_click_rates_stand_beside_the_models_and_are_tested():
    rates = {"rows": {"item_user_rate": {**metrics(0.679), "auc": 0.64}}, "command": "python -m it", "import": "get it",
             "dataset_sha256": "ab" * 32, "machine": {"date": "2026-01-02", "processor": "Q"}}  # fmt: skip
    text = page({**results(), "rates": rates})
    line = row(text, "ours", "item + user click rate (no model)", "5")
    assert "0.67900 ± 0.00000" in line and "0.64000" in line
    # DUET has 0.65 and a hundredth more a seed: 0.68 on average.
    assert "+100.0 [" in row(text, "unexposed", "DUET > item + user click rate (no model)", "5")
    others = [
        one
        for one in Findings({**results(), "rates": rates}).rates_tests()
        if one.test.verdict == "significantly worse"
    ]
    assert {one.better for one in others} >= {"two_tower"} and len(others) < 9
    assert "`get it`" in text and "`python -m it`" in text
    assert "no model" not in page(results())


@pytest.mark.parametrize(
    ("weights", "verdicts"),
    [
        ((0.60, 0.64, 0.61), ("significantly better", "significantly better")),
        ((0.60, 0.61, 0.64), ("significantly better", "significantly worse")),
        ((0.64, 0.6401, 0.61), ("not significantly better", "significantly better")),
    ],
)
def test_the_best_lambda_between_the_ends_of_the_curve_is_compared_with_both(weights, verdicts):
    aucs = dict(zip(("duet_lambda_0.01", "duet_lambda_0.2", "duet_lambda_0.5"), weights, strict=True))
    data = results(aucs, lambdas=[0.01, 0.2, 0.5])
    for cell in data["cells"]:
        # The noise of one end is not that of the others.
        cell["test"]["served"]["auc_unexposed"] += NOISE[cell["seed"]] if cell["method"].endswith("0.01") else 0.0
    tests = [(best, end, test) for metric, best, end, test in Findings(data).curve_tests() if "unexposed" in metric]
    assert [(best, end) for best, end, _ in tests] == [(0.2, 0.01), (0.2, 0.5)]
    assert tuple(test.verdict for *_, test in tests) == verdicts
    assert "duet_lambda.svg" in render(data)


def test_a_study_compares_world_by_world():
    bias = {"worlds": STUDY, "methods": ["single", "duet"]}
    data = results(variants=("default", "bias-none"), bias=bias)
    tests = Findings(data).study_tests("bias", [("duet", "single")])
    assert [Findings(data).grid.world_name("bias", one.variant) for one in tests] == ["none", "default"]
    files = render(data)
    assert "duet_bias.svg" in files and "| none | popularity_bias 0 |" in files["duet.md"]


CURVE = {"worlds": {"50": {"requests": 50}, "1000": {}}, "methods": ["single", "duet", "duet_stages"]}


def test_a_learning_curve_and_the_control_of_stages_are_parts_of_the_page():
    cascade = {"worlds": {"truth": {}, "clicks": {"logging_model": "clicks"}}, "methods": ["single", "duet_stages"]}
    data = results(variants=("default", "sizes-50", "cascade-clicks"), sizes=CURVE, cascade=cascade)
    files = render(data)
    assert {"duet_sizes.svg", "duet_cascade.svg"} <= set(files)
    section = files["duet.md"].split("## Learning curves")[1]
    assert row(section, "50", "requests 50") and row(section, "unexposed", "DUET > single set ranker", "50", "5")
    section = files["duet.md"].split("## What the logging cascade knows")[1]
    assert row(section, "clicks", "logging_model clicks")
    assert row(section, "entire space", "DUET with stages > single set ranker", "clicks")
    assert "## Learning curves" not in page(results())


def test_what_to_choose_is_the_best_that_is_significantly_better_and_else_the_single_set_ranker():
    data = results(variants=("default", "sizes-50"), sizes=CURVE)
    for cell in data["cells"]:
        if cell["variant"] == "sizes-50" and cell["method"] not in ("single", "two_tower"):
            # Beyond any doubt by one seed, and below by the others.
            cell["test"]["served"]["auc_unexposed"] = 0.9 if cell["seed"] == 1 else 0.5
    section = page(data).split("## What to choose")[1].split("## Settings")[0]
    # Duet 0.65, weight-matched 0.63, single 0.62; with stages 0.70 and 0.69. A mean of two is no model to serve.
    assert row(section, "default", "1,000", "clicks", "DUET", "DUET", "5", "+3000.0 [")
    assert row(section, "default", "1,000", "clicks and stages", "DUET with stages", "DUET with stages")
    small = [line for line in section.splitlines() if line.startswith("| default | 50 |")]
    assert len(small) == 2 and all("| single set ranker |" in line for line in small)


def test_settings_of_larger_studies_are_shown_where_they_are_given():
    assert "`tuning_requests`" not in page(results())
    assert "| `tuning_requests` | 200 |" in page(results(tuning_requests=200, width=32))


def test_one_seed_decides_nothing():
    verdicts = re.findall(r"\| ((?:not )?significantly \w+) \|", page(results(seeds=[1])))
    assert verdicts and set(verdicts) == {"not significantly better"}


def test_without_truth_the_page_tells_of_exposed_candidates_alone():
    data = results()
    for cell in data["cells"]:
        for part in ("served", "ensemble"):
            if part in cell["test"]:
                cell["test"][part] = {key: cell["test"][part][key] for key in ("auc", "logloss", "uauc")}
    text = page(data)
    assert Findings(data).metrics() == ["auc"] and "AUC, unexposed" not in text and "AUC, exposed" in text


def test_a_changed_figure_changes_the_page_and_nothing_else_does():
    assert page(results()) == page(json.loads(json.dumps(results())))
    assert page(results()) != page(results({"duet": 0.6501}))


def test_auc_figures_of_the_main_table_trace_to_the_results():
    data = results()
    values = [cell["test"][part][key] for cell in data["cells"] for part in ("served", "ensemble")
              if part in cell["test"] for key in cell["test"][part] if "auc" in key]  # fmt: skip
    section = page(data).split("## Main table")[1].split("![")[0]
    for text in re.findall(r"(0\.\d{5}) ±", section):
        assert min(values) - 1e-5 <= float(text) <= max(values) + 1e-5
    line = row(page(data), "ours", "DUET", "5")
    assert "0.68000" in line and "0.69000" in line and "0.70000" in line


def test_a_pair_has_its_agreement_and_the_correlation_of_its_errors():
    section = page(results()).split("## What a pair could teach")[1]
    line = row(section, "DUET", "0.0512", "0.0341")
    assert "| 0.9130 |" in line and line.endswith("| 0.9770 |")


def test_plots_are_svg_and_the_main_one_has_the_references():
    files = render(results())
    root = ET.fromstring(files["duet_main.svg"])
    texts = [each.text for each in root.iter() if each.text]
    assert LOGGING in texts and ORACLE in texts and "DUET with stages" in texts


def test_a_line_plot_has_a_point_a_setting_at_equal_distances():
    root = ET.fromstring(line_plot("t", "x", "y", ["a", "b", "c"], [Line("l", [Point(k, k * 0.1) for k in range(3)])]))
    circles = [each for each in root.iter() if each.tag.endswith("circle")]
    x, y = ([float(each.get(key, "nan")) for each in circles] for key in ("cx", "cy"))
    assert x[1] - x[0] == pytest.approx(x[2] - x[1]) and y[0] > y[1] > y[2]


def test_the_page_is_written_anew_from_the_results_alone(tmp_path):
    write_results(tmp_path / "duet.json", results())
    done = consort("table", "duet", "--render-only", "--out", tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "duet.md").read_text() == page(results()) and (tmp_path / "duet_main.svg").is_file()


def test_results_that_are_none_are_refused(tmp_path):
    done = consort("table", "duet", "--render-only", "--out", tmp_path)
    assert done.code != 0 and "consort table duet" in done.err


@pytest.mark.parametrize("folder", ["", "duet_large", "duet_jester", "duet_ebnerd"])
def test_the_committed_page_is_that_of_the_committed_results(folder):
    committed = ROOT / "experiments" / "results" / folder
    for name, text in render(read_results(DuetGrid, committed)).items():
        assert (committed / name).read_text() == text, name
