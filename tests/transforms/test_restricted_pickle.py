"""Pickles: plain data comes back as it was, and a file that names anything else is refused unread."""

import collections
import os
import pickle
import subprocess

import numpy as np
import pytest

from transforms.errors import InputError
from transforms.sources.restricted_pickle import load_plain


class Runs:
    """A pickle of this calls `function(*arguments)` when a plain loader reads it."""

    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_in_dicts_come_back_as_they_were(tmp_path, protocol):
    content = {
        1: np.arange(12).reshape(3, 4),
        np.int64(2): {"realshow": np.zeros((0, 8), np.int32), "rank_pos": np.asfortranarray(np.eye(2))},
        "names": ["a", b"\xff", 1.5, None, True, (1, 2), {3}],
        "ordered": collections.OrderedDict(a=1),
        "default": collections.defaultdict(list, b=[2]),
    }
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    found = load_plain(tmp_path / "data.pkl")
    assert list(found) == list(content)
    assert found[1].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert found[2]["realshow"].shape == (0, 8)
    assert found[2]["realshow"].dtype == np.int32
    assert found[2]["rank_pos"].tolist() == [[1, 0], [0, 1]]
    assert {name: found[name] for name in ("names", "ordered", "default")} == {
        name: content[name] for name in ("names", "ordered", "default")
    }


def test_arrays_that_numpy_2_wrote_are_read(tmp_path):
    written = pickle.dumps({1: np.arange(3)}, protocol=2).replace(b"numpy.core.multiarray", b"numpy._core.multiarray")
    assert b"_core" in written
    (tmp_path / "data.pkl").write_bytes(written)
    assert load_plain(tmp_path / "data.pkl")[1].tolist() == [0, 1, 2]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_names_a_function_is_refused_and_the_function_does_not_run(tmp_path, protocol):
    mark = tmp_path / "was run"
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps({1: np.arange(3), 2: Runs(os.mkdir, str(mark))}, protocol=protocol))
    with pytest.raises(InputError, match=r"data.pkl: received a pickle that names posix\.mkdir; expected"):
        load_plain(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists(), "the file is harmless, so the test tests nothing"


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (Runs(eval, "1 + 1"), "builtins.eval"),
        (Runs(getattr, "text", "upper"), "builtins.getattr"),
        (Runs(__import__, "os"), "builtins.__import__"),
        (Runs(subprocess.Popen, ["true"]), "subprocess.Popen"),
        (Runs(np.load, "file"), "numpy.load"),
        (np.random.default_rng(0), "numpy.random"),
        (Runs(collections.defaultdict, eval), "builtins.eval"),
        (np.array([Runs(eval, "1")], object), "builtins.eval"),
        (os.system, "posix.system"),
        (type(test_arrays_that_numpy_2_wrote_are_read), "builtins.function"),
    ],
)
def test_whatever_is_not_an_array_or_a_container_is_refused_by_name(tmp_path, thing, name):
    path = tmp_path / "data.pkl"
    try:
        path.write_bytes(pickle.dumps([thing]))
    except pickle.PicklingError:
        path.write_bytes(b"cbuiltins\nfunction\n.")
    with pytest.raises(InputError, match=f"names {name}"):
        load_plain(path)


def test_a_dotted_name_does_not_reach_through_an_allowed_class(tmp_path):
    # Protocol 4 names may hold dots: the attribute of an attribute.
    path = tmp_path / "data.pkl"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.")
    with pytest.raises(InputError, match=r"names numpy\.ndarray\.__init__"):
        load_plain(path)


def test_the_class_of_arrays_can_be_named_and_not_called(tmp_path):
    path = tmp_path / "data.pkl"
    path.write_bytes(b"cnumpy\nndarray\n(I3\ntR.")
    with pytest.raises(InputError, match="damaged pickle .TypeError: 'object' object is not callable"):
        load_plain(path)


def test_an_array_begins_empty(tmp_path):
    path = tmp_path / "data.pkl"
    path.write_bytes(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I9\ntVO\ntR.")
    with pytest.raises(InputError, match="damaged pickle .*begins with shape"):
        load_plain(path)


def test_the_stand_in_for_the_codec_knows_one_encoding(tmp_path):
    path = tmp_path / "data.pkl"
    path.write_bytes(b"c_codecs\nencode\n(Vabc\nVzip\ntR.")
    with pytest.raises(InputError, match="damaged pickle .*encoding 'zip'"):
        load_plain(path)


@pytest.mark.parametrize("kept", [0, 1, 20, 60])
def test_a_damaged_pickle_is_refused(tmp_path, kept):
    path = tmp_path / "data.pkl"
    path.write_bytes(pickle.dumps({1: np.arange(30)})[:kept])
    with pytest.raises(InputError, match="damaged pickle"):
        load_plain(path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_with_changed_bytes_is_read_or_refused(tmp_path, protocol):
    whole = pickle.dumps({key: np.arange(20).reshape(2, 10) for key in range(3)}, protocol=protocol)
    rng, path, answers = np.random.default_rng(protocol), tmp_path / "data.pkl", set()
    for _ in range(300):
        changed = bytearray(whole)
        changed[rng.integers(len(changed))] = rng.integers(256)
        path.write_bytes(changed)
        try:
            load_plain(path)
            answers.add("read")
        except InputError:
            answers.add("refused")
    assert answers == {"read", "refused"}


def test_text_in_place_of_a_pickle_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "data.pkl").write_text("request_id,video_id\n1,2\n")
    with pytest.raises(InputError, match="damaged pickle"):
        load_plain(tmp_path / "data.pkl")
    with pytest.raises(InputError, match="no such file; expected a pickle of counts"):
        load_plain(tmp_path / "none.pkl", "counts")
