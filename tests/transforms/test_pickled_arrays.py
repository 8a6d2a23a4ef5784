"""Pickles that lie about NumPy's types: refused before NumPy follows an address that stands in the file."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.source_tree import ROOT
from transforms.errors import InputError
from transforms.sources.restricted_pickle import load_plain

ADDRESS = b"C\x08" + (0x4141414141414141).to_bytes(8, "little")
"""Opcode for eight bytes: the address of an object that is not there."""
DTYPE = b"cnumpy\ndtype\n"
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR"
LIST = b"cbuiltins\nlist\n"


def kind(code: bytes, names: bytes = b"NNN", order: bytes = b"|") -> bytes:
    """Opcodes for a type with no flags set."""
    return DTYPE + b"(V" + code + b"\nI00\nI01\ntR(I3\nV" + order + b"\n" + names + b"I-1\nI-1\nI0\ntb"


def filled(shape: bytes, dtype: bytes, data: bytes) -> bytes:
    """Opcodes that fill the array on the stack."""
    return b"(I1\n(" + shape + b"t" + dtype + b"I00\n" + data + b"tb"


OBJECTS = kind(b"O8")
LYING = {
    "objects in an array": LIST + b"(" + EMPTY + filled(b"I1\n", OBJECTS, ADDRESS) + b"tR.",
    "an object as a scalar": b"cnumpy.core.multiarray\nscalar\n(" + OBJECTS + ADDRESS + b"tR.",
    "objects in a buffer": LIST + b"(cnumpy.core.numeric\n_frombuffer\n(" + ADDRESS + OBJECTS + b"(I1\ntVC\ntRtR.",
}


@pytest.mark.parametrize("name", LYING)
def test_an_address_in_the_file_is_not_followed(tmp_path, name):
    path = tmp_path / "data.pkl"
    path.write_bytes(LYING[name])
    # In a process of its own: a reader that follows the address dies of it.
    code = "import sys; from transforms.sources.restricted_pickle import load_plain; load_plain(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "InputError" in done.stderr and "an array of type 'O8'" in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (EMPTY + filled(b"I1\n", kind(b"V8"), ADDRESS) + b".", "an array of type 'V8'"),
        (EMPTY + filled(b"I1\n", kind(b"i8,O"), ADDRESS) + b".", "an array of type"),
        (EMPTY + filled(b"I1\n", kind(b"i8", names=b"N(Va\nt}"), ADDRESS) + b".", "an array of type 'i8'"),
        (EMPTY + filled(b"I2\n", kind(b"i8"), ADDRESS) + b".", "8 bytes for an array"),
        (EMPTY + filled(b"I-1\n", kind(b"i8"), ADDRESS) + b".", "an array of shape"),
        (EMPTY + filled(b"I4\n" * 40, kind(b"i8"), ADDRESS) + b".", "8 bytes for an array"),
        (EMPTY + filled(b"I9999999999999\n", kind(b"S0"), b"C\x00") + b".", "an array of type 'S0'"),
        (EMPTY + filled(b"I8\n", kind(b"b1"), ADDRESS) + b".", "a truth value"),
        (EMPTY + 2 * filled(b"I1\n", kind(b"i8"), ADDRESS) + b".", "filled twice"),
        (EMPTY + filled(b"I1\n", kind(b"i8", order=b"x"), ADDRESS) + b".", "an array of type 'i8'"),
        (b"cbuiltins\nbytes\n(I99999999999\ntR.", "bytes of int"),
        (b"cbuiltins\nbytearray\n(I99999999999\ntR.", "bytes of int"),
        (b"c_codecs\nencode\nN}V__doc__\nVx\ns\x86b.", "no attribute|read-only|not writable"),
        (DTYPE + b"N}V__call__\ncbuiltins\nlist\ns\x86b.", "no attribute|read-only|not writable"),
        (b"cbuiltins\ndict\nN}Vget\ncbuiltins\nlist\ns\x86b.", "immutable type"),
    ],
)
def test_what_is_not_plain_data_is_refused(tmp_path, content, message):
    (tmp_path / "data.pkl").write_bytes(b"\x80\x02" + content)
    with pytest.raises(InputError, match=f"damaged pickle .*({message})"):
        load_plain(tmp_path / "data.pkl")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("code", ["?", "i1", "<u2", ">i4", "i8", "f2", ">f8", "c16", "S3", "U4"])
def test_arrays_of_each_plain_type_and_order_come_back(tmp_path, protocol, code):
    values = np.arange(12).reshape(3, 4)
    array = (values % 2 if code == "?" else values).astype(code)
    written = {
        "rows": array,
        "columns": np.asfortranarray(array),
        "none": array[:0],
        "one": array[1, 2],
        "axis": array[0],
    }
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(written, protocol=protocol))
    read = load_plain(tmp_path / "data.pkl")
    for name, expected in written.items():
        # NumPy, too, gives numbers in this machine's order of bytes.
        assert read[name].dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        assert read[name].shape == expected.shape
        assert read[name].tolist() == expected.tolist()
    read["rows"][0, 0] = read["rows"][1, 1]


def test_a_row_of_an_array_cannot_be_filled(tmp_path):
    # The list of the array's rows, of which the first is filled once more.
    rows = LIST + b"(" + EMPTY + filled(b"I2\nI4\n", kind(b"u1"), ADDRESS) + b"tR"
    taken = b"cbuiltins\ntuple\n(" + rows + b"tR"
    (tmp_path / "data.pkl").write_bytes(b"\x80\x02" + taken + b".")
    first = load_plain(tmp_path / "data.pkl")[0]
    with pytest.raises(pickle.UnpicklingError, match="filled twice"):
        first.__setstate__((1, (1,), None, False, b"a"))
