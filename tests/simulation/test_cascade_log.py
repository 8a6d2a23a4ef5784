"""The written log: repeatable, causal, honest about the truth."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from simulation.cascade_log import feature_set, simulate
from simulation.parameters import World
from transforms.errors import InputError
from transforms.features import Feature, RecordKind, Split
from transforms.records import Dataset, load_dataset, shard_paths

WORLD = World(
    users=60, items=150, categories=6, pool_size=60, candidates=24, min_candidates=16, ranked_items=12, exposed_items=6,
    base_logit=-2.0, born_share=0.3, past_clicks=2.0, history_length=5, block_requests=32,
)  # fmt: skip
REQUESTS, SEED = 400, 11
SPLITS: tuple[Split, ...] = ("train", "eval", "test")
TRUTHS = ("stage", "position", "logging_score", "true_click_probability")

Record = dict[str, list[Any]]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulator") / "log"
    simulate(out, WORLD, REQUESTS, SEED)
    return out


def parsed(example: bytes) -> Record:
    features = tf.train.Example.FromString(example).features.feature
    kinds = {name: feature.WhichOneof("kind") or "int64_list" for name, feature in features.items()}
    return {name: list(getattr(features[name], kind).value) for name, kind in kinds.items()}


def records(directory: Path, record: RecordKind, splits: tuple[Split, ...] = SPLITS) -> list[Record]:
    dataset = load_dataset(directory)
    paths = [path for split in splits for path in shard_paths(directory, dataset, record, split)]
    return [parsed(example.numpy()) for example in tf.data.TFRecordDataset(paths)]


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(log: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "same", WORLD, REQUESTS, SEED)
    simulate(tmp_path / "other", WORLD, REQUESTS, SEED + 1)
    assert files(tmp_path / "same") == files(log)
    assert load_dataset(tmp_path / "other").sha256 != load_dataset(log).sha256


def test_splits_are_80_10_10_in_order_of_time(log: Path) -> None:
    dataset = load_dataset(log)
    assert [dataset.records["request"][split].records for split in SPLITS] == [320, 40, 40]
    assert [dataset.records["row"][split].records for split in SPLITS] == [1920, 240, 240]
    for kind in ("request", "row"):
        times = [record["timestamp"][0] for record in records(log, kind)]
        assert times == sorted(times)
    first, last = times[0], times[-1]
    assert WORLD.start_timestamp <= first < last < WORLD.start_timestamp + 14 * 86_400


def test_only_candidates_are_exposed_and_only_exposed_items_are_clicked(log: Path) -> None:
    clicks = 0
    for record in records(log, "request"):
        candidate, exposed = np.array(record["candidate"]), np.array(record["exposed"])
        label, stage = np.array(record["label"]), np.array(record["stage"])
        assert len(candidate) == 24
        assert (exposed <= candidate).all()
        assert exposed.sum() == 6
        assert (label[exposed == 0] == 0).all()
        assert ((stage > 0) == (candidate == 1)).all()
        assert ((stage == 3) == (exposed == 1)).all()
        clicks += int(label.sum())
    assert clicks > 50


def test_padding_holds_the_markers_of_missing_values(log: Path) -> None:
    padded = 0
    for record in records(log, "request"):
        for place in np.flatnonzero(np.array(record["candidate"]) == 0):
            padded += 1
            assert record["item_id"][place] == b"" == record["item_category"][place]
            assert record["item_clicks_so_far"][place] == -1 == record["item_impressions_so_far"][place]
            assert np.isnan(record["item_price"][place])
            assert np.isnan(record["item_age_hours"][place])
            assert record["true_click_probability"][place] == 0 == record["position"][place]
        real = [item for item in record["item_id"] if item]
        assert len(set(real)) == len(real) == sum(record["candidate"])
    assert padded > 0


def test_rows_are_exactly_the_exposed_candidates_of_the_requests(log: Path) -> None:
    columns = feature_set(WORLD).columns_of("row")
    expected = []
    for request in records(log, "request"):
        for place in np.flatnonzero(request["exposed"]):
            row = {}
            for column in columns:
                own = column.entity == "item"
                row[column.name] = [request[column.name][place]] if own else request[column.name]
            expected.append(row)
    assert records(log, "row") == expected


def test_histories_hold_the_clicks_of_earlier_blocks_and_nothing_else(log: Path) -> None:
    """History = history at the user's first request, then the user's clicks in all blocks since."""
    first: dict[bytes, list[bytes]] = {}
    clicked: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
    longest = 0
    for block, record in zip(blocks_of_requests(), records(log, "request"), strict=True):
        user, history = record["user_id"][0], record["history_item_id"]
        earlier = [item for when, item in clicked[user] if when < block]
        first.setdefault(user, history[: len(history) - len(earlier)] if len(history) < 5 else history)
        expected = (first[user] + earlier)[-5:]
        assert history == expected
        longest = max(longest, len(earlier))
        shown = [place for place in range(24) if record["label"][place] == 1]
        for place in sorted(shown, key=lambda place: record["position"][place]):
            clicked[user].append((block, record["item_id"][place]))
    assert longest > 5


def blocks_of_requests() -> list[int]:
    """Number of each request's block: blocks of 32, and a new one where a split begins."""
    starts = [*range(0, 320, 32), 320, 352, 360, 392]
    return [sum(start <= number for start in starts) for number in range(REQUESTS)]


def test_without_a_past_histories_hold_only_items_clicked_before(tmp_path: Path) -> None:
    simulate(tmp_path / "log", WORLD.model_copy(update={"past_clicks": 0.0}), 200, 3)
    clicked: dict[bytes, set[bytes]] = defaultdict(set)
    held = 0
    for record in records(tmp_path / "log", "request"):
        history = record["history_item_id"]
        assert set(history) <= clicked[record["user_id"][0]]
        held += len(history)
        chosen = {item for item, label in zip(record["item_id"], record["label"], strict=True) if label == 1}
        clicked[record["user_id"][0]] |= chosen
    assert held > 50


def test_counters_count_what_earlier_blocks_showed(log: Path) -> None:
    impressions: dict[bytes, list[int]] = defaultdict(list)
    clicks: dict[bytes, list[int]] = defaultdict(list)
    for block, record in zip(blocks_of_requests(), records(log, "request"), strict=True):
        for place in np.flatnonzero(record["candidate"]):
            item = record["item_id"][place]
            assert record["item_impressions_so_far"][place] == sum(when < block for when in impressions[item])
            assert record["item_clicks_so_far"][place] == sum(when < block for when in clicks[item])
        for place in np.flatnonzero(record["exposed"]):
            impressions[record["item_id"][place]].append(block)
            if record["label"][place] == 1:
                clicks[record["item_id"][place]].append(block)


def test_labels_follow_the_true_click_probability(log: Path) -> None:
    rows = records(log, "row")
    probability = np.array([row["true_click_probability"][0] for row in rows])
    label = np.array([row["label"][0] for row in rows])
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 1.0)):
        inside = (probability >= low) & (probability < high)
        error = np.sqrt((probability[inside] * (1 - probability[inside])).sum()) / inside.sum()
        assert abs(label[inside].mean() - probability[inside].mean()) < 4 * error


def pairs_in_order(scores: np.ndarray, labels: np.ndarray) -> float:
    positive, negative = scores[labels == 1][:, None], scores[labels == 0][None, :]
    return float((positive > negative).mean() + 0.5 * (positive == negative).mean())


def test_notes_state_click_rate_and_auc_of_oracle_and_logging_policy(log: Path) -> None:
    notes = load_dataset(log).notes["row"]
    assert list(notes) == sorted(SPLITS)
    for split in SPLITS:
        rows = records(log, "row", (split,))
        label, probability, score = (
            np.array([row[name][0] for row in rows]) for name in ("label", "true_click_probability", "logging_score")
        )
        assert notes[split]["click_rate"] == pytest.approx(label.mean())
        assert notes[split]["oracle_auc"] == pytest.approx(pairs_in_order(probability, label))
        assert notes[split]["logging_policy_auc"] == pytest.approx(pairs_in_order(score, label))


def test_in_the_default_world_the_oracle_is_clearly_above_the_logging_policy(tmp_path: Path) -> None:
    notes = simulate(tmp_path / "log", World(), 3000, 1).notes["row"]["train"]
    assert 0.74 < notes["oracle_auc"] < 0.84
    assert 0.60 < notes["logging_policy_auc"] < 0.70
    assert 0.03 < notes["click_rate"] < 0.12


def test_origin_states_seed_requests_and_world_and_no_clock(log: Path) -> None:
    origin = json.loads((log / "dataset.json").read_text())["origin"]
    stated = {"source": "simulator", "simulator_version": 2, "seed": SEED, "requests": REQUESTS}
    assert origin == {**stated, "world": WORLD.model_dump()}


def test_progress_is_told_after_each_block(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    simulate(tmp_path / "log", WORLD, 100, 1, lambda done, total: told.append((done, total)))
    assert told == [(32, 100), (64, 100), (80, 100), (90, 100), (100, 100)]


def test_no_truth_is_a_model_input() -> None:
    features = feature_set(WORLD)
    for kind in ("row", "request"):
        inputs = {entry.name for entry in features.model_inputs(kind)}
        assert not inputs & {*TRUTHS, "label", "exposed", "candidate"}
    assert not {column.name for column in features.raw_inputs()} & {*TRUTHS, "label", "exposed", "candidate"}


@pytest.mark.parametrize("truth", TRUTHS)
def test_a_feature_on_a_truth_is_refused(truth: str) -> None:
    values = feature_set(WORLD).model_dump()
    values["features"] += (Feature(name="leak", encoding="identity", column=truth).model_dump(),)
    with pytest.raises(ValidationError, match=f"reads column '{truth}'.*must not be a model input"):
        type(feature_set(WORLD)).model_validate(values)


@pytest.mark.parametrize(("requests", "seed", "where"), [(0, 1, "requests"), (-3, 1, "requests"), (5, -1, "seed")])
def test_impossible_sizes_and_seeds_are_refused_before_anything_is_written(
    tmp_path: Path, requests: int, seed: int, where: str
) -> None:
    with pytest.raises(InputError) as refused:
        simulate(tmp_path / "log", WORLD, requests, seed)
    assert refused.value.where == where
    assert list(tmp_path.iterdir()) == []


def test_a_log_of_one_request_is_all_training_data(tmp_path: Path) -> None:
    dataset: Dataset = simulate(tmp_path / "log", WORLD, 1, 1)
    assert {kind: list(splits) for kind, splits in dataset.records.items()} == {"row": ["train"], "request": ["train"]}


def test_fewer_items_than_places_leave_padding(tmp_path: Path) -> None:
    simulate(tmp_path / "log", WORLD.model_copy(update={"items": 4, "born_share": 0.0}), 40, 1)
    for record in records(tmp_path / "log", "request"):
        assert 1 <= sum(record["candidate"]) == sum(record["exposed"]) <= 4
