"""Folders in object stores: what is written arrives whole or not at all, and what is wrong is said at once."""

import json
import time

import pytest

from tests.helpers.command_line import until
from tests.helpers.object_stores import at, set_environment, store_server
from transforms.cloud.clients import open_store
from transforms.cloud.copies import MARKER, ReadCopy
from transforms.cloud.store import StoreError, parse_url
from transforms.cloud.working import LOCK, WorkingCopy
from transforms.errors import ConsortError, InputError

FILES = {
    "dataset.json": b"{}",
    "a[1]*?/part-0 of 2.txt": b"one",
    "a[1]*?/part-1 of 2.txt": b"two\n" * 1000,
    "model/variables/variables.index": b"index",
    "artifacts/.system/x": b"tfx",
    "empty": b"",
}


@pytest.fixture(scope="module", params=["s3", "gs", "hdfs"])
def server(request, tmp_path_factory):
    with store_server(request.param, tmp_path_factory.mktemp("served")) as started:
        yield started


@pytest.fixture
def base(server, tmp_path, monkeypatch, request):
    url, variables = server
    set_environment(monkeypatch, {**variables, "CONSORT_CACHE": str(tmp_path / "cache")})
    return f"{url}/{request.node.originalname}"


def write(url, files=FILES, remove=()):
    copy = WorkingCopy(at(url))
    copy.check()
    with copy as folder:
        for name in remove:
            (folder / name).unlink()
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        (folder / ".lock").write_text("of this machine")


def read(url):
    copy = ReadCopy(at(url))
    copy.check()
    with copy as folder:
        return contents(folder)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def elsewhere(monkeypatch, tmp_path, name):
    """Continues as on another machine, with nothing copied."""
    monkeypatch.setenv("CONSORT_CACHE", str(tmp_path / name))


def test_what_was_written_is_read_on_another_machine_whatever_its_names(base, tmp_path, monkeypatch, capsys):
    write(f"{base}/run")
    elsewhere(monkeypatch, tmp_path, "b")
    assert read(f"{base}/run") == FILES
    assert open_store(at(f"{base}/run")).read(LOCK) is None
    capsys.readouterr()
    assert read(f"{base}/run") == FILES
    assert "copying" not in capsys.readouterr().err, "it was there already"
    assert read(f"{base}/run/a[1]*?") == {f"part-{n} of 2.txt": FILES[f"a[1]*?/part-{n} of 2.txt"] for n in (0, 1)}
    ReadCopy(at(f"{base}/run/empty")).check()
    with pytest.raises(InputError, match="received nothing"):
        read(f"{base}/ru")


def test_changed_and_removed_files_change_and_vanish_for_readers_and_writers(base, tmp_path, monkeypatch):
    write(f"{base}/run")
    elsewhere(monkeypatch, tmp_path, "reader")
    read(f"{base}/run")
    made_here = tmp_path / "reader" / "read"
    elsewhere(monkeypatch, tmp_path, "writer")
    write(f"{base}/run", {"dataset.json": b"new"}, remove=["empty"])
    elsewhere(monkeypatch, tmp_path, "reader")
    local = ReadCopy(at(f"{base}/run")).local
    assert local.is_relative_to(made_here)
    (local / "predictions.npz").write_bytes(b"made here")
    expected = {**FILES, "dataset.json": b"new", "predictions.npz": b"made here"}
    del expected["empty"]
    assert read(f"{base}/run") == expected


def test_an_upload_that_was_cut_short_is_refused_and_then_begun_anew(base, tmp_path, monkeypatch):
    url = f"{base}/run"
    copy = WorkingCopy(at(url))
    copy.check()
    store = open_store(at(url))
    store.write(MARKER, json.dumps({"state": "partial", "folder": "/x", "files": {"half": None}}).encode())
    store.write("half", b"of a file")
    copy.release()
    for inside in (url, f"{url}/half"):
        with pytest.raises(InputError, match="an upload that has not ended"):
            read(inside)
    with pytest.raises(InputError, match="received nothing"):
        read(base)
    write(url, {"whole": b"file"})
    elsewhere(monkeypatch, tmp_path, "b")
    assert read(url) == {"whole": b"file"}


def test_what_others_put_into_a_folder_outlives_an_upload_that_was_cut_short(base, tmp_path, monkeypatch):
    url = at(f"{base}/serving")
    open_store(url).write("m/1/model", b"another tool's")
    copy = WorkingCopy(url)
    copy.check()
    with pytest.raises(ConsortError, match="no route to host"), copy as folder:
        (folder / "first").write_bytes(b"1")
        copy._store = _BreaksAt("second", copy._store)
        (folder / "second").write_bytes(b"2")
    assert open_store(url).read("first") == b"1"
    open_store(url).delete(LOCK)
    elsewhere(monkeypatch, tmp_path, "b")
    write(str(url), {"whole": b"file"})
    elsewhere(monkeypatch, tmp_path, "c")
    assert read(str(url)) == {"m/1/model": b"another tool's", "whole": b"file"}


def test_content_that_differs_from_the_marker_is_not_taken(base, tmp_path, monkeypatch):
    write(f"{base}/run")
    open_store(at(f"{base}/run")).write("dataset.json", b"[]")
    monkeypatch.setattr("transforms.cloud.copies._BETWEEN_TRIES_S", 0.01)
    elsewhere(monkeypatch, tmp_path, "b")
    with pytest.raises(StoreError, match=r"run/dataset.json: received another content"):
        read(f"{base}/run")
    open_store(at(f"{base}/run")).delete("dataset.json")
    with pytest.raises(StoreError, match=r"no dataset.json"):
        read(f"{base}/run")


def test_a_part_that_was_written_later_speaks_for_itself(base, tmp_path, monkeypatch):
    write(f"{base}/pipeline", {"serving/m/1/saved_model.pb": b"1", "serving/m/2/saved_model.pb": b"2", "other": b"o"})
    elsewhere(monkeypatch, tmp_path, "b")
    write(f"{base}/pipeline/serving", {"m/3/saved_model.pb": b"3"}, remove=["m/1/saved_model.pb"])
    elsewhere(monkeypatch, tmp_path, "c")
    expected = {"serving/m/2/saved_model.pb": b"2", "serving/m/3/saved_model.pb": b"3", "other": b"o"}
    assert read(f"{base}/pipeline") == expected
    write(f"{base}/pipeline", {"serving/m/2/saved_model.pb": b"two"})
    elsewhere(monkeypatch, tmp_path, "d")
    assert read(f"{base}/pipeline/serving/m") == {"2/saved_model.pb": b"two", "3/saved_model.pb": b"3"}


def test_one_command_at_a_time_writes_a_folder_and_a_dead_one_keeps_none_out(base):
    url = at(f"{base}/run")
    first = WorkingCopy(url)
    first.check()
    holder = json.loads(open_store(url).read(LOCK) or b"")
    open_store(url).write(LOCK, json.dumps({**holder, "host": "another"}).encode())
    with pytest.raises(InputError, match=r"in use by process \d+ on another since"):
        WorkingCopy(url).check()
    open_store(url).write(LOCK, json.dumps({**holder, "host": "another", "beat": time.time() - 121}).encode())
    second = WorkingCopy(url)
    second.check()
    second.release()
    assert open_store(url).read(LOCK) is None


def test_a_lock_is_renewed_and_nothing_is_uploaded_without_it(base, monkeypatch):
    monkeypatch.setattr("transforms.cloud.working._BEAT_S", 0.05)
    url = at(f"{base}/run")
    copy = WorkingCopy(url)
    copy.check()
    first = open_store(url).read(LOCK)
    until(lambda: open_store(url).read(LOCK) != first)
    with pytest.raises(ConsortError, match="another command took over"), copy as folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file").write_text("x")
        open_store(url).write(LOCK, b'{"holder": "another"}')
        until(lambda: not copy._held)
    copy.release()
    assert open_store(url).read("file") is None and b"another" in (open_store(url).read(LOCK) or b"")


def test_what_could_not_be_uploaded_is_uploaded_by_the_next_command(base, tmp_path, monkeypatch):
    write(f"{base}/run", {"first": b"1"})
    url = at(f"{base}/run")
    copy = WorkingCopy(url)
    copy.check()
    with pytest.raises(ConsortError, match="the same command uploads it"), copy as folder:
        (folder / "second").write_bytes(b"2")
        copy._store = _Broken()
    open_store(url).delete(LOCK)
    write(f"{base}/run", {})
    elsewhere(monkeypatch, tmp_path, "b")
    assert read(f"{base}/run") == {"first": b"1", "second": b"2"}


class _Broken:
    """A connection that was lost."""

    def __getattr__(self, name):
        raise ConnectionError("no route to host")


class _BreaksAt:
    """A connection that is lost when a file is sent."""

    def __init__(self, name, store):
        self._name, self._store = name, store

    def __getattr__(self, method):
        return getattr(self._store, method)

    def put(self, path, name):
        if name == self._name:
            raise ConnectionError("no route to host")
        self._store.put(path, name)


def test_a_folder_that_is_followed_shows_what_comes_later(base, monkeypatch, tmp_path):
    monkeypatch.setattr("transforms.cloud.copies.FOLLOW_EVERY_S", 0.05)
    copy = ReadCopy(at(f"{base}/stream"), follow=True)
    copy.check()
    with copy as folder:
        assert contents(folder) == {}
        store = open_store(at(f"{base}/stream"))
        store.write("span-1/dataset.json", b"{}")
        until(lambda: (folder / "span-1" / "dataset.json").is_file())
        assert contents(folder) == {"span-1/dataset.json": b"{}"}


def test_names_that_leave_the_folder_are_refused(base):
    store = open_store(at(f"{base}/run"))
    if base.startswith("hdfs"):
        pytest.skip("HDFS has no such names")
    for name in ("a/../../../x", "a//b"):
        store.write(name, b"x")
        with pytest.raises(InputError, match=r"a name that is no file's"):
            read(f"{base}/run")
        store.delete(name)


def test_what_is_no_url_of_a_store_is_a_path_and_empty_parts_are_refused():
    assert parse_url("https://bucket/a") is None
    assert parse_url("gs:/bucket/a") is None
    assert str(at("gs://bucket/a/b/")) == "gs://bucket/a/b"
    for text in ("s3://bucket/a//b", "s3://bucket/../b", "s3://bucket/./b"):
        with pytest.raises(InputError, match="an empty part"):
            at(text)
