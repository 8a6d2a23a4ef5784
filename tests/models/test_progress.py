import time
from pathlib import Path

import pytest
import tensorflow as tf

from models.training.progress import BoardLog, Progress, Reporter


def _points(folder: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for file in folder.glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_losses_and_epochs_are_found_in_the_event_files(tmp_path: Path) -> None:
    board = BoardLog(tmp_path, every=2)
    for step in range(1, 6):
        board.steps(Progress(1, step, step / 8, 100.0 * step))
    board.epoch(5, {"auc": 0.5, "eval_auc": 0.75})
    points = _points(tmp_path)
    assert points["train/loss"] == {2: 0.25, 4: 0.5}
    assert points["train/examples_per_second"] == {2: 200.0, 4: 400.0}
    assert points["epoch/auc"] == {5: 0.5} and points["eval/auc"] == {5: 0.75}


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    board = BoardLog(None)
    board.steps(Progress(1, 100, 0.5, None))
    board.epoch(100, {"auc": 0.5})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("seconds", "left"), [(59.6, "1:00 left"), (3725.0, "1:02:05 left"), (None, None)])
def test_the_line_of_a_step_has_the_loss_the_speed_and_the_time_left(seconds: float | None, left: str | None) -> None:
    lines = Reporter(True, BoardLog(None), "peer_1", epochs=3, total_steps=1200)
    assert lines.text == "peer_1: preparing the first step"
    lines(Progress(2, 7, 0.25, 1234.0, seconds))
    start = "peer_1: epoch 2 of 3, step 7 of 1,200: loss 0.25000, 1,234 rows/s"
    assert lines.text == start + (f", {left}" if left else "")
    lines.evaluating(2)
    assert lines.text == "peer_1: epoch 2 of 3: evaluating"


def test_the_line_of_an_epoch_has_the_metrics_of_each_peer(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"epoch": 1, "step": 9, "loss": 0.5, "auc": 0.6, "eval_auc/peer_0": 0.71, "eval_auc/peer_1": 0.72}
    Reporter(True, BoardLog(None), epochs=1).epoch({**row, "seconds": 61.0})
    expected = "epoch 1 of 1: loss 0.5000, eval_auc/peer_0 0.7100, eval_auc/peer_1 0.7200, 1:01\n"
    assert capsys.readouterr().err == expected


def test_a_pipe_gets_a_line_now_and_then_while_a_step_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("transforms.progress.EVERY_S", 0.01)
    reporter = Reporter(True, BoardLog(None), epochs=1)
    with reporter.shown():
        reporter(Progress(epoch=1, step=2, loss=0.5, examples_per_second=None))
        deadline = time.monotonic() + 10
        while not (lines := capsys.readouterr().err.splitlines()) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert set(lines) == {"epoch 1 of 1, step 2: loss 0.50000"}
