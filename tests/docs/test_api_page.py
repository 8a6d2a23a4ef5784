"""The Python of docs/api.md runs: from raw columns to models that serve raw columns."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import consort
from tests.helpers.source_tree import ROOT

SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Names and folder after the three examples."""
    names: dict = {"folder": tmp_path_factory.mktemp("api"), "histories": []}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(names["folder"])
        mutual, _, duet, cs3 = SNIPPETS
        for code in (mutual, duet, cs3):
            exec(compile(code, "docs/api.md", "exec"), names)
            names["histories"].append(names["history"])
    return names


def test_the_recipes_train_on_raw_columns(names):
    mutual, duet, cs3 = names["histories"]
    assert mutual["auc/peer_0"][-1] > 0.6
    assert {"loss/consistency"} <= set(duet) and {"loss/ranker"} <= set(cs3)
    assert all(np.isfinite(values).all() for history in names["histories"] for values in history.values())


def test_the_exported_models_answer_to_raw_columns(names, capsys):
    from serving.server.server import LocalServer

    served = names["folder"] / "served"
    with LocalServer({name: served / name for name in ("clicks", "candidates", "towers")}) as server:
        server.wait_ready(120)
        exec(SNIPPETS[1].replace("127.0.0.1:8500", server.address), names)
        shop, news = names["answer"].outputs["probability"]
        assert shop > news
        with consort.PredictClient(server.address, timeout_s=20.0) as client:
            scores = client.predict(
                "candidates",
                {"user_id": ["u1"], "item_id": [["i1", "i2", "new"]], "clicked": [["i3"]], "candidate": [[1, 1, 1]]},
                "plain",
            ).outputs["probability"]
            best = client.retrieve("towers", {"user_id": ["u1"]}, k=3)
    assert scores.shape == (1, 3) and best.item_ids.shape == (1, 3)


def test_every_public_name_is_importable_and_listed():
    assert set(consort.__all__) <= set(dir(consort))
    (for_types,) = [node for node in ast.parse(Path(consort.__file__).read_text()).body if isinstance(node, ast.If)]
    imported = {alias.asname for node in for_types.body for alias in getattr(node, "names", ())}
    assert imported == set(consort.__all__)
    for name in consort.__all__:
        assert getattr(consort, name).__name__ == name
    with pytest.raises(AttributeError, match="Duett"):
        _ = consort.Duett


def test_importing_consort_imports_nothing_heavy():
    code = (
        "import sys, consort; print([name for name in ('tensorflow', 'apache_beam', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_an_unknown_column_is_refused():
    features = consort.FeatureSet(features=[consort.Feature(name="user_id", encoding="id")])
    with pytest.raises(ValueError, match=r"unknown columns \['user'\]"):
        consort.Preprocessing(features, {"user": ["u1"]})
