"""Links, snippets, run files and options of the documentation are valid."""

import re

import pytest
import yaml

from consort.config import load_config, presets
from runs.building import recipe_of
from runs.config import parse_config
from serving.cascade.config import parse_cascade
from tests.docs import blocks
from tests.helpers.source_tree import ROOMS, ROOT
from transforms.sources.table.load import parse_declaration

PAGES = {str(page.relative_to(ROOT)): page.read_text() for page in blocks.pages()}


def snippets(language: str) -> list[tuple[str, str]]:
    return [
        (name, code)
        for name, text in PAGES.items()
        for code in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    ]


@pytest.mark.parametrize("name", PAGES)
def test_linked_files_exist(name):
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[name]):
        assert target.startswith("https://") or (ROOT / name).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("name", PAGES)
def test_named_files_and_folders_of_the_code_exist(name):
    rooms = "|".join((*ROOMS, "tests", "docs"))
    for path in re.findall(rf"`((?:{rooms})/[\w/.*-]*)`", PAGES[name]):
        assert list(ROOT.glob(path.rstrip("/"))), path


@pytest.mark.parametrize(("name", "text"), snippets("yaml"), ids=lambda value: value if len(value) < 40 else "")
def test_run_files_and_declarations_are_valid(name, text):
    values = yaml.safe_load(text)
    if "files" in values:
        parse_declaration(values)
        return
    if "stages" in values:
        parse_cascade(values)
        return
    config = parse_config({"name": "mine", "source": "toy", **values})
    recipe_of(config)


def test_names_of_presets_exist():
    text = "\n".join(PAGES.values())
    used = re.findall(
        r"consort (?:train|tune|online|config show|config check|pipeline run|pipeline graph) (\w+)(?=[\s`])", text
    )
    assert set(used) - {"RUN", "run"} <= set(presets())


def test_settings_on_command_lines_are_valid():
    text = "\n".join(PAGES.values())
    for preset, rest in re.findall(r"consort (?:train|tune|online|pipeline run) (\w+)(.*)", text):
        if preset in presets():
            settings = re.findall(r"--set '([^']+)'|--set ([^\s'`]+)", rest)
            load_config(preset, tuple(quoted or plain for quoted, plain in settings))


def test_equations_name_their_file_and_their_test():
    tests = "\n".join(path.read_text() for path in (ROOT / "tests" / "models").glob("test_*.py"))
    section = PAGES["docs/models.md"].split("## Equations, files, tests\n")[1]
    rows = re.findall(r"^\| .* \| `(models/\S+\.py)` \| `(\w+)` \|$", section, re.MULTILINE)
    assert len(rows) > 20
    assert [file for file, _ in rows if not (ROOT / file).is_file()] == []
    assert [name for _, name in rows if f"def {name}(" not in tests] == []
