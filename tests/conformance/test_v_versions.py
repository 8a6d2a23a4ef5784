"""Versions on disk: found, switched, rolled back; the names begin with the numbers of the conformance list."""

import shutil
import threading
import time
from functools import partial

import pytest

from serving.protocol import ServingError
from serving.server.model_versions import ModelVersions, choose
from serving.server.server import LocalServer
from serving.versions import scan
from tests.conformance.conftest import Asker
from tests.helpers.command_line import until
from transforms.errors import InputError

POLL_S = 0.05


def _publish(model, base, name):
    temporary = base / f".{name}.tmp"
    shutil.copytree(model, temporary)
    temporary.rename(base / name)


def _break(base, name):
    (base / name).mkdir()
    (base / name / "saved_model.pb").write_bytes(b"not a model")


def _serve(base, **options):
    return LocalServer({"m": base}, poll_s=POLL_S, **options)


def _has_ended(client, version):
    return _states(client).get(version) == "END"


def _states(client):
    return {status.version: status.state for status in client.status(client.model)}


def _answer(client):
    found = client.predict(client.model, {"x": [2.0]})
    return found.version, found.outputs["y"].tolist()


def test_v01_leading_zeros_are_a_number_and_other_names_are_ignored(serve, tmp_path, two):
    _publish(two, tmp_path, "00000123")
    for name in ("non_numerical_child", "1.5", "-3", "7.denied", str(2**63)):
        (tmp_path / name).mkdir()
    with serve(tmp_path) as (server, client):
        server.wait_ready(20.0)
        assert _states(client) == {123: "AVAILABLE"}


def test_a_file_is_no_version(tmp_path):
    # TensorFlow Serving takes it for one, which cannot be loaded.
    (tmp_path / "200").write_text("a file")
    (tmp_path / "7").mkdir()
    assert scan(tmp_path) == {7: tmp_path / "7"}


def test_v02_a_version_of_fourteen_digits_is_served(serve, tmp_path, two):
    _publish(two, tmp_path, "20170111173521")
    with serve(tmp_path) as (server, client):
        server.wait_ready(20.0)
        assert _answer(client) == (20170111173521, [3.0])


def test_v03_the_same_number_twice_is_served_once(tmp_path):
    (tmp_path / "001").mkdir()
    (tmp_path / "0001").mkdir()
    # TensorFlow Serving takes the last of their names.
    assert scan(tmp_path) == {1: tmp_path / "001"}


@pytest.mark.parametrize(
    ("policy", "expected"), [("latest", {9}), (2, {7, 9}), (5, {1, 7, 9}), ("all", {1, 7, 9}), ([1, 7, 8], {1, 7})]
)
def test_v04_policies(tmp_path, policy, expected):
    assert choose({7: tmp_path, 1: tmp_path, 9: tmp_path}, policy) == expected


@pytest.mark.parametrize("policy", ["newest", 0, -1])
def test_v04_an_unknown_policy_is_refused(tmp_path, policy):
    with pytest.raises(ValueError, match="expected 'latest'"):
        LocalServer({"m": tmp_path}, versions=policy)


def test_v05_a_higher_version_takes_over_without_a_failed_request(serve, tmp_path, two, three):
    _publish(two, tmp_path, "1")
    with serve(tmp_path) as (server, client):
        server.wait_ready(20.0)
        answers, errors, done = [], [], threading.Event()

        def ask():
            # A gap would show as NOT_FOUND, which the client does not retry.
            while not done.is_set():
                try:
                    answers.append(_answer(client))
                except ServingError as error:
                    errors.append(error)

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        for number in range(2, 6):
            _publish(three if number % 2 else two, tmp_path, str(number))
            until(partial(_has_ended, client, number - 1))
        done.set()
        for asker in askers:
            asker.join()
        assert _states(client) == {1: "END", 2: "END", 3: "END", 4: "END", 5: "AVAILABLE"}
    assert errors == []
    assert {version for version, _ in answers} >= {1, 5}
    assert all(values == [4.0 if version in (3, 5) else 3.0] for version, values in answers)


def test_v06_a_broken_version_ends_with_its_error_and_the_old_one_answers(tmp_path, two):
    _publish(two, tmp_path, "1")
    with _serve(tmp_path) as server, Asker(server.address) as client:
        server.wait_ready(20.0)
        _break(tmp_path, "2")
        until(lambda: _states(client).get(2) == "END")
        (broken,) = client.status(client.model, version=2)
        assert broken.error_code != "OK"
        assert broken.error_message
        assert _answer(client) == (1, [3.0])
        # A later good version is taken although the broken one is still there.
        _publish(two, tmp_path, "3")
        until(lambda: _states(client) == {1: "END", 2: "END", 3: "AVAILABLE"})


def test_v07_a_broken_version_that_is_repaired_is_loaded_by_a_further_attempt(tmp_path, two):
    _break(tmp_path, "1")
    with (
        _serve(tmp_path, load_retries=100, load_retry_s=0.05) as server,
        Asker(server.address) as client,
    ):
        until(lambda: server._models["m"]._versions[1].attempts > 1)
        assert _states(client) == {1: "LOADING"}
        shutil.rmtree(tmp_path / "1")
        _publish(two, tmp_path, "1")
        server.wait_ready(20.0)
        assert _answer(client) == (1, [3.0])


def test_v08_the_next_lower_version_comes_back_when_the_newest_goes(serve, tmp_path, two, three):
    _publish(two, tmp_path, "1")
    _publish(three, tmp_path, "2")
    with serve(tmp_path) as (server, client):
        server.wait_ready(20.0)
        assert _answer(client) == (2, [4.0])
        (tmp_path / "2").rename(tmp_path / "2.denied")
        until(lambda: _states(client) == {2: "END", 1: "AVAILABLE"})
        assert _answer(client) == (1, [3.0])
        # And forward again: an ended version that reappears is loaded once more.
        (tmp_path / "2.denied").rename(tmp_path / "2")
        until(lambda: _states(client) == {1: "END", 2: "AVAILABLE"})
        assert _answer(client) == (2, [4.0])


def test_v09_a_base_path_out_of_reach_changes_nothing(tmp_path, two):
    base = tmp_path / "base"
    base.mkdir()
    _publish(two, base, "1")
    with _serve(base) as server, Asker(server.address) as client:
        server.wait_ready(20.0)
        base.rename(tmp_path / "away")
        time.sleep(6 * POLL_S)
        assert _answer(client) == (1, [3.0])


def test_v10_an_emptied_base_path_unloads_everything(serve, tmp_path, two):
    _publish(two, tmp_path, "1")
    with serve(tmp_path) as (server, client):
        server.wait_ready(20.0)
        shutil.rmtree(tmp_path / "1")
        until(lambda: _states(client) == {1: "END"})
        with pytest.raises(ServingError, match="NOT_FOUND: Servable not found"):
            _answer(client)
        assert client.status(client.model)[0].error_code == "OK"


def test_v11_a_server_without_versions_waits_for_one(tmp_path, two):
    with _serve(tmp_path) as server, Asker(server.address) as client:
        with pytest.raises(ServingError, match="no directory named by a version's number"):
            server.wait_ready(0.3)
        _publish(two, tmp_path, "1")
        server.wait_ready(20.0)
        assert _answer(client) == (1, [3.0])


def test_v12_a_first_version_that_fails_is_named_with_its_reason(tmp_path):
    _break(tmp_path, "4")
    with _serve(tmp_path) as server, Asker(server.address) as client:
        with pytest.raises(ServingError, match="m version 4 failed to load: "):
            server.wait_ready(20.0)
        with pytest.raises(ServingError, match="m version 4 failed to load: "):
            client.wait_available(client.model, 20.0)


class _Blocked:
    """A loadable thing whose load waits, to look at a version while it is loading."""

    def __init__(self):
        self.go, self.closed = threading.Event(), threading.Event()

    def load(self, path):
        self.go.wait(10.0)
        return self

    def close(self):
        self.closed.set()


def test_d09_a_version_is_loading_until_it_is_loaded_and_unloading_while_it_is_in_use(tmp_path):
    (tmp_path / "1").mkdir()
    model = _Blocked()
    versions = ModelVersions("m", tmp_path, model.load, poll_s=0.01)
    versions.start()
    until(lambda: versions.states() == [(1, "LOADING", None)])
    assert versions.blocker() == "m: version 1 is LOADING"
    model.go.set()
    until(lambda: versions.states() == [(1, "AVAILABLE", None)])
    with versions.borrow(1):
        (tmp_path / "1").rmdir()
        until(lambda: versions.states() == [(1, "UNLOADING", None)])
        with pytest.raises(ServingError, match="NOT_FOUND"), versions.borrow(1):
            pass
        assert not model.closed.is_set()
    until(lambda: versions.states() == [(1, "END", None)])
    assert model.closed.is_set()
    versions.stop()


def test_the_highest_version_is_loaded_first(tmp_path):
    for name in ("1", "2", "3"):
        (tmp_path / name).mkdir()
    loaded = []

    def load(path):
        loaded.append(path.name)
        raise ServingError("DATA_LOSS", "no model")

    versions = ModelVersions("m", tmp_path, load, "all", poll_s=0.01)
    versions.start()
    until(lambda: [state for _, state, _ in versions.states()] == ["END"] * 3)
    versions.stop()
    assert loaded == ["3", "2", "1"]


def test_a_saved_model_as_base_path_is_refused_with_the_fix(two):
    with pytest.raises(InputError, match="expected a directory of numbered versions"):
        LocalServer({"m": two})


@pytest.mark.parametrize(("models", "labels"), [({}, None), ({"": "x"}, None), ({"m": "x"}, {"n": {"stable": 1}})])
def test_a_server_without_models_or_with_strange_labels_is_refused(models, labels):
    with pytest.raises(ValueError, match="received"):
        LocalServer(models, labels=labels)


def test_a_taken_port_is_refused(tmp_path):
    with _serve(tmp_path) as first, pytest.raises(InputError, match="expected an address that is free"):
        LocalServer({"m": tmp_path}, port=first.port).start()
