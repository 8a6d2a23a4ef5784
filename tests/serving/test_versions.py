import os

import pytest

from serving.versions import find_saved_model, model_bases, publish, versions_in
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
        with pytest.raises(InputError, match="no numbered version"):
            look(tmp_path)
