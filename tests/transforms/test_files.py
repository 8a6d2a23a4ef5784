import os

import pytest

from transforms.errors import InputError
from transforms.files import check_folder, new_directory, remove_leftovers, replacing_file, sha256_of, write_text


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    write_text(path, "new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="disk"), replacing_file(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_directory_appears_only_when_it_is_whole(tmp_path):
    with new_directory(tmp_path / "out") as temporary:
        (temporary / "x").write_text("1")
        assert not (tmp_path / "out").exists()
    assert os.listdir(tmp_path) == ["out"] and (tmp_path / "out" / "x").read_text() == "1"


def test_a_failed_directory_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="disk"), new_directory(tmp_path / "out") as temporary:
        (temporary / "x").write_text("1")
        raise OSError("disk full")
    assert os.listdir(tmp_path) == []


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    killed = tmp_path / ".out.partial-999999999"
    killed.mkdir()
    (killed / "half").write_text("1")
    with new_directory(tmp_path / "out") as temporary:
        (temporary / "x").write_text("1")
    assert os.listdir(tmp_path) == ["out"]


def test_leftovers_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path):
    for name in (".a.partial-999999999", ".b.partial-999999999", f".a.partial-{os.getpid()}", "a"):
        (tmp_path / name).mkdir()
    remove_leftovers(tmp_path, "a")
    assert sorted(os.listdir(tmp_path)) == [f".a.partial-{os.getpid()}", ".b.partial-999999999", "a"]
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [f".a.partial-{os.getpid()}", "a"]


def test_a_half_written_file_of_a_killed_process_is_removed_by_the_next_write(tmp_path):
    (tmp_path / ".a.txt.tmp-999999999-xyz").write_text("half")
    (tmp_path / f".a.txt.tmp-{os.getpid()}-xyz").write_text("another thread's")
    write_text(tmp_path / "a.txt", "whole")
    assert sorted(os.listdir(tmp_path)) == [f".a.txt.tmp-{os.getpid()}-xyz", "a.txt"]


def test_a_folder_below_a_file_is_refused_and_one_that_is_not_there_yet_is_not(tmp_path):
    (tmp_path / "file").write_text("1")
    for path in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(InputError, match="--out .*file, which is no folder"):
            check_folder(path, "--out")
    check_folder(tmp_path / "new" / "folder", "--out")
    assert os.listdir(tmp_path) == ["file"]


def test_a_directory_in_use_is_refused_and_untouched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    with pytest.raises(FileExistsError), new_directory(tmp_path / "out"):
        pass
    assert os.listdir(tmp_path / "out") == ["mine"]


def test_sha256_of_a_file(tmp_path):
    write_text(tmp_path / "a", "abc")
    # FIPS 180-2, appendix B.1.
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_written_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").write_text("1")
    write_text(tmp_path / "ours", "1")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
