"""A folder is locked while a run is at work in it, and whoever comes second is refused before anything is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs.online.learn import OnlineSettings, learn_online
from runs.plan import make_plan
from runs.train import train_run
from runs.tuning.search import tune_run
from tests.helpers.command_line import consort, tree
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import write_learnable
from tfx_pipeline.run import run_data_half
from transforms.errors import InputError
from transforms.locks import is_locked, locked
from transforms.spans import cut_spans

CONFIG = small_config()
SEARCH = small_config(tuning={"space": {"model.dropout": [0.0, 0.1]}, "max_trials": 2})


class Stopped(Exception):
    """Ends a run as soon as it has said something."""


def train(folder: Path, say: Callable[..., None]) -> None:
    train_run(CONFIG, folder / "data", folder / "out", say)


def tune(folder: Path, say: Callable[..., None]) -> None:
    tune_run(SEARCH, folder / "data", folder / "out", say)


def online(folder: Path, say: Callable[..., None]) -> None:
    learn_online(CONFIG, folder / "stream", folder / "out", folder / "serving", OnlineSettings(), say)


def pipeline(folder: Path, say: Callable[..., None]) -> None:
    run_data_half(make_plan(CONFIG, folder / "data", folder / "out"), say)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_learnable(folder / "data")
    cut_spans(folder / "data", folder / "stream", 2)
    return folder


@pytest.fixture
def folder(tmp_path: Path, data: Path) -> Path:
    for name in ("data", "stream"):
        (tmp_path / name).symlink_to(data / name)
    return tmp_path


@pytest.mark.parametrize("run", [train, tune, online, pipeline])
def test_a_run_holds_the_lock_of_its_folder_until_it_ends(run: Callable[..., None], folder: Path) -> None:
    held: list[bool] = []

    def say(*_: Any) -> None:
        held.append(is_locked(folder / "out"))
        raise Stopped

    with pytest.raises(Exception, match="Stopped|^$"):
        run(folder, say)
    assert held == [True] and not is_locked(folder / "out")


@pytest.mark.parametrize("run", [train, tune, online, pipeline])
def test_a_second_run_is_refused_and_writes_nothing(run: Callable[..., None], folder: Path) -> None:
    with locked(folder / "out"):
        before = tree(folder)
        with pytest.raises(InputError, match="out: received a folder that is in use by process"):
            run(folder, print)
        assert tree(folder) == before


def test_two_runs_on_streams_do_not_push_to_the_same_model(folder: Path) -> None:
    with locked(folder / "serving" / CONFIG.name), pytest.raises(InputError, match="in use by process"):
        online(folder, print)
    assert not (folder / "out").exists()


COMMANDS = [
    "train toy.yaml --data data --out out",
    "tune toy.yaml --data data --out out",
    "online toy.yaml --stream stream --out out",
    "pipeline run toy.yaml --data data --root out",
    "export model --out serving",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_command_exits_with_2_and_names_the_holder(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    Path("toy.yaml").write_text(SEARCH.to_yaml())
    contract = Path("model/assets.extra/contract.json")
    contract.parent.mkdir(parents=True)
    contract.write_text('{"contract_version": 1, "model": "toy_deepfm"}')
    Path("model/saved_model.pb").touch()
    with locked("out"), locked("serving/toy_deepfm"):
        answer = consort(*command.split())
    assert answer.code == 2 and "in use by process" in answer.err, answer.err
