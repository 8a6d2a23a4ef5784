"""DUET on EB-NeRD's own lists."""

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import consort

pytestmark = [pytest.mark.e2e, pytest.mark.real_data]


def test_the_preset_trains_on_ebnerds_requests(tmp_path: Path, data_folder: Path) -> None:
    raw = data_folder / "ebnerd"
    if not raw.is_dir():
        pytest.skip(f"no EB-NeRD in {data_folder}")
    options = ("--option", "records=request", "--option", "request_share=0.08")
    answer = consort("data", "import", "ebnerd", "--input", raw, "--out", tmp_path / "data", *options)
    assert answer.code == 0, answer.err
    settings = ("--set", "training.epochs=1", "--set", "training.batch_size=8", "--set", "training.learning_rate=0.003")
    answer = consort("train", "ebnerd_duet", "--data", tmp_path / "data", "--out", tmp_path / "run", *settings)
    assert answer.code == 0, answer.err
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    (row,) = run["training"]["history"]
    assert [peer["model"] for peer in run["recipe"]["peers"]] == ["SetRanker", "SetRanker"]
    # A click in ten: a constant at that rate has a log loss of 0.31, one at a half 0.69.
    assert row["eval_logloss"] < 0.33
    assert max(row[f"eval_auc/peer_{k}"] for k in range(2)) > 0.58
    # Hundreds of candidates a request, about ten of them shown.
    assert 0 < row["eval_prediction/unexposed"] < 0.5
    assert min(value for name, value in row.items() if name.startswith("degree_min")) > 1
