"""The tables on raw files that a user has: through import and transform into cells and a page."""

import json

import pytest
import yaml

from benchmarks.criteo_like import write_criteo_like
from tests.helpers.command_line import consort
from tests.helpers.mutual_grid import TINY

ROWS = 500


@pytest.mark.e2e
def test_raw_criteo_lines_become_cells_and_a_page(tmp_path):
    raw = tmp_path / "raw" / "train.txt"
    raw.parent.mkdir()
    write_criteo_like(raw, ROWS, seed=3)
    clicks = sum(line.startswith("1") for line in raw.read_text().splitlines())
    answer = consort("data", "import", "criteo", "--input", raw.parent, "--out", tmp_path / "data")
    assert answer.code == 0, answer.err
    values = {key: value for key, value in TINY.items() if key not in ("world", "rows")}
    short = {"epochs": 1, "learning_rate": 0.01}
    grid = {**values, "source": "criteo", "batch_size": 100, "pretraining": short}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    command = ("table", "mutual", "--data", tmp_path / "data", "--out", tmp_path / "out")
    refused = consort(*command, "--grid", "mutual_avazu")
    assert refused.code == 2 and "'criteo'" in refused.err and not (tmp_path / "out").exists()

    answer = consort(*command, "--grid", tmp_path / "grid.yaml", "--workers", 1)
    assert answer.code == 0, answer.err
    results = json.loads((tmp_path / "out" / "mutual.json").read_text())
    splits = results["data"]["splits"].values()
    assert sum(split["rows"] for split in splits) == ROWS
    assert round(sum(split["rows"] * split["click_rate"] for split in splits)) == clicks
    # 13 numbers and 26 categories, and no truth.
    assert results["data"]["fields"] == 39 and not any(split["oracle"] for split in splits)
    assert len(results["cells"]) == 6 and results["data"]["dataset_sha256"] == _sha256(tmp_path / "data")
    page = (tmp_path / "out" / "mutual.md").read_text()
    assert "Data: criteo; 39 fields" in page
    assert "| ours | DeepFM | 1 groups |" in page and "true probabilities have AUC" not in page


def _sha256(folder):
    return json.loads((folder / "dataset.json").read_text())["sha256"]
