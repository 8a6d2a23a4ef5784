"""The page of the models: its snippet runs, its tables name what is there."""

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.registry import MODELS, build_model
from transforms.features import ModelInput

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text()
_FIELDS = [ModelInput(name=name, space=name, shape="scalar", entity="user") for name in ("a", "b")]


def _rows(heading: str) -> list[list[str]]:
    """Cells of the table under a heading, without its first two lines."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_snippet_runs() -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)
    assert names["logits"].shape == (4000,)
    assert np.isfinite(names["logits"]).all()


def test_the_page_lists_all_models() -> None:
    assert re.findall(r"^\| `(\w+)` \| `([A-Z]\w+)` \|", PAGE, re.MULTILINE) == [
        (name, path.rpartition(".")[2]) for name, path in MODELS.items()
    ]


def test_options_and_their_defaults_are_those_of_the_classes() -> None:
    model, seen = "", set()
    for name, options, _, defaults in _rows("Options"):
        model = name.strip("`") or model
        parameters = inspect.signature(type(build_model(model, _FIELDS, {"a": 3, "b": 3}))).parameters
        for option, default in zip(options.split(", "), defaults.split(", "), strict=True):
            assert str(parameters[option.strip("`")].default) == default.strip("`")
            seen.add((model, option.strip("`")))
    common = {"inputs", "table_sizes", "embedding_dim", "hidden_units", "dropout", "batch_norm", "embedding_l2", "seed"}
    for name in MODELS:
        parameters = inspect.signature(type(build_model(name, _FIELDS, {"a": 3, "b": 3}))).parameters
        own = set(parameters) - common - {"kwargs"}
        assert {option for model, option in seen if model == name} == own


def test_every_equation_has_its_file_and_its_test() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests" / "models").glob("test_*.py"))
    rows = _rows("Equations, files, tests")
    assert len(rows) == 13
    for _, file, name in rows:
        assert (ROOT / file.strip("`")).is_file()
        assert f"def {name.strip('`')}(" in tests


@pytest.mark.parametrize("name", ["cross", "structure", "product", "outer_kernel", "bilinear_type"])
def test_values_that_the_page_gives_are_accepted(name: str) -> None:
    (row,) = [cells for cells in _rows("Options") if f"`{name}`" in cells[1]]
    model = {"cross": "dcn", "structure": "dcn", "product": "pnn", "outer_kernel": "pnn"}.get(name, "fibinet")
    values = re.findall(r"`(\w+)`", row[2])
    assert len(values) >= 2
    for value in values:
        build_model(model, _FIELDS, {"a": 3, "b": 3}, **{name: value})
