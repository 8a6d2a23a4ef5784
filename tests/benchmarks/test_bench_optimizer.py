"""`consort bench optimizer`: the ways differ in what they should, and the differences are those of the AUCs."""

import json

import pytest

from tests.helpers.command_line import consort


@pytest.mark.slow
def test_a_small_run_compares_all_ways_on_the_same_rows(tmp_path):
    file = tmp_path / "optimizer.json"
    arguments = ("--rows", 20_400, "--test-rows", 5000, "--batch-size", 500, "--repeats", 1, "--seed", 3)
    answer = consort("bench", "optimizer", *arguments, "--json", file)
    assert answer.code == 0, answer.err
    result = json.loads(file.read_text())
    auc = {way: values[0] for way, values in result["auc"].items()}
    assert 0.6 < auc["lazy"] < auc["oracle"] and 0.6 < auc["dense"] < auc["oracle"]
    # Rows that a batch does not name move in dense Adam alone.
    assert auc["dense"] != auc["lazy"] and auc["lazy_bfloat16"] != auc["lazy"]
    assert result["auc_lazy_to_dense"] == pytest.approx(auc["lazy"] - auc["dense"])
    assert result["auc_bfloat16_to_float32_each"] == pytest.approx([auc["lazy_bfloat16"] - auc["lazy"]])
    assert result["settings"]["seeds"] == [3] and result["machine"]["date"]
    assert "auc_lazy_to_dense" in answer.out and "seed 3, dense: AUC" in answer.err
