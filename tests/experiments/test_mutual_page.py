"""The page of mutual learning: its figures are those of the results."""

import json
import re
import statistics

import pytest

from experiments.grid import read_results
from experiments.mutual.findings import Findings
from experiments.mutual.grid import MutualGrid
from experiments.mutual.page import render
from experiments.runner import write_results
from tests.helpers.command_line import consort
from tests.helpers.mutual_grid import made_up
from tests.helpers.source_tree import ROOT
from transforms.errors import InputError

GROUPS = range(1, 6)
NOISE = {1: 0.0, 2: 1e-5, 3: -1e-5, 4: 2e-5, 5: -2e-5}


def results(mutual=0.752, independent=0.75, scratch=0.749, finetuned=0.7505, **grid):
    """Five groups of two peers, all differences between ways nearly the same in each."""
    aucs = {}
    for group in GROUPS:
        shift = group * 1e-3
        for arm, mean in (("independent", independent), ("scratch", scratch), ("finetune_only", finetuned)):
            aucs["deepfm", group, arm] = [mean + shift - 1e-4, mean + shift + 1e-4]
        level = mutual + shift + NOISE[group]
        aucs["deepfm", group, "mutual"] = [level - 1e-5, level + 1e-5]
        aucs["deepfm", group, "ensemble"] = [independent + shift + 0.004]
    return made_up(aucs, **{"table_1": {"models": ["deepfm"], "groups": 5}, **grid})


def page(data):
    return render(data)["mutual.md"]


def row(text, *cells):
    """The table line that begins with these cells."""
    start = "| " + " | ".join(cells)
    return next(line for line in text.splitlines() if line.startswith(start))


def test_our_row_of_table_1_is_worked_out_by_hand():
    # Shifts 1 to 5 thousandths: mean 0.003, standard deviation sqrt(2.5) thousandths = 0.00158.
    line = row(page(results()), "ours", "DeepFM", "5 groups")
    cells = [cell.strip() for cell in line.strip("|").split("|")][3:]
    assert cells[0] == "0.75300 ± 0.00158" and cells[1] == "0.75200 ± 0.00158"
    assert cells[3] == "0.75350 ± 0.00158" and cells[4] == "0.75700 ± 0.00158"
    # RelaImp: 0.255 / 0.253 - 1 and 0.2535 / 0.253 - 1; share of the oracle's 0.4: 0.253 / 0.4.
    assert cells[5:] == ["+0.791 %", "+0.198 %", "63.2 %"]


def test_the_papers_rows_stand_beside_ours():
    # Deviations of the independent runs from 0.79398: 27, -4, -15, -8 in 1e-5; of the mutual ones from 0.7956625:
    # -4.25, -1.25, 11.75, -6.25. RelaImp of the means: 0.2956625 / 0.29398 - 1.
    line = row(page(results()), "paper, Avazu", "DCN", "4 runs", "0.79398 ± 0.00019")
    assert "| 0.79566 ± 0.00008 |" in line and "| +0.572 % |" in line


def test_the_interval_of_a_difference_is_worked_out_by_hand():
    # Differences 200 + (0, 1, -1, 2, -2) in 1e-5: mean 200, standard error sqrt(2.5 / 5), t(4) at 97.5 % 2.776445.
    half = 2.776445 * (2.5 / 5) ** 0.5
    line = row(page(results()), "DeepFM", "pretrained, mutual > independent", "5")
    assert f"+200.0 [+{200 - half:.1f}, +{200 + half:.1f}]" in line and "| significantly better | 0.0625 |" in line


@pytest.mark.parametrize(
    ("figures", "steps"),
    [
        ({}, ("significantly better", "significantly better")),
        ({"mutual": 0.748}, ("significantly worse", "significantly better")),
        ({"scratch": 0.7511}, ("significantly better", "significantly worse")),
        ({"mutual": 0.75}, ("not significantly better", "significantly better")),
    ],
)
def test_the_verdicts_on_the_papers_steps_follow_from_the_figures(figures, steps):
    text = page(results(**figures))
    assert f"| {steps[0]} |" in row(text, "DeepFM", "pretrained, mutual > independent")
    assert f"| {steps[1]} |" in row(text, "DeepFM", "independent > mutual from scratch")


def test_what_the_mutual_term_adds_is_measured_against_the_same_epoch_without_it():
    claim = ("DeepFM", "pretrained, mutual > finetuned alone", "5")
    assert "| significantly better |" in row(page(results(finetuned=0.7505)), *claim)
    assert "| not significantly better |" in row(page(results(finetuned=0.752)), *claim)


def test_the_spread_of_a_group_is_compared_with_that_of_independent_runs():
    # Within a group: independent peers differ by 2e-4, mutual ones by 2e-5: deviations 1.41e-4 and 1.41e-5.
    section = page(results()).split("### Spread within a group")[1]
    assert row(section, "DeepFM", "14.1", "14.1", "1.4").endswith("| significantly better |")


def test_table_2_compares_the_same_peer_among_its_own_and_among_others():
    data = results(table_2={"models": ["deepfm", "dcn"], "groups": 5})
    extra = {}
    for group in GROUPS:
        extra["mixed", group, "mixed"] = [0.755 + group * 1e-3 + NOISE[group], 0.7]
        for arm in ("independent", "mutual"):
            extra["dcn", group, arm] = [0.71 + group * 1e-6, 0.72]
    mixed = made_up(extra, table_2={"models": ["deepfm", "dcn"], "groups": 5})
    text = page({**data, "cells": data["cells"] + mixed["cells"]})
    # First peers: mutual 0.752 - 1e-5 (and its noise), different 0.755 (the same noise): 301 in 1e-5, in each group.
    text = text.split("## Table 2")[1]
    ours = row(text, "ours", "DeepFM", "0.75290")
    assert "| +301.0 [+301.0, +301.0] |" in ours and ours.endswith("| significantly better |")
    assert row(text, "ours", "DCN").endswith("| significantly worse |")
    assert "| -37.0 |" in row(text, "paper, Avazu", "FiBiNET", "0.79743")


def test_group_sizes_are_compared_by_the_peers_that_they_share():
    sizes = {"models": ["deepfm"], "groups": 5}
    aucs = {}
    for group in GROUPS:
        aucs["deepfm", group, "independent"] = [0.75, 0.76, 0.50, 0.40, 0.30]
        aucs["deepfm", group, "mutual"] = [0.751, 0.761]
        aucs["deepfm", group, "peers_3"] = [0.752, 0.762, 0.51]
        aucs["deepfm", group, "peers_5"] = [0.753 + NOISE[group], 0.763, 0.51, 0.41, 0.31]
    files = render(made_up(aucs, table_1={}, sizes=sizes))
    # Three peers: mean (0.752 + 0.762 + 0.51) / 3 = 0.67467, gain (0.002 + 0.002 + 0.01) / 3 = 466.7e-5.
    line = row(files["mutual.md"], "ours", "DeepFM", "5 groups", "3")
    assert "0.67467 ± 0.00000 | +466.7 [+466.7, +466.7] | 0.75700 ± 0.00000" in line
    test = row(files["mutual.md"], "DeepFM", "5 peers > 2 peers", "5")
    assert "+200.0 [" in test and test.endswith("| significantly better |")
    assert "5 peers" in files["mutual_sizes.svg"]


def test_controls_are_compared_with_what_differs_in_one_thing():
    data = results(controls={"models": ["deepfm"], "groups": 5})
    extra = made_up({("deepfm", g, "two_epochs"): [0.750 + g * 1e-3] * 2 for g in GROUPS})
    text = page({**data, "cells": data["cells"] + extra["cells"]})
    assert "| pretrained, mutual | 5 | -200.0 [" in row(text, "DeepFM", "mutual, two epochs")


def test_another_length_of_pretraining_is_compared_with_what_it_starts_from():
    data = results(controls={"models": ["deepfm"], "groups": 5})
    extra = {}
    for group in GROUPS:
        level = 0.75 + group * 1e-3 + NOISE[group]
        extra["deepfm", group, "independent_other_length"] = [level - 0.003] * 2
        extra["deepfm", group, "mutual_other_length"] = [level - 0.001] * 2
        extra["deepfm", group, "finetune_only_other_length"] = [level - 0.001] * 2
    text = page({**data, "cells": data["cells"] + made_up(extra)["cells"]})
    for other, difference, verdict in (
        ("independent, other length", "+200.0", "significantly better"),
        ("finetuned alone, other length", "+0.0", "not significantly better"),
        ("independent", "-100.0", "significantly worse"),
    ):
        lines = [line for line in text.splitlines() if line.startswith("| DeepFM | mutual, other length |")]
        (line,) = (line for line in lines if f"| {other} |" in line)
        assert f"| {difference} [" in line and line.endswith(f"| {verdict} |")


def test_parts_that_were_not_run_are_not_on_the_page():
    text = page(results())
    assert "## Table 1" in text and not re.search("## Table(s 3| 2)|## Controls", text)


def test_independent_runs_of_a_larger_group_count_only_as_far_as_k():
    data = results()
    fifth = made_up({("deepfm", g, "independent"): [0.0, 0.0, 0.9] for g in GROUPS})["cells"]
    data["cells"] += [cell for cell in fifth if cell["peers"][0]["number"] == 2]
    assert Findings(data).of_group("deepfm", 1, "independent") == pytest.approx(0.751)


def test_results_are_written_with_a_line_a_cell_and_read_back(tmp_path):
    write_results(tmp_path / "mutual.json", results())
    assert read_results(MutualGrid, tmp_path) == json.loads(json.dumps(results()))
    assert len((tmp_path / "mutual.json").read_text().splitlines()) > len(results()["cells"])
    (tmp_path / "mutual.json").write_text('{"cells": []}')
    with pytest.raises(InputError, match=r"mutual\.json"):
        read_results(MutualGrid, tmp_path)


def test_render_only_writes_the_page_from_the_results_alone(tmp_path):
    write_results(tmp_path / "mutual.json", results())
    answer = consort("table", "mutual", "--render-only", "--out", tmp_path, "--json", tmp_path / "all.json")
    assert answer.code == 0, answer.err
    assert (tmp_path / "mutual.md").read_text() == page(results())
    assert json.loads((tmp_path / "all.json").read_text())["cells"] == json.loads(json.dumps(results()["cells"]))
    assert "significantly better" in answer.out and "mutual_gain.svg" in {path.name for path in tmp_path.iterdir()}


def test_render_only_without_results_and_a_run_without_a_folder_are_wrong_input(tmp_path):
    assert consort("table", "mutual", "--render-only", "--out", tmp_path).code == 2
    answer = consort("table", "mutual", "--models", "deepfm")
    assert answer.code == 2 and "--out" in answer.err


COMMITTED = ROOT / "experiments" / "results"


def test_the_committed_page_is_that_of_the_committed_results():
    for name, text in render(read_results(MutualGrid, COMMITTED)).items():
        assert (COMMITTED / name).read_text() == text, name


def test_the_committed_figures_are_means_of_the_committed_cells():
    """Worked out anew from the cells, without the code of the page."""
    data = json.loads((COMMITTED / "mutual.json").read_text())
    text = (COMMITTED / "mutual.md").read_text()
    by_group: dict[tuple, list] = {}
    for cell in data["cells"]:
        for peer, figures in zip(cell["peers"], cell["test"]["peers"], strict=True):
            if cell["arm"] != "independent" or peer["number"] < data["grid"]["peers"]:
                by_group.setdefault((cell["model"], cell["arm"], cell["group"]), []).append(figures["auc"])
    assert len(data["grid"]["table_1"]["models"]) == 4 and data["grid"]["table_1"]["groups"] >= 5
    titles = {"deepfm": "DeepFM", "dcn": "DCN", "pnn": "PNN", "fibinet": "FiBiNET"}
    for model in data["grid"]["table_1"]["models"]:
        for arm in ("independent", "scratch", "mutual", "finetune_only"):
            means = [statistics.fmean(v) for (m, a, _), v in sorted(by_group.items()) if (m, a) == (model, arm)]
            expected = f"{statistics.fmean(means):.5f} ± {statistics.stdev(means):.5f}"
            assert expected in row(text, "ours", titles[model], f"{len(means)} groups"), (model, arm)


def test_the_committed_results_are_of_one_data_set_and_say_what_made_them():
    data = json.loads((COMMITTED / "mutual.json").read_text())
    assert {cell["data_sha256"] for cell in data["cells"]} == {data["data"]["sha256"]}
    assert sum(split["rows"] for split in data["data"]["splits"].values()) >= 2_000_000
    for context in data["contexts"]:
        assert context["machine"]["versions"]["tensorflow"] and context["command"].startswith("consort table mutual")
    assert all(0 <= cell["context"] < len(data["contexts"]) for cell in data["cells"])
