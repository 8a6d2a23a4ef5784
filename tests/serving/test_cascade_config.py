"""Files that describe cascades, and the `models.config` that their servers read."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from serving.cascade.config import load_cascade, parse_cascade, read_ids, write_models_configs
from tests.helpers.command_line import consort
from transforms.errors import InputError

CASCADE = """
timeout_ms: 50
exclude: [clicked]
fallback: popular.json
stages:
  - {model: towers, server: "towers:8500", keep: 200, folder: served/towers, base_path: /models/towers}
  - {model: sets, server: "rankers:8500", keep: 50, version: 3, label: stable, base_path: /models/sets}
  - {model: rows, server: "rankers:8500", keep: 10, name: ranking, folder: /served/rows}
"""


def _values(**more: Any) -> dict[str, Any]:
    return {"stages": [{"model": "towers", "keep": 2, "folder": "f"}, {"model": "rows", "keep": 1} | more]}


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "cascade.yaml").write_text(CASCADE)
    config = load_cascade(tmp_path / "cascade.yaml")
    assert config.stages[0].folder == tmp_path / "served/towers" and config.fallback == tmp_path / "popular.json"
    assert [stage.title for stage in config.stages] == ["towers", "sets", "ranking"]
    assert config.stages[1].timeout_ms == 30 and config.timeout_ms == 50 and config.exclude == ("clicked",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stage": []}, "key 'stage': received an unknown key; expected one of stages, .*did you mean 'stages'"),
        (_values(kep=1), r"key 'stages.1.kep': received an unknown key; .*did you mean 'keep'"),
        (_values(keep=0), r"key 'stages.1.keep': received 0; expected 1 or more"),
        (_values(server="8500"), "stages.1.server'.*expected text of the form"),
        (_values(fetch=3), r"stages.1.fetch: received 3|stages.1.fetch': received 3; expected nothing"),
        (_values(name="towers"), "two stages named 'towers'; expected distinct names"),
        (_values(base_path="models"), "received 'models'; expected an absolute path"),
        ({"stages": [{"model": "t", "keep": 2}]}, "stages.0.folder.*received nothing"),
        ({"stages": [{"model": "t", "keep": 2, "fetch": 1, "folder": "f"}]}, "fetch.*received 1; expected at least"),
        ({"stages": []}, "expected at least one value"),
        (_values() | {"timeout_ms": float("nan")}, "key 'timeout_ms'"),
    ],
)
def test_what_cannot_be_is_refused_by_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_cascade(values, "cascade.yaml")


@pytest.mark.parametrize("text", ["- 1", "", "a: [", "a: &x [1]\nb: *x", None])
def test_what_is_no_mapping_in_yaml_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "cascade.yaml").write_text(text)
    with pytest.raises(InputError, match="cascade.yaml"):
        load_cascade(tmp_path / "cascade.yaml")


def test_the_servers_read_their_models_configs(tmp_path: Path) -> None:
    from tensorflow_serving.config import model_server_config_pb2

    (tmp_path / "cascade.yaml").write_text(CASCADE)
    paths = write_models_configs(load_cascade(tmp_path / "cascade.yaml"), tmp_path / "out")
    assert {server: path.name for server, path in paths.items()} == {
        "towers:8500": "models-towers-8500.config",
        "rankers:8500": "models-rankers-8500.config",
    }
    server = text_format.Parse(paths["rankers:8500"].read_text(), model_server_config_pb2.ModelServerConfig())
    sets, rows = server.model_config_list.config
    assert (sets.name, sets.base_path, sets.model_platform) == ("sets", "/models/sets", "tensorflow")
    assert list(sets.model_version_policy.specific.versions) == [3] and dict(sets.version_labels) == {"stable": 3}
    assert (rows.name, rows.base_path) == ("rows", "/served/rows") and not rows.HasField("model_version_policy")


def test_one_server_has_one_file_and_names_are_quoted(tmp_path: Path) -> None:
    from tensorflow_serving.config import model_server_config_pb2

    values = _values()
    values["stages"][0]["folder"] = values["stages"][1]["folder"] = str(tmp_path / 'a "b" \\c')
    values["stages"][1] |= {"model": "towers", "name": "again"}
    (path,) = write_models_configs(parse_cascade(values), tmp_path).values()
    assert path.name == "models.config"
    server = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    (model,) = server.model_config_list.config
    assert model.base_path == str(tmp_path / 'a "b" \\c')
    values["stages"][1]["folder"] = str(tmp_path)
    with pytest.raises(InputError, match="model towers of 127.0.0.1:8500 with two base paths"):
        write_models_configs(parse_cascade(values), tmp_path)
    with pytest.raises(InputError, match="stage rows, key 'base_path': received nothing"):
        write_models_configs(parse_cascade(_values()), tmp_path)


@pytest.mark.parametrize("text", ["{}", "[]", '["a", 1]', "[1.5]", "[true]", "nonsense"])
def test_a_fallback_is_a_list_of_ids(tmp_path: Path, text: str) -> None:
    (tmp_path / "popular.json").write_text(text)
    with pytest.raises(InputError, match="a JSON list of item ids"):
        read_ids(tmp_path / "popular.json")
    (tmp_path / "popular.json").write_text("[3, 1]")
    assert read_ids(tmp_path / "popular.json") == [3, 1]


def test_the_command_says_what_it_needs_before_it_asks_a_server(tmp_path: Path) -> None:
    (tmp_path / "cascade.yaml").write_text(CASCADE)
    for options, message in (
        ([], "both or neither of --data and --inputs"),
        (["--inputs", tmp_path / "user.json"], "no such file"),
        (["--inputs", "user.json", "--models-config", tmp_path], "expected one of them"),
    ):
        answer = consort("cascade", tmp_path / "cascade.yaml", *options)
        assert answer.code == 2 and message in answer.err
    assert consort("cascade", tmp_path / "missing.yaml", "--inputs", "user.json").code == 2
