"""The Python of docs/serving.md on retrieval runs."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from serving.retrieval.index import build_index
from serving.server.server import LocalServer
from tests.helpers.served_towers import NAME, ToyTowers, make_towers, user_inputs

ROOT = Path(__file__).resolve().parents[2]
SECTION = (ROOT / "docs" / "serving.md").read_text().split("## Retrieval\n")[1].split("\n## ")[0]


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> ToyTowers:
    return make_towers(tmp_path_factory.mktemp("towers"))


def test_the_snippets_run(towers: ToyTowers, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask, search = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    inputs = user_inputs(towers, 2)
    with LocalServer({NAME: towers.base}) as server:
        server.wait_ready(120)
        found: dict[str, Any] = {"inputs": inputs}
        exec(ask.replace("127.0.0.1:8500", server.address).replace("timeout_s=1.0", "timeout_s=20.0"), found)
        users = found["PredictClient"](server.address).predict(NAME, inputs, "user_embedding").outputs["embedding"]
    assert found["best"].item_ids.shape == (2, 10) and capsys.readouterr().out.startswith("1 ")
    served, index = tmp_path / "served" / NAME / "1", tmp_path / "index"
    shutil.copytree(towers.version, served)
    build_index(served, index, queries=20)
    text = search.replace('"index"', repr(str(index))).replace('"served/towers/1"', repr(str(served)))
    names: dict[str, Any] = {"users": users}
    # The toy has fewer items than the page asks for.
    exec(text.replace("k=100", "k=10"), names)
    assert not set(names["ids"][0].tolist()) - set(towers.catalogue().ids.tolist())
