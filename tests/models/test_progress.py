import io
from pathlib import Path

import pytest
import tensorflow as tf

from models.training.progress import BoardLog, Progress, reporter


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


@pytest.mark.parametrize(("seconds", "told"), [(59.6, "1:00 left"), (3725.0, "1:02:05 left"), (None, None)])
def test_the_line_on_a_terminal_tells_speed_and_time_left(
    seconds: float | None, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    with reporter(True) as report:
        report(Progress(2, 7, 0.25, 1234.0, seconds))
    line = terminal.getvalue()
    assert "epoch 2, step 7: loss 0.25000, 1,234 examples/s" in line
    assert (told in line) if told else ("left" not in line)
