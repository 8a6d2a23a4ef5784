"""The Python of docs/serving.md on retrieval runs; so do the file, commands and Python of docs/cascade.md."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.retrieval.index import build_index
from serving.server.server import LocalServer
from tests.helpers.command_line import consort
from tests.helpers.served_towers import NAME, ToyTowers, make_towers, user_inputs

ROOT = Path(__file__).resolve().parents[2]
SECTION = (ROOT / "docs" / "serving.md").read_text().split("## Retrieval\n")[1].split("\n## ")[0]


CASCADE_PAGE = (ROOT / "docs" / "cascade.md").read_text()
FILE = re.findall(r"```yaml\n(.*?)```", CASCADE_PAGE, re.DOTALL)[0]
MODELS = [stage["model"] for stage in yaml.safe_load(FILE)["stages"]]


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


def test_a_cascade_answers_and_falls_back_as_its_page_says(
    towers: ToyTowers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "served").mkdir()
    os.symlink(towers.base, tmp_path / "served" / MODELS[0])
    # The two-tower model takes all parts: `retrieve` finds items, and `serving_default` scores rows.
    with (
        LocalServer({MODELS[0]: towers.base}) as first,
        LocalServer(dict.fromkeys(MODELS[1:], towers.base)) as second,
    ):
        for server in (first, second):
            server.wait_ready(120)
        text = FILE.replace("127.0.0.1:8500", first.address).replace("127.0.0.1:8600", second.address)
        text = re.sub(r"timeout_ms: \d+", "timeout_ms: 20000", text.replace("[history_items]", "[history]"))
        (tmp_path / "cascade.yaml").write_text(text)

        commands = [line.partition("  ")[0] for line in re.findall(r"^consort cascade .*", CASCADE_PAGE, re.MULTILINE)]
        assert len(commands) == 4
        results = []
        (tmp_path / "user.json").write_text(json.dumps(_user(towers)))
        for command in commands:
            words = command.replace("log", str(towers.folder / "data")).replace("100", "2").split()[1:]
            results.append(consort(*words))
            assert results[-1].code == 0, results[-1].err
        assert "--model_config_file=deploy-here/models-" in results[0].out and len(os.listdir("deploy-here")) == 2
        answer = json.loads((tmp_path / "answer.json").read_text())["answers"][0]
        assert answer["fallbacks"] == {} and [stage["version"] for stage in answer["stages"]] == [1, 1, 1]
        retrieved, _, ranked = answer["stages"]
        # A row's logit is the score that `retrieve` gave the item: columns belong to their items.
        assert ranked["item_ids"] == retrieved["item_ids"][:10]
        assert ranked["scores"] == pytest.approx(retrieved["scores"][:10], abs=1e-5)
        assert "user 25" in results[3].out and "p99" in results[3].out

        (code,) = re.findall(r"```python\n(.*?)```", CASCADE_PAGE, re.DOTALL)
        names: dict[str, Any] = {"user": user_inputs(towers, 1), "users": user_inputs(towers, 3)}
        exec(compile(code, "cascade.md", "exec"), names)
        assert re.search(r"ranking 1 \d+\.\d ms ok", capsys.readouterr().out)
        assert len(names["answers"]) == 3 and not {b"i3", b"i7"} & set(names["answer"].item_ids.tolist())

        second.stop()
        (tmp_path / "cascade.yaml").write_text(text.replace("20000", "500"))
        lost = consort("cascade", "cascade.yaml", "--inputs", "user.json", "--wait", 0)
    block = CASCADE_PAGE.split("With the server of the rankers stopped:\n\n```\n")[1].split("```")[0]
    # Numbers, and what comes after the dots, differ.
    words = [[re.sub(r"^[\d.]+$", "0", word) for word in line.split("...")[0].split()] for line in block.splitlines()]
    printed = [[re.sub(r"^[\d.]+$", "0", word) for word in line.split()] for line in lost.out.splitlines()]
    for line, answer_line in zip(words, printed):
        assert answer_line[: len(line)] == line, lost.out


def _user(towers: ToyTowers) -> dict[str, object]:
    return {
        name: [value.decode() if isinstance(value, bytes) else value for value in values.tolist()]
        if values.ndim == 1
        else [[one.decode() if isinstance(one, bytes) else one for one in row] for row in values.tolist()]
        for name, values in user_inputs(towers, 1).items()
    }
