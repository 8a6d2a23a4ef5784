import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from models.training.checkpoints import Checkpoints, RunState
from models.training.optimizers import LazyAdam
from transforms.errors import InputError

_HISTORY: list[dict[str, float]] = [{"epoch": 1, "loss": 0.1 + 0.2}]


def _model(units: int = 3) -> keras.Model:
    model = keras.Sequential([keras.layers.Dense(units)])
    model(tf.zeros([1, 2]))
    model.optimizer = LazyAdam()
    model.optimizer.build(model.trainable_variables)
    return model


def _fill(model: keras.Model, value: float) -> None:
    for variable in [*model.weights, *model.optimizer.variables]:
        variable.assign(tf.cast(tf.fill(variable.shape, value), variable.dtype))


def _saved(folder: Path, keep: int = 2) -> Checkpoints:
    """Checkpoints of steps 4 and 6, with every number 4 or 6."""
    model = _model()
    checkpoints = Checkpoints(folder, model, model.optimizer, keep)
    for step in (2, 4, 6):
        _fill(model, step)
        checkpoints.save(RunState(epoch=1, step=step, step_in_epoch=step - 1, history=_HISTORY))
    return checkpoints


def _restored(folder: Path) -> tuple[RunState | None, set[float]]:
    model = _model()
    _fill(model, -1)
    state = Checkpoints(folder, model, model.optimizer, 2).restore()
    values = [variable.numpy() for variable in [*model.weights, *model.optimizer.variables]]
    return state, set(np.concatenate([np.ravel(value).astype(float) for value in values]))


def test_everything_comes_back(tmp_path: Path) -> None:
    _saved(tmp_path)
    state, values = _restored(tmp_path)
    assert state == RunState(epoch=1, step=6, step_in_epoch=5, history=_HISTORY)
    assert values == {6.0}


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _garble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("file", ["step-6.data-00000-of-00001", "step-6.index"])
@pytest.mark.parametrize("damage", [_cut, _garble, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    damage: Callable[[Path], object], file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _saved(tmp_path)
    damage(tmp_path / file)
    with caplog.at_level(logging.WARNING):
        state, values = _restored(tmp_path)
    assert state is not None and state.step == 4
    assert values == {4.0}
    assert "step-6 is damaged" in caplog.text or damage is Path.unlink


def test_with_nothing_readable_nothing_changes(tmp_path: Path) -> None:
    assert _restored(tmp_path) == (None, {-1.0})
    _saved(tmp_path)
    for path in tmp_path.glob("*.data-*"):
        _cut(path)
    assert _restored(tmp_path) == (None, {-1.0})


@pytest.mark.parametrize(("keep", "kept"), [(1, {6}), (2, {4, 6}), (5, {2, 4, 6})])
def test_the_last_ones_are_kept(keep: int, kept: set[int], tmp_path: Path) -> None:
    _saved(tmp_path, keep)
    for pattern in ("*.index", "*.data-*"):
        assert {int(path.name.split(".")[0].removeprefix("step-")) for path in tmp_path.glob(pattern)} == kept


def test_a_damaged_later_checkpoint_never_pushes_out_a_whole_one(tmp_path: Path) -> None:
    checkpoints = _saved(tmp_path, keep=1)
    _cut(tmp_path / "step-6.index")
    checkpoints.save(RunState(step=5))
    assert {path.stem for path in tmp_path.glob("*.index")} == {"step-5"}


def test_best_weights_outlive_the_others(tmp_path: Path) -> None:
    model = _model()
    checkpoints = Checkpoints(tmp_path, model, model.optimizer, 1)
    for epoch in (1, 2):
        _fill(model, epoch)
        checkpoints.save_best(epoch)
        checkpoints.save(RunState(step=epoch, best_epoch=epoch))
    _fill(model, 3)
    checkpoints.save(RunState(step=3, best_epoch=2))
    assert {path.stem for path in tmp_path.glob("best-*.index")} == {"best-2"}
    checkpoints.restore_best(2)
    assert {float(value) for weight in model.weights for value in np.ravel(weight.numpy())} == {2.0}
    assert {float(value) for value in np.ravel(model.optimizer.variables[1].numpy())} == {3.0}
    with pytest.raises(InputError, match="best-1: received no intact file"):
        checkpoints.restore_best(1)


def test_another_model_is_refused(tmp_path: Path) -> None:
    _saved(tmp_path)
    model = _model(units=4)
    with pytest.raises(InputError, match="another model .* directory of its own"):
        Checkpoints(tmp_path, model, model.optimizer, 2).restore()
