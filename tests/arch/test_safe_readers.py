"""No reader that can run code from a file: the linter refuses them, and so does a look at what it cannot see."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

from tests.helpers.source_tree import ROOT, modules

FORBIDDEN = """\
import pyarrow
import pyarrow.parquet as pq
from pyarrow import feather
import pyarrow_hotfix
import pandas as pd; pd.read_parquet("f")
from pandas import read_feather
import pandas as pd; pd.read_pickle("f")
import pandas as pd; pd.read_hdf("f")
from google.protobuf import json_format
from google.protobuf.json_format import Parse
import pickle; pickle.loads(b"")
from pickle import Unpickler; Unpickler(None).load()
import dill; dill.loads(b"")
import marshal; marshal.loads(b"")
import yaml; yaml.load("", yaml.UnsafeLoader)
import tarfile; tarfile.open("f").extractall("d")
eval("1")
exec("1")
"""
RULES = r"noqa: (TID251|S102|S202|S3|S5)"
UNPICKLER = Path("transforms/sources/restricted_pickle.py")


def test_the_linter_refuses_readers_that_can_run_code() -> None:
    ruff = Path(sys.executable).with_name("ruff")
    command = [
        str(ruff),
        "check",
        "--output-format=json",
        "--stdin-filename=transforms/example.py",
        "--select=TID251,S",
        "-",
    ]
    done = subprocess.run(command, cwd=ROOT, input=FORBIDDEN, capture_output=True, text=True, timeout=60)
    refused = {entry["location"]["row"] for entry in json.loads(done.stdout)}
    lines = FORBIDDEN.splitlines()
    assert [line for row, line in enumerate(lines, start=1) if row not in refused] == []


def test_the_linter_is_told_of_these_rules() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("ruff"), "check", "--show-settings", "transforms/arrow.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    for rule in ("(TID251)", "(S102)", "(S202)", "(S301)", "(S302)", "(S307)", "(S506)"):
        assert rule in done.stdout, rule


def test_no_code_of_ours_unpickles_outside_the_restricted_reader() -> None:
    found = [
        f"{module.path}:{line}" for module in modules() if module.path != UNPICKLER for line in _unpicklers(module.tree)
    ]
    assert found == []


def test_an_unpickler_and_a_numpy_file_with_pickles_are_seen() -> None:
    text = "class U(pickle.Unpickler): pass\nnp.load(f, allow_pickle=True)\nnp.load(f)\npickle.dumps(1)\n"
    assert _unpicklers(ast.parse(text)) == [1, 2]


def test_one_module_switches_the_rules_off() -> None:
    marked = [str(module.path) for module in modules() if re.search(RULES, module.text)]
    assert marked == ["transforms/arrow.py"]


def test_graphs_are_loaded_where_they_are_looked_at() -> None:
    places = {
        "saved_model.load": "serving/loading.py",
        "TFTransformOutput": "transforms/transform_graph.py",
        "TF_LoadSessionFromSavedModel": "serving/server/session.py",
    }
    for call, expected in places.items():
        calling = {str(module.path) for module in modules() if call in module.text and call in _calls(module.tree)}
        assert calling == {expected}, call


def _calls(tree: ast.AST) -> set[str]:
    """The last one and the last two names of each function that is called."""
    names = [ast.unparse(node.func).split(".") for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {".".join(parts[-count:]) for parts in names for count in (1, 2)}


def _unpicklers(tree: ast.AST) -> list[int]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "Unpickler":
            found.append(node.lineno)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.append(node.value.lineno)
    return sorted(found)
