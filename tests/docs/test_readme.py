"""The README's commands run, and its figures are those of the committed results."""

import json
import re
import shlex

import pytest

from tests.helpers.command_line import consort, start
from tests.helpers.source_tree import ROOT

README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"


def console_lines(text: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.e2e
@pytest.mark.usefixtures("each_transform_once")
def test_every_command_of_the_step_by_step_part_runs(tmp_path, monkeypatch):
    """In order, on a smaller log and at a port of our own: another server may hold the documented one."""
    monkeypatch.chdir(tmp_path)
    text = README.replace("--requests 5000", "--requests 1500").replace("--port 8500", "--port 18573")
    commands = [shlex.split(line)[1:] for line in console_lines(text)]
    out, server = [], None
    try:
        for command in commands:
            if command[-1] == "&":
                server = start(tmp_path, *command[:-1])
                continue
            address = ["--address", "127.0.0.1:18573"] if "--wait" in command else []
            answer = consort(*command, *address)
            assert answer.code == 0, answer.err
            out.append(answer.out)
    finally:
        if server is not None:
            server.terminate()
            server.communicate()
    # Of the last lines of the pipeline, and of two evaluations.
    assert "outputs.probability" in "".join(out) and "".join(out).count("metrics.auc ") == 3


def load(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text())


def test_the_demos_table_is_the_committed_one():
    from consort.demo import quality_rows, rows_of

    result = load("demo")
    for what, value in rows_of(result):
        assert re.search(rf"{re.escape(what)}\W+{re.escape(value)}", README), what
    for row in quality_rows(result):
        assert f"| {' | '.join(row)} |" in README, row


@pytest.mark.parametrize("name", ["criteo_head", "ebnerd"])
def test_quality_figures_are_the_committed_ones(name):
    metrics = load(name)["metrics"]
    performance = (ROOT / "docs" / "performance.md").read_text()
    for key in ("auc", "logloss", "gauc_request"):
        if key in metrics:
            figure = f"{metrics[key]:.3f} [{metrics[f'{key}_low']:.3f}, {metrics[f'{key}_high']:.3f}]"
            assert figure in README and figure in performance, key


def test_speed_figures_are_the_committed_ones():
    performance = (ROOT / "docs" / "performance.md").read_text()
    assert f"{load('input')['examples_per_s']:,.0f}" in performance
    pipeline, vocabulary = load("pipeline"), load("vocabulary")
    assert f"{pipeline['seconds']:.0f} s" in performance and f"{pipeline['peak_gb']:.2f} GB" in performance
    assert f"{vocabulary['ratio_tft_to_ours']:.1f} times" in performance and vocabulary["same_tokens"] is True


def test_every_committed_result_says_machine_and_versions():
    for path in sorted(RESULTS.glob("*.json")):
        machine = json.loads(path.read_text())["machine"]
        assert machine["cores"] and machine["versions"]["tensorflow"] and machine["date"], path.name
