"""`--runner` with `--option`: which options are the source's, which the runner's, and what is refused."""

import pytest

from benchmarks.criteo_like import write_criteo_like
from consort.cli.options import beam_args_of, split_options
from tests.helpers.command_line import consort


def test_options_are_parted_between_the_source_and_the_runner():
    pairs = ["batch_rows=9", "workers=2"]
    assert split_options(pairs, "criteo", "local") == (["batch_rows=9"], ["workers=2"])
    assert split_options(pairs, "", "local") == ([], pairs)
    assert split_options(pairs, "criteo", None) == (pairs, [])


def test_beam_arg_comes_last_and_nothing_passed_is_nothing():
    assert beam_args_of(None, None, None) is None
    assert beam_args_of(None, None, ["--x=1"]) == ["--x=1"]
    assert beam_args_of("local", None, ["--x=1"]) == ["--runner=FnApiRunner", "--x=1"]


IMPORT = "data import criteo --input raw --out new --runner"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"{IMPORT} local --option batch_rows=9 --option direct_num_worker=2", "did you mean 'direct_num_workers'"),
        (f"{IMPORT} flimk", "'flimk' is not one of"),
        (f"{IMPORT} flink", "no job server; expected the address of one"),
        (f"{IMPORT} flink --option job_endpoint=localhost:1", "localhost:1: received no answer within 5 s"),
        (
            "pipeline run simulated_deepfm --data raw --root new --runner dataflow",
            "no project; expected --option project",
        ),
    ],
)
def test_a_wrong_runner_is_refused_and_nothing_is_written(tmp_path, monkeypatch, command, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    write_criteo_like(tmp_path / "raw" / "train.txt", 9)
    result = consort(*command.split())
    assert result.code == 2
    assert message in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
