"""`consort bench end_to_end`: parts by what a command writes, medians, files for FuxiCTR."""

import pytest

from benchmarks import end_to_end as bench
from benchmarks.criteo_like import write_criteo_like
from benchmarks.end_to_end import Turn
from benchmarks.peers.environments import Environments
from tests.helpers.command_line import consort


def _turn(auc, **seconds):
    return Turn(seconds, 2 * sum(seconds.values()), auc, 0.5, {"versions": {}})


def _consort_turn(train, auc):
    return _turn(auc, **dict.fromkeys(bench.PARTS["consort"], 1.0) | {"training": train})


def test_the_ratio_is_that_of_medians_and_the_table_has_every_part():
    turns = {
        "consort": [_consort_turn(3.0, 0.7), _consort_turn(43.0, 0.8), _consort_turn(5.0, 0.75)],
        "fuxictr": [_turn(0.7, start_up=1.0, preprocessing=20.0, training=each) for each in (3.0, 9.0, 4.0)],
    }
    result = bench.summary(turns)
    # Totals of 10, 50 and 12 seconds, and of 24, 30 and 25.
    assert result["seconds"] == {"consort": 12.0, "fuxictr": 25.0}
    assert result["ratio_to_fuxictr"] == 25.0 / 12.0
    assert result["cpu_seconds"]["consort"] == 24.0 and result["auc"]["consort"] == 0.75
    assert result["parts"]["fuxictr"] == {"start_up": 1.0, "preprocessing": 20.0, "training": 4.0}
    assert result["rounds_seconds"]["fuxictr"] == [24.0, 30.0, 25.0]
    rows = bench.table_rows(result)
    assert len(rows) == len(bench.PARTS["consort"]) + len(bench.PARTS["fuxictr"]) + 2
    assert ("fuxictr", "preprocessing", "20.0", "80%") in rows and ("consort", "all", "12.0", "") in rows


def test_without_fuxictr_there_is_no_ratio():
    result = bench.summary({"consort": [_consort_turn(3.0, 0.7)]})
    assert result["ratio_to_fuxictr"] is None and result["seconds"] == {"consort": 10.0}


def test_a_part_ends_with_the_first_line_that_says_so():
    now = [10.0]

    def lines():
        for after, line in (
            (0.5, "training.precision float32, as batches are small"),
            (1.5, "transforming"),
            (1.0, "transforming: 900 rows"),
            (3.0, "training"),
            (0.5, "transforming"),
            (7.5, "exporting"),
        ):
            now[0] += after
            yield f"{line}\n"
        now[0] += 5.0

    kept: list[str] = []
    seconds = bench.part_seconds(lines(), bench.TRAINS, "export", kept.append, lambda: now[0])
    assert seconds == {"start_up": 2.0, "transform": 4.0, "training": 8.0, "export": 5.0} and len(kept) == 6


def test_fuxictr_gets_the_first_rows_split_and_under_a_header(tmp_path):
    write_criteo_like(tmp_path / "train.txt", 50, 1)
    bench._write_csv(tmp_path / "train.txt", tmp_path / "csv", 50)
    raw = (tmp_path / "train.txt").read_text().splitlines()
    train, valid = ((tmp_path / "csv" / f"{split}.csv").read_text().splitlines() for split in ("train", "valid"))
    assert train[0] == valid[0] and train[0].split(",")[:2] == ["label", "I1"] and train[0].count(",") == 39
    assert train[1:] == [line.replace("\t", ",") for line in raw[:40]]
    assert valid[1:] == [line.replace("\t", ",") for line in raw[40:45]]


def test_a_folder_without_fuxictr_is_refused(tmp_path):
    answer = consort("bench", "end_to_end", "--peers", tmp_path)
    assert answer.code == 3 and f"fuxictr in {tmp_path} is not installed" in answer.err


@pytest.mark.slow
@pytest.mark.skipif(not Environments.at(None).is_installed("fuxictr"), reason="`consort bench peers` was not run here")
def test_both_libraries_learn():
    result = bench.bench_end_to_end(rows=3000, rounds=1)
    assert result["ratio_to_fuxictr"] > 0
    assert all(0.5 < auc < 1 for auc in result["auc"].values())
    assert all(seconds > 0 for parts in result["parts"].values() for seconds in parts.values())
