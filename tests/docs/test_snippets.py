"""The Python of docs/models.md and docs/data.md runs."""

import re

import numpy as np

from tests.helpers.source_tree import ROOT


def run(page: str, *changes: tuple[str, str]) -> dict:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    names: dict = {}
    exec(compile(code, page, "exec"), names)
    return names


def test_a_model_trains_on_arrays():
    logits = run("models.md")["logits"]
    assert logits.shape == (4000,) and np.isfinite(logits).all()


def test_the_arrays_of_the_simulator_are_rows():
    names = run("data.md", ("2_000_000", "1_000"))
    columns, split = names["columns"], names["split"]
    assert {len(values) for values in columns.values()} == {1000} == {len(split)}
    assert columns["c01"].dtype == np.int32 and columns["n1"].dtype == np.float32
    assert set(split.tolist()) == {0, 1, 2}


def test_requests_are_evaluated_from_arrays():
    metrics = run("metrics.md")["metrics"]
    assert 0 < metrics["gap_closed"] < 1 and 0 < metrics["recall@10"] < 1
