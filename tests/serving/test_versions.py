import os
import time

import pytest

from serving.server.model_versions import ModelVersions
from serving.server.servable import Servable
from serving.versions import (
    LARGEST_VERSION,
    find_saved_model,
    model_bases,
    next_version,
    publish,
    scan,
    version_number,
    versions_in,
)
from transforms.errors import InputError


def saved_model(folder, name="m"):
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "assets.extra" / "contract.json").write_text(f'{{"contract_version": 1, "model": "{name}"}}')
    return folder


def test_versions_are_the_numeric_folders_in_rising_order(tmp_path):
    for name in ("10", "9", "x", ".11.partial-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "12").write_text("a file")
    assert [number for number, _ in versions_in(tmp_path)] == [9, 10]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("0", 0),
        ("7", 7),
        ("007", 7),
        ("20170111173521", 20170111173521),
        (str(LARGEST_VERSION), LARGEST_VERSION),
        ("000" + str(LARGEST_VERSION), LARGEST_VERSION),
        (str(LARGEST_VERSION + 1), None),
        ("20261129224412123456", None),
        ("9" * 5000, None),
        *((name, None) for name in ("", "²", "١٢", "-7", "+7", " 7", "7 ", "1.5", "1_000", "0x1", "v3", "7.denied")),
    ],
)
def test_a_name_is_a_version_by_one_rule(name, number):
    assert version_number(name) == number


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["1", "20261129224412123456"], {1: "1"}),
        (["1", "²"], {1: "1"}),
        (["1", "١٢"], {1: "1"}),
        (["1", "001", "01"], {1: "1"}),
        (["001", "0001"], {1: "001"}),
        (["5", "-7", "1.5", "v3"], {5: "5"}),
    ],
)
def test_what_is_listed_is_what_the_server_serves(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).mkdir()
    assert {number: path.name for number, path in versions_in(tmp_path)} == expected
    assert {number: path.name for number, path in scan(tmp_path).items()} == expected
    loaded = []

    def load(path):
        loaded.append(path.name)
        return _Loaded()

    versions = ModelVersions("m", tmp_path, load, "all", poll_s=0.01)
    versions.start()
    deadline = time.monotonic() + 10.0
    while len(loaded) < len(expected) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert versions.stop()
    assert sorted(loaded) == sorted(expected.values())


class _Loaded(Servable):
    """Stands for a loaded version in tests of when versions are loaded; it has no graph and answers nothing."""

    def __init__(self):
        pass

    def close(self):
        pass


def test_a_link_to_a_folder_is_a_version_and_pruning_leaves_what_it_points_to(tmp_path):
    elsewhere = saved_model(tmp_path / "elsewhere")
    base = tmp_path / "base"
    base.mkdir()
    (base / "3").symlink_to(elsewhere)
    (base / "4").symlink_to(tmp_path / "nowhere")
    assert versions_in(base) == [(3, base / "3")]
    assert find_saved_model(base) == base / "3"
    new = publish(elsewhere, base, keep=1)
    assert os.listdir(elsewhere)
    assert set(os.listdir(base)) == {"4", new.name}


def test_a_number_beyond_what_servers_know_is_not_published(tmp_path):
    model, base = saved_model(tmp_path / "model"), tmp_path / "base"
    (base / "20261129224412123456").mkdir(parents=True)
    assert next_version(base) < 2**40
    (base / str(LARGEST_VERSION)).mkdir()
    with pytest.raises(InputError, match="the largest version number there is"):
        publish(model, base)
    for version in (-1, LARGEST_VERSION + 1):
        with pytest.raises(ValueError, match="expected a number from 0"):
            publish(model, base, version=version)


def test_a_version_is_not_published_beside_one_of_the_same_number(tmp_path):
    model, base = saved_model(tmp_path / "model"), tmp_path / "base"
    (base / "007").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="is version 7 already"):
        publish(model, base, version=7)


def test_a_published_version_is_whole_and_later_than_the_last(tmp_path):
    model = saved_model(tmp_path / "model")
    far_ahead = 90_000_000_000
    (tmp_path / "base" / str(far_ahead)).mkdir(parents=True)
    target = publish(model, tmp_path / "base")
    assert target.name == str(far_ahead + 1)
    assert (target / "saved_model.pb").read_bytes() == b"graph"
    assert sorted(os.listdir(tmp_path / "base")) == [str(far_ahead), str(far_ahead + 1)]


def test_old_versions_are_pruned_and_the_newest_stay(tmp_path):
    model = saved_model(tmp_path / "model")
    numbers = [int(publish(model, tmp_path / "base", keep=2).name) for _ in range(4)]
    assert [number for number, _ in versions_in(tmp_path / "base")] == numbers[-2:]
    assert len(os.listdir(tmp_path / "base")) == 2


def test_a_model_is_found_wherever_it_may_lie(tmp_path):
    itself = saved_model(tmp_path / "itself")
    run = tmp_path / "run"
    in_run = saved_model(run / "model")
    pushed = publish(itself, tmp_path / "root" / "serving" / "m")
    assert find_saved_model(itself) == itself
    assert find_saved_model(run) == in_run
    for folder in (tmp_path / "root", tmp_path / "root" / "serving", tmp_path / "root" / "serving" / "m"):
        assert find_saved_model(folder) == pushed


def test_several_models_in_one_folder_must_be_told_apart(tmp_path):
    for name in ("a", "b"):
        publish(saved_model(tmp_path / f"{name}_model", name), tmp_path / "root" / name)
    assert list(model_bases(tmp_path / "root")) == ["a", "b"]
    with pytest.raises(InputError, match="models a, b"):
        find_saved_model(tmp_path / "root")


def test_a_base_path_is_served_under_its_contracts_name(tmp_path):
    publish(saved_model(tmp_path / "model", "named"), tmp_path / "base")
    assert model_bases(tmp_path / "base") == {"named": tmp_path / "base"}


def test_a_folder_without_models_is_refused(tmp_path):
    for look in (find_saved_model, model_bases):
        with pytest.raises(InputError, match="received an empty folder"):
            look(tmp_path)
