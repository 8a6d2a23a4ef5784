"""A tiny grid from one end to the other: what a cell trains and measures, and how a grid goes on after a kill."""

import json
import shutil

import numpy as np
import pytest

from experiments.grid import read_results
from experiments.mutual.cells import Cell, Member, cells_of, independent
from experiments.mutual.grid import MutualGrid, Part, Phase
from experiments.mutual.page import PAGE, render
from experiments.mutual.training import TABLE, cell_config, figures, run_cell
from experiments.runner import CellRun, run_table
from tests.helpers.mutual_grid import TINY
from tests.helpers.tiny_grids import Killed, kill_after
from transforms.errors import InputError
from transforms.records import load_dataset

GRID = MutualGrid.model_validate(TINY)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that ended after two cells: its folder, and the files in it."""
    out = tmp_path_factory.mktemp("grid") / "out"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr("sys.argv", ["consort", "table", "mutual", "--out", str(out)])
        run_table(TABLE, GRID, out, workers=0, say=kill_after(2))
    return out, {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(killed):
    """The same run, taken up again."""
    out, _ = killed
    return out, run_table(TABLE, GRID, out, workers=0)


def cell(results, name):
    return next(cell for cell in results["cells"] if cell["cell"] == name)


def aucs(results, name, split="test"):
    return [peer["auc"] for peer in cell(results, name)[split]["peers"]]


def test_every_cell_has_a_file_and_stands_in_the_whole(finished):
    out, results = finished
    names = {each.name for each in cells_of(GRID)}
    assert {each["cell"] for each in results["cells"]} == names == {path.stem for path in (out / "cells").iterdir()}
    assert read_results(MutualGrid, out) == json.loads(json.dumps(results))


def test_the_page_has_simple_models_beside_the_methods(finished):
    out, results = finished
    ((log, baselines),) = results["baselines"].items()
    assert (out / "baselines" / f"{log}.json").is_file()
    assert baselines["mean_rate"]["auc"] == 0.5 < baselines["logistic_regression"]["auc"]
    row = f"| `logistic_regression` | 1 | {baselines['logistic_regression']['auc']:.5f} |"
    assert row in render(results)[PAGE]
    # Results of earlier versions have none.
    assert "## Baselines" not in render({key: value for key, value in results.items() if key != "baselines"})[PAGE]


def test_a_result_says_what_made_it(finished):
    out, results = finished
    result = json.loads((out / "cells" / "deepfm-1-mutual.json").read_text())
    assert result["seeds"] == {"peers": [1_010_000, 1_010_001], "order": 1_010_000}
    assert result["settings"]["mutual_weight"] == 1.0 and result["settings"]["learning_rate"] == 0.001
    assert (
        result["data_sha256"]
        == results["data"]["sha256"]
        == load_dataset(out / "work" / "data" / "default-1" / "records").sha256
    )
    assert result["context"]["machine"]["versions"]["tensorflow"] and result["context"]["command"]
    # The command, but not where on this machine its folder lies.
    assert results["contexts"][0]["command"] == "consort table mutual --out out"
    # 3,200 rows or so in batches of 200.
    assert result["steps"] == -(-results["data"]["splits"]["train"]["rows"] // 200)


def test_independent_runs_read_the_data_in_orders_of_their_own_and_groups_in_one(finished):
    _, results = finished
    orders = {each["cell"]: each["seeds"]["order"] for each in results["cells"]}
    alone = [order for name, order in orders.items() if "independent" in name]
    assert len(set(alone)) == 2
    assert len({order for name, order in orders.items() if "independent" not in name}) == 1


def test_a_cell_is_the_run_that_its_run_file_says(finished):
    """What `consort train` with the cell's config would train: the preset's other settings, the cell's own seed."""
    out, results = finished
    run = json.loads((out / "work" / "runs" / "deepfm-1-independent-1" / "run.json").read_text())
    config = cell_config(CellRun(independent(GRID, Member("deepfm", 1), 1), GRID, out))
    assert run["config"] == json.loads(config.model_dump_json()) and run["seed"] == 1_010_001
    assert config.training.epochs == 2 and config.training.decay_epochs == 3 and config.model.hidden_units == (4,)
    assert run["dataset_sha256"] == results["data"]["sha256"]
    pair = Cell(GRID.place, "deepfm", 1, "symmetric_kl", (Member("deepfm", 0), Member("deepfm", 1)))
    mutual = cell_config(CellRun(pair, GRID, out))
    options = mutual.recipe.options
    assert options["loss"] == "symmetric_kl" and options["learning_rate"] == 0.001 and options["epochs"] == 1
    assert [path.rsplit("/", 1)[1] for path in options["pretrained"]] == [
        "deepfm-1-independent-0", "deepfm-1-independent-1"
    ]  # fmt: skip


def test_overrides_of_the_grid_reach_the_runs(finished):
    out, _ = finished
    grid = GRID.model_copy(update={"preset": "simulated_ctr_mutual", "overrides": ("model.dropout=0.25",)})
    assert cell_config(CellRun(independent(grid, Member("deepfm", 0), 1), grid, out)).model.dropout == 0.25


def test_the_mutual_term_changes_the_peers(finished):
    _, results = finished
    assert aucs(results, "deepfm-1-mutual")[0] != pytest.approx(aucs(results, "deepfm-1-finetune_only")[0], abs=1e-9)


def test_a_group_of_different_models_starts_from_a_run_of_each(finished):
    out, results = finished
    members = (Member("deepfm", 0), Member("dcn", 0))
    alone = run_cell(CellRun(independent(GRID, members[1], 1), GRID, out))
    still = GRID.model_copy(update={"finetuning": Phase(epochs=1, learning_rate=1e-12)})
    mixed = run_cell(CellRun(Cell(GRID.place, "mixed", 1, "mixed", members), still, out))
    expected = [aucs(results, "deepfm-1-independent-0")[0], alone["test"]["peers"][0]["auc"]]
    assert [peer["auc"] for peer in mixed["test"]["peers"]] == pytest.approx(expected, abs=1e-6)


def test_groups_start_from_the_pretrained_peers(finished):
    """The ensemble measures what was loaded: each peer must have the very figures of its own run."""
    _, results = finished
    alone = [aucs(results, f"deepfm-1-independent-{number}")[0] for number in range(2)]
    assert aucs(results, "deepfm-1-ensemble") == pytest.approx(alone, abs=1e-9)
    assert alone[0] != alone[1]


def test_pretraining_keeps_the_epoch_with_the_least_eval_log_loss(finished):
    _, results = finished
    for name in ("deepfm-1-independent-0", "deepfm-1-scratch"):
        result = cell(results, name)
        losses = [row["eval_logloss"] for row in result["history"]]
        assert len(losses) == 2 and result["best_epoch"] == 1 + int(np.argmin(losses))
        measured = np.mean([peer["logloss"] for peer in result["eval"]["peers"]])
        assert measured == pytest.approx(min(losses), abs=1e-5)


def test_figures_are_those_of_pairs_counted_by_hand():
    label, truth = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.5, 0.5, 1.0, 0.0])
    # Peer 0 orders the pairs (0, 1), (0, 3), (2, 1), (2, 3) right but the last of them; peer 1 ties all.
    result = figures(np.array([[0.6, 0.5], [0.4, 0.5], [0.5, 0.5], [0.55, 0.5]]), label, truth)
    assert [peer["auc"] for peer in result["peers"]] == [pytest.approx(3 / 4), 0.5]
    assert result["peers"][1]["logloss"] == pytest.approx(np.log(2))
    # Their mean keeps peer 0's order.
    assert result["mean_of_peers"]["auc"] == pytest.approx(3 / 4)
    # With the truth as weights, positives 0.5, 0.5, 1, 0 and negatives 0.5, 0.5, 0, 1. By falling score, rows 0, 3,
    # 2, 1: row 0 is above the negatives 1, 0, 0.5 and ties its own, 0.5; row 2 above 0.5; row 1 ties its own.
    by_hand = (0.5 * (1 + 0.5 + 0.25) + 1 * 0.5 + 0.5 * 0.25) / (2 * 2)
    assert result["peers"][0]["expected_auc"] == pytest.approx(by_hand)


def test_a_second_run_does_nothing_again_and_one_after_a_kill_does_what_is_left(finished, tmp_path):
    source, results = finished
    out = tmp_path / "copy"
    shutil.copytree(source, out)
    said: list[str] = []
    assert run_table(TABLE, GRID, out, workers=0, say=said.append)["cells"] == results["cells"]
    assert not [line for line in said if line.startswith("[")]
    (out / "cells" / "deepfm-1-mutual.json").unlink()
    (out / "cells" / "deepfm-1-independent-1.json").unlink()
    again = run_table(TABLE, GRID, out, workers=0, say=said.append)
    names = [line.split()[1].rstrip(":") for line in said if line.startswith("[")]
    assert names == ["deepfm-1-independent-1", "deepfm-1-mutual"]
    assert aucs(again, "deepfm-1-mutual") == pytest.approx(aucs(results, "deepfm-1-mutual"), abs=1e-4)


def test_a_cell_whose_pretrained_runs_are_gone_has_them_trained_again(finished, tmp_path):
    source, results = finished
    out = tmp_path / "copy"
    shutil.copytree(source, out)
    shutil.rmtree(out / "work" / "runs")
    (out / "cells" / "deepfm-1-ensemble.json").unlink()
    said: list[str] = []
    again = run_table(TABLE, GRID, out, workers=0, say=said.append)
    names = [line.split()[1].rstrip(":") for line in said if line.startswith("[")]
    assert names == ["deepfm-1-independent-0", "deepfm-1-independent-1", "deepfm-1-ensemble"]
    assert aucs(again, "deepfm-1-ensemble") == pytest.approx(aucs(results, "deepfm-1-ensemble"), abs=1e-4)


def test_a_killed_run_leaves_whole_results_of_the_cells_that_were_done(killed, finished):
    _, files = killed
    done = sorted(name for name in files if name.startswith("cells/"))
    assert done == ["cells/deepfm-1-independent-0.json", "cells/deepfm-1-independent-1.json"]
    assert "mutual.json" not in files
    assert {each["cell"] for each in finished[1]["cells"]} == {each.name for each in cells_of(GRID)}


def test_a_result_that_was_fitted_in_another_way_is_refused(finished):
    out, _ = finished
    longer = GRID.model_copy(update={"finetuning": Phase(epochs=2, learning_rate=0.001)})
    # As if the grid itself were that of the folder.
    shown = json.loads((out / "grid.json").read_text())
    try:
        (out / "grid.json").write_text(json.dumps({**shown, **longer.identity()}))
        with pytest.raises(InputError, match=r"deepfm-1-\w+\.json: received a result with epochs 1"):
            run_table(TABLE, longer, out, workers=0)
    finally:
        (out / "grid.json").write_text(json.dumps(shown))


def test_a_part_that_is_run_alone_leaves_the_other_results_in_the_whole(finished):
    out, results = finished
    wider = GRID.model_copy(update={"controls": Part(models=("deepfm",), groups=1)})
    again = run_table(TABLE, GRID, out, complete=wider, workers=0)
    assert again["cells"] == results["cells"] and again["grid"]["controls"]["groups"] == 1
    run_table(TABLE, GRID, out, workers=0)


@pytest.mark.parametrize("changes", [{"seed": 2}, {"embedding_dim": 3}, {"rows": 5000}])
def test_a_folder_of_another_grid_is_refused(finished, changes):
    out, _ = finished
    with pytest.raises(InputError, match=f"results with {next(iter(changes))}"):
        run_table(TABLE, GRID.model_copy(update=changes), out, workers=0)


def test_an_empty_grid_foreign_files_and_missing_data_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="no cell"):
        run_table(TABLE, GRID.narrowed(parts=()), tmp_path / "out", workers=0)
    with pytest.raises(InputError, match="--data"):
        run_table(TABLE, GRID.model_copy(update={"source": "criteo"}), tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="a folder in use"):
        run_table(TABLE, GRID, tmp_path / "used", workers=0)


def test_the_page_of_a_real_grid_can_be_rendered(finished):
    _, results = finished
    files = render(results)
    assert set(files) == {"mutual.md", "mutual_gain.svg"}
    assert "| ours | DeepFM | 1 groups |" in files["mutual.md"]
