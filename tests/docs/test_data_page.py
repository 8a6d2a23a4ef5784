"""docs/data.md: its Python runs, and its arrays are what it says."""

import re

import numpy as np

from tests.helpers.source_tree import ROOT


def test_the_arrays_of_the_page_are_drawn_as_it_says() -> None:
    page = (ROOT / "docs" / "data.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert code.count("2_000_000") == 2
    names: dict[str, object] = {}
    exec(code.replace("2_000_000", "1_000"), names)
    columns, split = names["columns"], names["split"]
    assert isinstance(columns, dict)
    assert isinstance(split, np.ndarray)
    assert {len(values) for values in columns.values()} == {1000} == {len(split)}
    assert columns["c01"].dtype == np.int32
    assert columns["n1"].dtype == np.float32
    assert set(split.tolist()) == {0, 1, 2}
