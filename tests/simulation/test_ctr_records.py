"""The written click log: the arrays' rows as records, repeatable, split at random, the truth never an input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from simulation.ctr_log import feature_set, simulate
from simulation.ctr_world import BLOCK_ROWS, ClickLogWorld
from simulation.parameters import Category, ClickLogParameters
from tests.helpers.imported_records import records_of
from transforms.errors import InputError
from transforms.features import SPLITS, Feature
from transforms.records import load_dataset
from transforms.splits import random_splits

PARAMETERS = ClickLogParameters(
    categories=(
        Category(name="a", ids=30), Category(name="b", ids=4, exponent=0.0), Category(name="c", ids=500)
    ),
    numbers=("x",), pairs=(("a", "b"),), triples=(("a", "b", "c"),), start_timestamp=1000, days=2.0,
)  # fmt: skip
ROWS, SEED = 3000, 11

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ctr") / "log"
    simulate(out, PARAMETERS, ROWS, SEED)
    return out


@pytest.fixture(scope="module")
def rows(log: Path) -> Rows:
    return {split: records_of(log, "row", split) for split in SPLITS}


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return ClickLogWorld(PARAMETERS, SEED).sample(ROWS, SEED)


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def ordinals_of(rows: Rows) -> dict[str, list[int]]:
    return {split: [int(row["request_id"][1:]) for row in rows[split]] for split in SPLITS}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(log: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "same", PARAMETERS, ROWS, SEED)
    simulate(tmp_path / "other", PARAMETERS, ROWS, SEED + 1)
    assert files(tmp_path / "same") == files(log)
    assert load_dataset(tmp_path / "other").sha256 != load_dataset(log).sha256


def test_every_row_is_written_once_in_the_split_that_its_ordinal_and_the_seed_give(rows: Rows) -> None:
    chosen, written = random_splits(np.arange(ROWS), SEED), ordinals_of(rows)
    for index, split in enumerate(SPLITS):
        assert written[split] == np.flatnonzero(chosen == index).tolist()


def test_the_records_are_the_rows_of_the_arrays(rows: Rows, arrays: dict[str, np.ndarray]) -> None:
    for split, ordinals in ordinals_of(rows).items():
        for name in ("label", "true_click_probability"):
            assert [row[name] for row in rows[split]] == arrays[name][ordinals].tolist()
        # A number n is written as x with ln(1 + x) = 4 + 0.8 n; below 0 it would take n = -5.
        written = np.array([row["x"] for row in rows[split]])
        np.testing.assert_allclose((np.log1p(written) - 4) / 0.8, arrays["x"][ordinals], atol=1e-4)
        for name in ("a", "b", "c"):
            tokens = [row[name] for row in rows[split]]
            pairs = set(zip(tokens, arrays[name][ordinals].tolist(), strict=True))
            assert len(pairs) == len(set(tokens)) == len(set(arrays[name][ordinals].tolist()))
            assert {len(token) for token in tokens} == {8}
            assert all(int(token, 16) >= 0 for token in tokens)


def test_timestamps_run_over_the_days_of_the_log_and_nobody_has_an_id(rows: Rows) -> None:
    for split, ordinals in ordinals_of(rows).items():
        expected = [1000 + int(ordinal * 2 * 86_400 / ROWS) for ordinal in ordinals]
        assert [row["timestamp"] for row in rows[split]] == expected
        assert {(row["user_id"], row["item_id"]) for row in rows[split]} == {(b"", b"")}


def pairs_in_order(scores: np.ndarray, labels: np.ndarray) -> float:
    positive, negative = scores[labels == 1][:, None], scores[labels == 0][None, :]
    return float((positive > negative).mean() + 0.5 * (positive == negative).mean())


def test_notes_state_click_rate_and_the_oracles_figures(log: Path, rows: Rows) -> None:
    notes = load_dataset(log).notes["row"]
    assert set(notes) == set(SPLITS)
    for split in SPLITS:
        label = np.array([row["label"] for row in rows[split]])
        truth = np.array([row["true_click_probability"] for row in rows[split]])
        assert notes[split]["click_rate"] == pytest.approx(label.mean())
        assert notes[split]["oracle_auc"] == pytest.approx(pairs_in_order(truth, label))
        logloss = -(label * np.log(truth) + (1 - label) * np.log(1 - truth)).mean()
        assert notes[split]["oracle_logloss"] == pytest.approx(logloss)


def test_origin_states_seed_rows_and_world_and_no_clock(log: Path) -> None:
    origin = json.loads((log / "dataset.json").read_text())["origin"]
    world = PARAMETERS.model_dump(mode="json")
    stated = {"source": "ctr_simulator", "simulator_version": 2, "seed": SEED, "rows": ROWS}
    assert origin == {**stated, "world": world}


def test_no_truth_is_a_model_input() -> None:
    features = feature_set(PARAMETERS)
    inputs = {entry.name for entry in features.model_inputs("row")}
    assert inputs == {"a", "b", "c", "x"}
    assert {column.name for column in features.raw_inputs()} == {"a", "b", "c", "x"}
    assert {column.name for column in features.columns_of("row")} - inputs == {
        "request_id", "user_id", "item_id", "timestamp", "label", "true_click_probability"
    }  # fmt: skip


def test_a_feature_on_the_truth_is_refused() -> None:
    values = feature_set(PARAMETERS).model_dump()
    values["features"] += (Feature(name="leak", encoding="identity", column="true_click_probability").model_dump(),)
    with pytest.raises(ValidationError, match=r"reads column 'true_click_probability'.*must not be a model input"):
        type(feature_set(PARAMETERS)).model_validate(values)


def test_a_log_of_several_shards_holds_every_row_and_tells_its_progress(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    total = 4 * BLOCK_ROWS + 10
    world = ClickLogParameters(
        categories=(Category(name="a", ids=3),), numbers=(), pairs=(), triples=(), second_order=0, third_order=0
    )
    dataset = simulate(tmp_path / "log", world, total, 1, lambda done, rows: told.append((done, rows)))
    assert told == [(4 * BLOCK_ROWS, total), (total, total)]
    assert sum(info.records for info in dataset.records["row"].values()) == total
    # No row of the last ten went to test: an empty shard is none.
    assert [len(dataset.records["row"][split].shards) for split in SPLITS] == [
        1 + bool((random_splits(4 * BLOCK_ROWS + np.arange(10), 1) == index).any()) for index in range(3)
    ]


@pytest.mark.parametrize(("count", "seed", "where"), [(0, 1, "rows"), (-3, 1, "rows"), (5, -1, "seed")])
def test_impossible_sizes_and_seeds_are_refused_before_anything_is_written(
    tmp_path: Path, count: int, seed: int, where: str
) -> None:
    with pytest.raises(InputError) as refused:
        simulate(tmp_path / "log", PARAMETERS, count, seed)
    assert refused.value.where == where
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(log: Path) -> None:
    before = files(log)
    with pytest.raises(InputError, match="a path in use"):
        simulate(log, PARAMETERS, 10, 1)
    assert files(log) == before
