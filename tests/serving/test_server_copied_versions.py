"""Versions that are still being copied, that are repaired in place, and that went long ago."""

import logging
import shutil
import threading
import time
from functools import partial

import pytest

from serving.client import PredictClient
from serving.protocol import ServingError
from serving.server.model_versions import ModelVersions
from serving.server.saved_model_files import missing_part
from serving.server.servable import Servable
from serving.server.server import LocalServer
from tests.helpers.command_line import until
from tests.serving import toy_models

POLL_S = 0.05
DATA = "variables/variables.data-00000-of-00001"
INDEX = "variables/variables.index"


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return toy_models.colours(tmp_path_factory.mktemp("colours") / "model")


@pytest.fixture
def copy(colours, tmp_path):
    return shutil.copytree(colours, tmp_path / "copy")


def _serve(base, **options):
    return LocalServer({"m": base}, poll_s=POLL_S, **options)


def _states(client):
    try:
        return {status.version: status.state for status in client.status("m")}
    except ServingError:
        return {}


def test_a_saved_model_needs_graph_variables_and_assets(copy, tmp_path):
    assert missing_part(copy) is None
    assets = [path.relative_to(copy) for path in (copy / "assets").iterdir()]
    assert len(assets) == 1
    for part in ("saved_model.pb", INDEX, DATA, str(assets[0])):
        (copy / part).rename(tmp_path / "aside")
        assert missing_part(copy) == part
        (tmp_path / "aside").rename(copy / part)
    assert missing_part(copy) is None


def test_an_index_of_variables_is_there_when_its_end_is(copy):
    content = (copy / INDEX).read_bytes()
    for size in (0, 1, len(content) // 2, len(content) - 1):
        (copy / INDEX).write_bytes(content[:size])
        part = missing_part(copy)
        assert part is not None and part.startswith(INDEX)
    (copy / INDEX).write_bytes(content)
    assert missing_part(copy) is None


def test_all_files_that_hold_variables_are_needed(copy):
    # The header of the table, `num_shards: 1`, begins after three lengths.
    content = bytearray((copy / INDEX).read_bytes())
    assert content[3:5] == b"\x08\x01"
    content[4] = 3
    (copy / INDEX).write_bytes(content)
    assert missing_part(copy) == "variables/variables.data-00000-of-00003"
    for shard in range(2):
        (copy / f"variables/variables.data-0000{shard}-of-00003").touch()
    assert missing_part(copy) == "variables/variables.data-00002-of-00003"


def test_a_graph_that_says_that_it_restores_nothing_needs_no_variables(copy):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((copy / "saved_model.pb").read_bytes())
    saved.meta_graphs[0].ClearField("saver_def")
    (copy / "saved_model.pb").write_bytes(saved.SerializeToString())
    shutil.rmtree(copy / "variables")
    assert missing_part(copy) is None


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_what_is_wrong_with_a_graph_is_left_to_its_loading(copy, content):
    (copy / "saved_model.pb").write_bytes(content)
    assert missing_part(copy) is None


def test_a_version_copied_file_by_file_is_served_when_it_is_whole(colours, tmp_path):
    files = sorted(path.relative_to(colours) for path in colours.rglob("*") if path.is_file())
    (tmp_path / "1").mkdir()
    with _serve(tmp_path) as server, PredictClient(server.address) as client:
        until(lambda: _states(client) == {1: "START"})
        (waiting,) = client.status("m")
        assert waiting.error_code == "UNAVAILABLE"
        assert waiting.error_message.startswith("still being copied: there is no saved_model.pb in ")
        for file in files:
            (tmp_path / "1" / file).parent.mkdir(parents=True, exist_ok=True)
            # As a slow copy: half a file, and then the rest.
            content = (colours / file).read_bytes()
            (tmp_path / "1" / file).write_bytes(content[: len(content) // 2])
            time.sleep(2 * POLL_S)
            assert "AVAILABLE" not in _states(client).values()
            (tmp_path / "1" / file).write_bytes(content)
        server.wait_ready(20.0)
        assert client.predict("m", {"colour": ["green", "mauve"]}).outputs["id"].tolist() == [1, -1]
        assert client.status("m")[0].error_code == "OK"


def test_an_incomplete_version_leaves_the_one_below_it_in_service(two, tmp_path):
    shutil.copytree(two, tmp_path / "1")
    shutil.copytree(two, tmp_path / "2", ignore=shutil.ignore_patterns("variables"))
    with _serve(tmp_path) as server, PredictClient(server.address) as client:
        server.wait_ready(20.0)
        assert _states(client) == {2: "START", 1: "AVAILABLE"}
        assert client.predict("m", {"x": [2.0]}).version == 1
        shutil.copytree(two / "variables", tmp_path / "2" / "variables")
        until(lambda: _states(client) == {2: "AVAILABLE", 1: "END"})
        assert client.predict("m", {"x": [2.0]}).version == 2


def test_a_loaded_version_stays_when_its_files_go(two, tmp_path):
    shutil.copytree(two, tmp_path / "1")
    with _serve(tmp_path) as server, PredictClient(server.address) as client:
        server.wait_ready(20.0)
        shutil.rmtree(tmp_path / "1" / "variables")
        time.sleep(6 * POLL_S)
        assert _states(client) == {1: "AVAILABLE"}
        assert client.predict("m", {"x": [2.0]}).outputs["y"].tolist() == [3.0]


def test_waiting_for_an_incomplete_version_says_what_is_missing(two, tmp_path):
    shutil.copytree(two, tmp_path / "1", ignore=shutil.ignore_patterns("variables"))
    with _serve(tmp_path) as server, pytest.raises(ServingError, match=f"there is no {INDEX} in "):
        server.wait_ready(0.3)


def test_a_version_that_failed_is_loaded_when_it_is_repaired_in_place(two, tmp_path):
    broken = shutil.copytree(two, tmp_path / "1")
    graph = (broken / "saved_model.pb").read_bytes()
    (broken / "saved_model.pb").write_bytes(b"not a model")
    with _serve(tmp_path) as server, PredictClient(server.address) as client:
        with pytest.raises(ServingError, match="m version 1 failed to load"):
            server.wait_ready(20.0)
        assert _states(client) == {1: "END"}
        (broken / "saved_model.pb").write_bytes(graph)
        until(lambda: _states(client) == {1: "AVAILABLE"})
        assert client.predict("m", {"x": [2.0]}).outputs["y"].tolist() == [3.0]
        assert client.status("m")[0].error_code == "OK"


class _Model(Servable):
    """Stands for a loaded version in tests of when versions are loaded; it has no graph and answers nothing."""

    def __init__(self):
        pass

    def close(self):
        pass


def test_a_version_whose_files_change_while_it_is_loaded_is_loaded_again(tmp_path):
    (tmp_path / "1").mkdir()
    loads: list[int] = []

    def load(path):
        loads.append(len(loads))
        if len(loads) == 1:
            (path / "words.txt").write_text("later")
        return _Model()

    versions = ModelVersions("m", tmp_path, load, poll_s=0.01)
    versions.start()
    until(lambda: versions.is_available(1))
    assert versions.stop()
    assert loads == [0, 1]


def test_a_version_is_not_loaded_while_its_files_change(tmp_path):
    (tmp_path / "1").mkdir()
    writing, loaded = threading.Event(), []

    def write():
        with (tmp_path / "1" / "words.txt").open("w") as file:
            while not writing.is_set():
                file.write("word\n")
                file.flush()
                time.sleep(0.005)

    def load(path):
        loaded.append(path)
        return _Model()

    writer = threading.Thread(target=write, daemon=True)
    versions = ModelVersions("m", tmp_path, load, poll_s=0.1)
    writer.start()
    until((tmp_path / "1" / "words.txt").exists)
    versions.start()
    time.sleep(0.5)
    assert loaded == []
    writing.set()
    writer.join()
    until(lambda: versions.is_available(1))
    assert versions.stop()


def test_versions_that_went_are_forgotten_but_for_the_last(tmp_path):
    versions = ModelVersions("m", tmp_path, lambda path: _Model(), poll_s=0.01)
    (tmp_path / "1").mkdir()
    versions.start()
    for number in range(1, 31):
        until(partial(versions.is_available, number))
        (tmp_path / f"{number}").rename(tmp_path / f"{number + 1}")
    until(lambda: versions.is_available(31))
    until(lambda: len(versions.states()) == 9)
    assert [(number, state) for number, state, _ in versions.states()] == [
        (31, "AVAILABLE"),
        *((number, "END") for number in range(30, 22, -1)),
    ]
    assert versions.stop()


def test_a_label_of_a_version_that_is_not_available_is_refused_at_the_start(two, tmp_path):
    shutil.copytree(two, tmp_path / "1")
    with _serve(tmp_path, labels={"m": {"stable": 1, "next": 7}}) as server, pytest.raises(ServingError) as caught:
        server.wait_ready(20.0)
    assert caught.value.code == "FAILED_PRECONDITION"
    assert "label to version 7 of model m, which is not currently available" in caught.value.details
    with _serve(tmp_path, labels={"m": {"stable": 1}}) as server:
        server.wait_ready(20.0)
    with _serve(tmp_path, labels={"m": {"next": 7}}, labels_of_unavailable=True) as server:
        server.wait_ready(20.0)


def test_one_number_twice_is_told_once(two, tmp_path, caplog):
    shutil.copytree(two, tmp_path / "1")
    (tmp_path / "001").mkdir()
    with caplog.at_level(logging.WARNING), _serve(tmp_path) as server:
        server.wait_ready(20.0)
        time.sleep(6 * POLL_S)
    assert sum("are the same version" in record.getMessage() for record in caplog.records) == 1
