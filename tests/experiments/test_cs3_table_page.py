"""The page of CS3: its figures are those of the results."""

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from experiments.cs3.findings import Findings, Order
from experiments.cs3.grid import CS3Grid
from experiments.cs3.page import render
from experiments.grid import read_results
from experiments.runner import write_results
from tests.helpers.command_line import consort
from tests.helpers.source_tree import ROOT

NOISE = {1: 0.0, 2: 1e-3, 3: -1e-3, 4: 2e-3, 5: -2e-3}
AUCS = {"base": 0.62, "cas": 0.625, "cts": 0.64, "cms": 0.60, "full": 0.65}
LATER = {"frozen": 0.0, "prequential": 0.01, "online": 0.02}
DRIFT = {"worlds": {"none": {"drift": 0.0}, "default": {}}, "methods": ["base", "full"]}
PARTS = {"order": ["full", "leaky"], "decays": [0.5, 0.8], "drift": DRIFT, "noise": [0.1, 1.0]}


def metrics(auc):
    """Of test rows; the expected AUC is a hundredth above that by labels."""
    return {
        "auc": auc, "auc_truth": auc + 0.01, "logloss": 0.25, "ranker_auc": 0.7, "ranker_auc_truth": 0.71,
        "ranker_logloss": 0.24, "oracle_auc": 0.79, "oracle_auc_truth": 0.8, "kendall_tau": auc,
        "auc_cold_users": auc - 0.1, "auc_truth_cold_users": auc - 0.09, "share_cold_users": 0.4,
        "auc_cold_items": auc - 0.05, "auc_truth_cold_items": auc - 0.04, "share_cold_items": 0.3,
    }  # fmt: skip


def cell(backbone, method, seed, auc, variant="default", leaky=False, rate=0.003):
    level = auc + seed * 1e-2 + (0.0 if method == "base" else NOISE[seed])
    test: dict[str, Any] = {mode: metrics(level + later) for mode, later in LATER.items()}
    test["online"] = metrics(level + (0.3 if leaky else 0.02))
    test["noise"] = {"0.1": {"auc": level - 0.001, "auc_truth": level + 0.009}, "1": {"auc": 0.6, "auc_truth": 0.61}}
    course = {
        name: [0.5 + at / 100 for at in range(20)] for name in ("towers", "ranker", "towers_truth", "ranker_truth")
    }
    return {
        "cell": f"{variant}-{seed}-{backbone}-{method}", "variant": variant, "backbone": backbone, "method": method,
        "seed": seed, "tried": False, "learning_rate": rate, "cpu_seconds": 30.0, "data_sha256": "0" * 64,
        "test": test, "train": metrics(0.85 if leaky else level), "course": course, "parameters": 1234,
        "rows": {"train": 800, "eval": 100, "test": 100}, "monitored": 0.28,
    }  # fmt: skip


def results(aucs=None, seeds=range(1, 6), backbones=("dssm", "dat"), **grid):
    """Results of five seeds, differences from the base nearly the same in each: they differ by `NOISE`."""
    aucs = {**AUCS, **(aucs or {})}
    cells = [
        cell(backbone, method, seed, auc) for backbone in backbones for method, auc in aucs.items() for seed in seeds
    ]
    if "order" in grid:
        cells += [cell("dssm", "leaky", seed, 0.55, leaky=True) for seed in seeds]
    if "decays" in grid:
        cells += [cell("dssm", "full_decay_0.5", seed, 0.64) for seed in seeds]
    if "drift" in grid:
        cells += [cell("dssm", method, seed, 0.62, "drift-none") for method in ("base", "full") for seed in seeds]
    values = {"name": "made_up", "world": "default", "requests": 1000, "backbones": list(backbones),
              "learning_rates": [0.003], "main": list(AUCS), **grid}  # fmt: skip
    machine = {"processor": "P", "cores": 2, "versions": {"tensorflow": "2.16.2"}}
    context = {"command": "consort table cs3", "date": "2026-01-01", "machine": machine, "code_sha256": "f" * 64}
    return {"grid": values, "contexts": [context], "cells": cells}


def at_equal_rates(data, aucs, seeds=range(1, 6), backbones=("dssm", "dat"), rate=0.001):
    """The results with further cells, all at one rate."""
    cells = [
        cell(backbone, method, seed, auc, rate=rate)
        for backbone in backbones
        for method, auc in aucs.items()
        for seed in seeds
    ]
    return {**data, "grid": {**data["grid"], "equal_rate": rate}, "cells": [*data["cells"], *cells]}


def page(data):
    return render(data)["cs3.md"]


def row(text, *cells):
    start = "| " + " | ".join(cells)
    return next(line for line in text.splitlines() if line.startswith(start))


def gains(data, mode=None, rates="tuned"):
    return {(one.question.backbone, one.question.better): one for one in Findings(data).gains(rates, mode)}


def test_a_gain_and_its_interval_are_worked_out_by_hand():
    # 0.64 - 0.62 + noise: standard error 1e-3 sqrt(2.5 / 5), t(4) at 97.5 % 2.776445.
    by_method = gains(results(), "frozen")
    one = by_method["dssm", "cts"]
    half = 2.776445e-3 * (2.5 / 5) ** 0.5
    assert one.test.mean == pytest.approx(0.02) and one.test.low == pytest.approx(0.02 - half, abs=1e-8)
    assert one.test.verdict == "significantly better" and by_method["dat", "cms"].test.verdict == "significantly worse"
    assert Findings(results()).rela_imp(one) == pytest.approx((0.65 + 0.03 + 0.02 - 0.02 - 0.5) / (0.66 - 0.5) - 1)


def test_all_tests_of_the_page_are_adjusted_together():
    # Gains: 2 backbones, 4 methods, 3 modes, and at equal rates again; drift: 2 worlds, 1 method, 3 modes, of which
    # those of the default world are among the gains; cold users, cold items and tau of 2 backbones.
    data = at_equal_rates(results(**PARTS), AUCS)
    findings = Findings(data)
    assert findings.tests == 2 * 24 + 3 + 6
    p = [one.test.p for rates in ("tuned", "equal") for one in findings.gains(rates)]
    least = min(value for value in p if value is not None)
    adjusted = [one.test.adjusted_p for one in findings.gains("tuned") if one.test.p == least]
    assert adjusted[0] == pytest.approx(57 * least)
    assert Findings(results()).tests == 24 + 6


def test_a_gain_whose_interval_alone_is_above_zero_is_not_significant_among_the_others():
    # Its mean is 3 standard errors above zero: p 0.04, which is not below 0.05 with 30 tests.
    aucs = {"cas": 0.62 + 3 * 1e-3 * (2.5 / 5) ** 0.5}
    one = gains(results(aucs), "frozen")["dssm", "cas"]
    assert one.test.low > 0 and 0.03 < one.test.p < 0.05
    assert one.test.verdict == "not significantly better" and one.test.adjusted_p > 0.05
    text = page(results(aucs))
    assert row(text, "DSSM", "+CAS > base", "frozen").endswith("| not significantly better |")
    assert row(text, "DSSM", "CS3 (all three) > base", "frozen").endswith("| significantly better |")
    assert row(text, "DSSM", "+CMS > base", "frozen").endswith("| significantly worse |")


def test_equal_rates_stand_beside_tuned_ones_and_a_shared_comparison_counts_once():
    data = at_equal_rates(results(), {**AUCS, "full": 0.62})
    assert gains(data, "frozen")["dssm", "full"].test.verdict == "significantly better"
    equal = gains(data, "frozen", "equal")["dssm", "full"]
    assert equal.test.verdict == "not significantly better" and equal.learning_rates == (0.001, 0.001)
    text = page(data)
    assert "| `learning_rates` | 0.003 |" in text and "| `equal_rate` | 0.001 |" in text
    assert "### All methods at one learning rate" in text and "All methods at learning rate 0.001." in text
    same = results()
    same["grid"]["equal_rate"] = 0.003
    assert gains(same, "frozen", "equal").keys() == gains(same, "frozen").keys()
    assert Findings(same).tests == Findings(results()).tests


def test_prequential_and_online_rows_of_a_claim_stand_below_each_other():
    lines = page(results()).split("### Each method")[1].split("\n#")[0].splitlines()
    rows = [line.split(" | ")[2] for line in lines if line.startswith("| DSSM | CS3 (all three)")]
    assert rows == ["frozen", "prequential", "online"]


def test_without_truth_all_is_told_by_labels():
    data = results()
    for each in data["cells"]:
        for mode in ("frozen", "prequential", "online"):
            each["test"][mode] = {key: value for key, value in each["test"][mode].items() if "truth" not in key}
    assert Findings(results()).metric == "auc_truth" and Findings(data).metric == "auc"
    text = page(data)
    assert "expected AUC" not in text and row(text, "ours", "DSSM", "base", "5", "0.65000 ± 0.01581")


def order(train=0.6, oracle=0.7, prequential=0.61, base_loss=0.0):
    return Order("leaky", [train], [] if oracle is None else [oracle], [0.62], [prequential], base_loss)


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"train": 0.71, "prequential": 0.67}, ["above the true probabilities"]),
        ({"train": 0.71, "prequential": 0.67, "oracle": None}, []),
        ({"train": 0.67}, ["0.060 of its AUC is gone"]),
        ({"train": 0.67, "base_loss": 0.02}, []),
        ({"train": 0.64, "base_loss": -0.03}, ["0.060 of its AUC is gone"]),
        ({"train": 0.8}, ["above the true probabilities", "0.190 of its AUC is gone"]),
    ],
)
def test_a_method_is_flagged_above_the_truth_or_if_its_auc_goes_with_the_order(changes, reasons):
    flag = order(**changes).flag
    assert bool(flag) == bool(reasons) and all(reason in flag for reason in reasons)
    assert not flag or flag.startswith("too good to be true")


def test_the_control_is_flagged_on_the_page_and_cs3_is_not():
    text = page(results(**PARTS))
    section = text.split("## The order of reading and writing")[1]
    assert "too good to be true: above the true probabilities while it trains and 0.270" in row(
        section, "CS3, write before read"
    )
    assert row(section, "CS3 (all three)").endswith("| no flag |")


def test_a_page_with_all_parts_has_their_sections_and_plots():
    files = render(results(**PARTS))
    headings = ("Main table", "Tests", "Over time", "Cold users and items", "Noise on the input", "α and β", "Drift",
                "The order of reading and writing", "Seed by seed")  # fmt: skip
    assert all(f"\n## {heading}" in files["cs3.md"] for heading in headings)
    plots = {"cs3_main.svg", "cs3_time_dssm.svg", "cs3_time_dat.svg", "cs3_noise.svg", "cs3_alpha_beta.svg"}
    assert set(files) == {"cs3.md", *plots}
    for name in plots:
        ET.fromstring(files[name])
        assert f"({name})" in files["cs3.md"]


def test_parts_without_results_of_their_own_have_no_section():
    # The grid names them; what they share with the main table is there.
    text = page(results(drift=DRIFT, main=["base", "full"]) | {"cells": results()["cells"]})
    assert "## Drift" not in text
    data = results(order=["full", "leaky"])
    data["cells"] = [each for each in data["cells"] if each["method"] != "leaky"]
    assert "## The order of reading" not in page(data)


def test_every_row_of_a_table_is_as_long_as_its_header():
    tables = re.findall(r"(?:^\|.*\n)+", page(results(**PARTS)), re.MULTILINE)
    widths = [{len(line.strip("|\n").split(" | ")) for line in one.splitlines() if "---" not in line} for one in tables]
    assert len(tables) > 10 and all(len(counts) == 1 for counts in widths), widths


def test_what_is_left_without_drift_has_its_verdict():
    text = page(results(**PARTS)).split("## Drift")[1]
    for world, verdict in (("none", "not significantly better"), ("default", "significantly better")):
        assert row(text, world, "CS3 (all three) > base", "frozen").endswith(f"| {verdict} |")


def test_sensitivity_has_a_row_a_value_and_cold_ids_their_share():
    text = page(results(**PARTS))
    assert row(text, "0.5", "5", "0.68000") and row(text, "0.8", "5", "0.69000")
    assert row(text, "ours, DSSM", "CS3 (all three)", "0.59000 (+3000)", "0.40", "0.64000 (+3000)", "0.30")


def test_noise_tells_the_change_from_the_clean_auc():
    # 0.1 costs a thousandth of each seed.
    assert "-100.0 [-100.0, -100.0]" in row(page(results(**PARTS)).split("## Noise")[1], "DSSM", "base")


def test_one_seed_decides_nothing():
    text = page(results(seeds=[1]))
    assert "not significantly better" in text and not re.search(r"(?<!not )significantly (better|worse) \|", text)


def test_a_comparison_of_one_seed_leaves_the_others_adjusted():
    data = results(backbones=["dssm"])
    before = gains(data, "frozen")["dssm", "full"]
    data["cells"] = [each for each in data["cells"] if each["method"] != "cms" or each["seed"] == 1]
    # 12 gains and 3 of CS3 alone; without CMS 3 less.
    assert Findings(data).tests == 12 and before.test.adjusted_p == pytest.approx(15 * before.test.p, rel=0.3)
    one = gains(data, "frozen")
    assert one["dssm", "full"].test.adjusted_p > one["dssm", "full"].test.p
    assert one["dssm", "cms"].test.p is None and one["dssm", "cms"].test.verdict == "not significantly better"


def test_the_page_holds_what_can_be_traced_and_a_changed_figure_changes_it():
    text = page(results())
    assert "`" + "0" * 16 + "…`" in text and "`" + "f" * 16 + "…`" in text and "2026-01-01" in text
    assert text == page(json.loads(json.dumps(results()))) and text != page(results({"full": 0.6501}))
    assert "paper, KuaiRand" in text and "+50.911 %" in text


def tuned(losses, method="base"):
    """Cells that tried rates: eval log loss by rate, one a tuning seed."""
    return [
        {**cell("dssm", method, seed, 0.6, rate=rate), "tried": True, "monitored": loss}
        for rate, values in losses.items()
        for seed, loss in enumerate(values, 1001)
    ]


def test_tuning_has_means_over_its_seeds_with_the_chosen_rate():
    data = results(tuning_seeds=[1001, 1002])
    data["cells"] += tuned({0.001: [0.31, 0.30], 0.003: [0.29, 0.28], 0.01: [0.28, 0.32]})
    text = page(data)
    assert row(text, "DSSM", "base", "0.30500", "0.28500", "0.30000", "0.003 | no |")
    assert "| `tuning_seeds` | 1001, 1002 |" in text
    data["cells"] = [each for each in data["cells"] if each["learning_rate"] != 0.01]
    assert row(page(data), "DSSM", "base", "0.30500", "0.28500", "0.003 | yes |")


def test_recall_is_told_with_caches_emptied_and_on_shuffled_rows_against_its_own_base():
    grid = {"decays": [0.5, 0.8], "shuffled": ["base_shuffled", "full_shuffled"], "cut_off": 100}
    data = results(backbones=["dssm"], **grid)
    recalls = {"base": 0.2, "full": 0.15, "full_decay_0.5": 0.18, "base_shuffled": 0.19, "full_shuffled": 0.19}
    data["cells"] += [cell("dssm", name, seed, 0.6) for name in list(recalls)[3:] for seed in range(1, 6)]
    for each in data["cells"]:
        recall = recalls.get(each["method"], 0.1) + (0 if "base" in each["method"] else NOISE[each["seed"]])
        frozen = {"recall": recall, "recall_without_user_caches": 0.11, "recall_without_item_caches": 0.12}
        each["test"]["frozen"] = each["test"]["frozen"] | frozen
        each["eval"] = {"frozen": {"recall": recall + 0.01}}
        each["stream"] = {"users_in_batch": 3.25, "unknown": {"test": {"user": 0.9, "item": 0.2}}}
    text = page(data).split("## Retrieval from the catalogue")[1].split("\n## ")[0]
    assert row(text, "DSSM", "base", "0.003", "5", "0.2100", "0.2000", "0.1100", "0.1200")
    full = row(text, "DSSM", "CS3 (all three)", "0.003", "5", "0.1600", "0.1500")
    assert "-5000.0 [" in full and full.endswith("significantly worse |")
    assert "-2000.0 [" in row(text, "DSSM", "CS3, α = β = 0.5")
    assert "+0.0 [" in row(text, "DSSM", "CS3 (all three), train rows shuffled")
    assert row(text, "test", "90%", "20%", "3.2")
    # 4 gains in 3 modes, cold users, cold items, tau; recall of 4 methods, of one decay and of one shuffled method.
    assert Findings(data).tests == 12 + 3 + 6


def test_a_method_is_measured_at_the_rate_that_was_chosen_for_it():
    data = at_equal_rates(results(), {"base": 0.7}, backbones=["dssm"])
    data["cells"] += tuned({0.001: [0.2, 0.3], 0.003: [0.3, 0.4]})
    findings = Findings(data)
    assert findings.rate("dssm", "base") == 0.001 and findings.rate("dssm", "full") == 0.003
    assert findings.values("dssm", "base", "auc", seeds=[1]) == [pytest.approx(0.71)]
    assert gains(data, "frozen")["dssm", "full"].learning_rates == (0.003, 0.001)


def test_the_page_is_written_anew_from_the_results_alone(tmp_path):
    write_results(tmp_path / "cs3.json", results(**PARTS))
    done = consort("table", "cs3", "--render-only", "--out", tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "cs3.md").read_text() == page(results(**PARTS)) and (tmp_path / "cs3_main.svg").is_file()
    assert "CS3, write before read: too good to be true" in done.out


def test_results_that_are_none_and_unknown_names_are_refused(tmp_path):
    done = consort("table", "cs3", "--render-only", "--out", tmp_path)
    assert done.code != 0 and "consort table cs3" in done.err
    done = consort("table", "cs3", "--out", tmp_path / "new", "--backbones", "dsm")
    assert done.code == 2 and "did you mean 'dssm'" in done.err and not (tmp_path / "new").exists()


@pytest.mark.parametrize("folder", ["", "cs3_movielens", "cs3_one_tuning_seed"])
def test_the_committed_page_is_that_of_the_committed_results(folder):
    committed = ROOT / "experiments" / "results" / folder
    for name, text in render(read_results(CS3Grid, committed)).items():
        assert (committed / name).read_text() == text, name
