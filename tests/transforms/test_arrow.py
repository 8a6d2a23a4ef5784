"""Arrow files that would run code: refused by every reader of ours with one error, and nothing runs."""

import subprocess
import sys

import numpy as np
import pytest

from serving.retrieval.item_table import ITEMS, read_items, write_items
from tests.helpers.code_files import write_feather_with_code, write_parquet_with_code
from tests.helpers.source_tree import ROOT
from transforms.arrow import feather, ipc, joined_tables, pa, pq, reading
from transforms.errors import InputError
from transforms.sources.ebnerd.files import check_behaviors, check_history
from transforms.sources.recflow.files import open_feather

TABLE = pa.table({"item_id": [b"a", b"b"], "price": [1.0, 2.0]})
MESSAGE = r"received a column whose type is a pickle \(arrow.py_extension_type\), which could run code; nothing was run"
# From pyarrow 14 on, trust has to be asked for.
TRUSTING = """
import sys, pyarrow.parquet, pyarrow.feather
getattr(pyarrow.PyExtensionType, "set_auto_load", bool)(True)
pyarrow.{}.read_table(sys.argv[1])
"""


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "was run"


def written(kind, path, mark, nested=False):
    (write_parquet_with_code if kind == "parquet" else write_feather_with_code)(path, TABLE, mark, nested)
    return path


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_the_files_run_code_in_a_pyarrow_that_trusts_them(tmp_path, mark, kind):
    path = written(kind, tmp_path / "file", mark)
    subprocess.run([sys.executable, "-c", TRUSTING.format(kind), str(path)], capture_output=True, timeout=60, cwd=ROOT)
    assert mark.exists(), "the file is harmless, so the tests of this file test nothing"


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_pyarrow_as_our_code_imports_it_runs_nothing(tmp_path, mark, kind, nested):
    path = written(kind, tmp_path / "file", mark, nested)
    readers = {
        "parquet": [
            pq.read_table,
            lambda p: pq.read_metadata(p).schema.to_arrow_schema(),
            pq.ParquetFile,
            pq.read_schema,
        ],
        "feather": [feather.read_table, lambda p: ipc.open_file(pa.memory_map(str(p)))],
    }
    for read in readers[kind]:
        with pytest.raises(InputError, match=MESSAGE), reading(path, "damaged", "a table"):
            read(path)
    assert not mark.exists()


@pytest.mark.parametrize("check", [check_behaviors, check_history])
def test_a_parquet_file_of_a_source_that_would_run_code_is_refused(tmp_path, mark, check):
    with pytest.raises(InputError, match=MESSAGE):
        check(written("parquet", tmp_path / "behaviors.parquet", mark))
    assert not mark.exists()


def test_a_feather_file_of_a_source_that_would_run_code_is_refused(tmp_path, mark):
    with pytest.raises(InputError, match=MESSAGE):
        open_feather(written("feather", tmp_path / "2024-01-13.feather", mark))
    assert not mark.exists()


def test_a_model_folders_table_of_items_that_would_run_code_is_refused(tmp_path, mark):
    written("parquet", tmp_path / ITEMS, mark)
    with pytest.raises(InputError, match=MESSAGE):
        read_items(tmp_path)
    assert not mark.exists()


def test_the_command_that_imports_refuses_the_file_in_one_line_and_leaves_nothing(tmp_path, mark):
    for name in ("behaviors", "history"):
        written("parquet", tmp_path / "raw" / f"{name}.parquet", mark)
    command = [sys.executable, "-m", "consort", "data", "import", "ebnerd", "--input", "raw", "--out", "out"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 2
    assert "a column whose type is a pickle" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


def test_reading_tells_a_missing_and_a_damaged_file_apart_and_passes_on_our_own_errors(tmp_path):
    (tmp_path / "text").write_text("a,b\n")
    for name, received in (("none", "no such file"), ("text", "a file that is not parquet")):
        with (
            pytest.raises(InputError, match=f"received {received}"),
            reading(name, "a file that is not parquet", "one"),
        ):
            pq.read_table(tmp_path / name)
    with pytest.raises(InputError, match="received 1; expected 2"), reading("file", "damaged", "a table"):
        raise InputError("row 1", "1", "2", "correct it")


def test_a_table_of_items_without_code_is_read(tmp_path):
    write_items(tmp_path, {"item_id": np.array([b"a", b"b"], object), "price": np.array([1.0, 2.0])})
    assert read_items(tmp_path).rows([b"b"])["price"].tolist() == [2.0]


def test_tables_of_different_columns_become_one_with_nulls():
    table = joined_tables([pa.table({"a": [1]}), pa.table({"a": [2], "b": [3.0]})])
    assert table.to_pydict() == {"a": [1, 2], "b": [None, 3.0]}
