"""`consort new`: a folder whose files work as they are, once its questions are answered."""

import json
import re

import numpy as np
import pytest

from consort.config import load_config
from runs.plan import check_names, check_run
from tests.helpers.command_line import consort
from transforms.records import load_dataset


def _write_log(path, shown=True):
    """A log of 400 requests of three items each, two of which were shown."""
    rng = np.random.default_rng(1)
    lines = ["session,customer,article,event_time,price,clicked" + (",shown" if shown else "")]
    for session in range(400):
        articles = rng.choice(40, 3, replace=False)
        for place, article in enumerate(articles):
            seen = place < 2 or not shown
            click = int(seen and rng.random() < 0.3)
            row = [f"s{session}", f"c{session % 25}", f"a{article}", 1767225600 + 600 * session, 1.5 + article, click]
            lines.append(",".join(map(str, row + ([int(seen)] if shown else []))))
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(("shown", "ranker"), [(True, "duet"), (False, "set_ranker")])
def test_a_project_imports_and_its_run_files_fit_the_data(tmp_path, monkeypatch, shown, ranker):
    monkeypatch.chdir(tmp_path)
    _write_log(tmp_path / "clicks.csv", shown)
    answer = consort("new", "shop", "--data", "clicks.csv", "--json", "new.json")
    assert answer.code == 0, answer.err
    names = [
        "shop.yaml",
        "deepfm.yaml",
        "mutual.yaml",
        f"{ranker}.yaml",
        "retrieval.yaml",
        "cs3.yaml",
        "README.md",
        ".gitignore",
    ]
    result = json.loads((tmp_path / "new.json").read_text())
    assert result == {"project": "shop", "files": names, "questions": 0}
    assert sorted(path.name for path in (tmp_path / "shop").iterdir()) == sorted(names)
    monkeypatch.chdir(tmp_path / "shop")
    answer = consort("data", "import", "shop.yaml", "--out", "data", "--json", "imported.json")
    assert answer.code == 0 and "audit of " in answer.err, answer.err
    assert json.loads((tmp_path / "shop" / "imported.json").read_text())["audit"]["stops"] == []
    assert load_dataset("data").source == "shop" and set(load_dataset("data").records) == {"row", "request"}
    for name in ("deepfm", "mutual", ranker, "retrieval", "cs3"):
        config = load_config(f"{name}.yaml")
        assert config.name == f"shop_{name}" and config.source is None
        check_run(config, "data")
        assert f"{name}.yaml" in (tmp_path / "shop" / "README.md").read_text()


def test_a_log_of_shown_items_without_users_gets_no_run_files_that_it_cannot_feed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text(
        "article,clicked\n" + "\n".join(f"a{k % 9},{k % 4 // 3}" for k in range(90)) + "\n"
    )
    answer = consort("new", "shop", "--data", "log.csv")
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in (tmp_path / "shop").glob("*.yaml")) == [
        "deepfm.yaml",
        "mutual.yaml",
        "shop.yaml",
    ]
    for name in ("deepfm", "mutual"):
        check_names(load_config(tmp_path / "shop" / f"{name}.yaml"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("My-Shop", "clicks.csv", "NAME: received 'My-Shop'; expected a lower-case.*choose a name such as my_shop"),
        ("used", "clicks.csv", "used: received a path in use; expected a new or empty folder"),
        ("shop", "nowhere.csv", "nowhere.csv"),
    ],
)  # fmt: skip
def test_what_makes_no_project_is_refused_and_leaves_nothing(tmp_path, monkeypatch, name, data, message):
    monkeypatch.chdir(tmp_path)
    _write_log(tmp_path / "clicks.csv")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    answer = consort("new", name, "--data", data)
    assert answer.code == 2, answer.err
    assert re.search(message, answer.err), answer.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clicks.csv", "used"]
