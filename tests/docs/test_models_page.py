"""The page of the models: its snippet runs, its tables name what is there."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.registry import MODELS, build_model
from models.retrieval.tower_model import TowerModel
from transforms.features import ModelInput

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text()
_FIELDS = [ModelInput(name=name, vocabulary=name, shape="scalar", entity="user") for name in ("a", "b")]
_OFFERED = ModelInput(name="c", vocabulary="b", shape="candidates", entity="item")


_IDS = {"dat": {"user_feature": "a", "item_feature": "c"}, "int_tower": {"item_feature": "c"}}


def _model(name: str, **options: Any) -> Any:
    on_rows = name in ("deepfm", "dcn", "pnn", "fibinet", "cold")
    inputs = _FIELDS if on_rows else [*_FIELDS, _OFFERED]
    return build_model(name, inputs, {"a": 3, "b": 3}, **{**_IDS.get(name, {}), **options})


def _arguments(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(type(_model(name))).parameters


def _told(default: Any) -> str:
    if default is None or default == ():
        return "none"
    return " + ".join(default) if isinstance(default, tuple) else str(default)


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
        parameters = _arguments(model)
        for option, default in zip(options.split(", "), defaults.split(", "), strict=True):
            assert _told(parameters[option.strip("`")].default) == default.replace("`", "")
            seen.add((model, option.strip("`")))
    common = {"inputs", "table_sizes", "embedding_dim", "hidden_units", "dropout", "batch_norm", "embedding_l2", "seed"}
    # What no run file gives: CS3 makes the caches.
    common |= {"l2_scope", "jit_compile", "self", "args", "kwargs", "caches"}
    assert "The options of `dssm` are those of all four retrieval models" in PAGE
    of_towers = {option for model, option in seen if model == "dssm"}
    for name in MODELS:
        own = set(_arguments(name)) - common
        if isinstance(_model(name), TowerModel) and name != "dssm":
            own -= of_towers
        assert {option for model, option in seen if model == name} == own


def test_what_the_page_says_of_retrieval_models_is_so() -> None:
    assert re.findall(r"^\* \*\*(\w+)\*\* ", PAGE.split("## Retrieval\n")[1].split("\n## ")[0], re.MULTILINE) == [
        type(_model(name)).__name__ for name in MODELS if isinstance(_model(name), TowerModel)
    ]
    for name in ("dssm", "int_tower", "dat", "transformer_two_tower", "target_attention_ranker"):
        with pytest.raises(ValueError, match="batch_norm"):
            _model(name, batch_norm=True)
        with pytest.raises(ValueError, match="no feature is of an item"):
            build_model(name, _FIELDS, {"a": 3, "b": 3})


def test_every_equation_has_its_file_and_its_test() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests" / "models").glob("test_*.py"))
    rows = _rows("Equations, files, tests")
    assert len(rows) == 33
    for _, file, name in rows:
        assert (ROOT / file.strip("`")).is_file()
        assert f"def {name.strip('`')}(" in tests


_CHOICES = {
    "cross": "dcn",
    "structure": "dcn",
    "product": "pnn",
    "outer_kernel": "pnn",
    "bilinear_type": "fibinet",
    "feature_map": "set_ranker",
    "streams": "set_ranker",
    "cycle_adaptive": "dssm",
    "pool": "transformer_two_tower",
}


@pytest.mark.parametrize("name", _CHOICES)
def test_values_that_the_page_gives_are_accepted(name: str) -> None:
    row = next(cells for cells in _rows("Options") if f"`{name}`" in cells[1])
    values = re.findall(r"`(\w+)`", row[2])
    assert len(values) >= 2
    for value in values:
        _model(_CHOICES[name], **{name: [value] if name in ("streams", "cycle_adaptive") else value})


def test_requests_are_needed_where_the_page_says_so() -> None:
    assert "`set_ranker` and `two_tower` read\nrequests" in PAGE
    with pytest.raises(ValueError, match="no feature is of an item"):
        build_model("set_ranker", _FIELDS, {"a": 3, "b": 3})
    with pytest.raises(ValueError, match="batch_norm"):
        _model("set_ranker", batch_norm=True)
