"""A cell of CS3 on a dataset: how it is trained, and what is measured of it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from experiments.cs3.grid import CS3Grid
from experiments.cs3.methods import MODES, method_of, title, tuned_as
from experiments.cs3.page import render
from experiments.cs3.recording import RecordingCS3
from experiments.cs3.retrieval import catalogue_recalls
from experiments.cs3.training import TABLE, measured_cell, trained_cell
from experiments.product import copy_records
from experiments.runner import run_table
from models.ranking.target_attention_ranker import TargetAttentionRanker
from models.retrieval.dssm import DSSM
from simulation.cascade_log import simulate
from simulation.parameters import World
from tests.helpers.model_batches import ROW, SIZES
from tests.helpers.tiny_grids import FEW_FEATURES, WORLD
from tests.helpers.tower_pairs import events, moved
from transforms.input import serialized
from transforms.records import load_dataset, shard_paths

GRID = CS3Grid.model_validate(
    {
        "name": "tiny", "source": "simulator", "rows": 250, "seeds": 1, "batch_size": 32, "embedding_dim": 4,
        "hidden_units": [8, 4], "learning_rates": [0.01], "noise": [1.0], "shuffled": ["full_shuffled"],
        "overrides": [FEW_FEATURES],
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cs3") / "data"
    simulate(folder, World.model_validate(WORLD), 120, 1)
    return folder


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """Results of a grid with one cell, what it had measured of the frozen towers, and its models after all."""
    frozen: dict[str, Any] = {}
    models: list[Any] = []

    def run_cell(run):
        watched = trained_cell(run)
        frozen["tried"] = watched.tried()
        towers = watched.group.peer(0)
        before = towers.caches.contents()
        frozen["recalls"] = catalogue_recalls(watched.task, towers, watched.records, "test", 10)
        after = towers.caches.contents()
        frozen["same caches"] = all(
            np.array_equal(*pair) for name in before for pair in zip(before[name], after[name], strict=True)
        )
        models.append(watched)
        return measured_cell(run, watched)

    out = tmp_path_factory.mktemp("cs3") / "out"
    results = run_table(replace(TABLE, run_cell=run_cell), GRID, out, dataset, workers=0)
    return results, frozen, models[0]


def test_a_cell_has_all_modes_the_course_and_the_first_rows_of_the_dataset(finished):
    results, _, _ = finished
    (cell,) = results["cells"]
    assert cell["rows"] == {"train": 200, "eval": 25, "test": 25} and cell["cell"] == results["cells"][0]["cell"]
    assert set(cell["eval"]) == set(MODES) and set(cell["test"]) == {*MODES, "noise"}
    assert cell["test"]["noise"]["1"]["auc"] != cell["test"]["frozen"]["auc"]
    assert len(cell["course"]["towers"]) == 20 and set(cell["cached_ids"]) == {
        "cross_user", "cross_item", "cascade_user", "cascade_item",
    }  # fmt: skip
    assert "| `source` | simulator |" in render(results)["cs3.md"]


def test_a_cell_that_tries_a_rate_has_the_eval_log_loss_of_frozen_towers_alone(finished):
    results, frozen, _ = finished
    (cell,) = results["cells"]
    assert set(frozen["tried"]) == {"eval"} and set(frozen["tried"]["eval"]) == {"frozen"}
    assert frozen["tried"]["eval"]["frozen"]["logloss"] == pytest.approx(cell["monitored"])


def test_every_event_is_written_once_from_the_first_row_of_the_stream_to_the_last(finished):
    _, _, watched = finished
    counts = {name: int(store.counts.numpy().sum()) for name, store in watched.group.caches.stores.items()}
    # Ids that the train split lacks have no vectors of their own.
    known = [watched.rows[split].ids < np.array(list(watched._in_vocabulary().values())) for split in watched.rows]
    clicks = [rows.label[:, np.newaxis] * mask for rows, mask in zip(watched.rows.values(), known, strict=True)]
    user, item = np.concatenate(known).sum(axis=0).tolist()
    user_clicks, item_clicks = np.concatenate(clicks).sum(axis=0).tolist()
    assert counts == {
        "cross_user": user_clicks, "cross_item": item_clicks, "cascade_user": user, "cascade_item": item
    }  # fmt: skip
    assert watched.group.recorded.shape == (250, 2)


def test_all_ways_of_scoring_begin_where_training_ended_and_then_part(finished):
    results, _, _ = finished
    (cell,) = results["cells"]
    losses = [cell["test"][mode]["logloss"] for mode in MODES]
    assert len(set(losses)) == 3 and max(losses) - min(losses) < 0.05


def test_recalls_come_with_each_side_emptied_and_leave_the_caches_as_they_were(finished):
    _, frozen, _ = finished
    assert set(frozen["recalls"]) == {"recall", "recall_without_user_caches", "recall_without_item_caches"}
    assert all(0 <= value <= 1 for value in frozen["recalls"].values()) and frozen["same caches"]


def test_a_copy_has_the_first_records_of_each_split_and_the_train_rows_in_another_order(dataset, tmp_path):
    copy_records(dataset, tmp_path / "copy", "row", 100, order_seed=3)

    def records(folder, split):
        files = shard_paths(folder, load_dataset(folder), "row", split)
        return [record for batch in serialized(files, 64) for record in batch.numpy().tolist()]

    for split, count in (("train", 80), ("eval", 10), ("test", 10)):
        first, copied = records(dataset, split)[:count], records(tmp_path / "copy", split)
        assert sorted(copied) == sorted(first) and (copied == first) == (split != "train")
    copy_records(dataset, tmp_path / "requests", "request", 20)
    before, after = load_dataset(dataset).records["request"], load_dataset(tmp_path / "requests").records["request"]
    # Three of the candidates of each request were shown.
    counts = {split: (info.records, info.examples) for split, info in after.items()}
    assert counts == {"train": (16, 48), "eval": (2, 6), "test": (2, 6)}
    assert 0 < after["train"].positives < before["train"].positives


def test_a_shuffled_method_is_its_method_and_takes_its_rate():
    assert method_of("full_shuffled").shuffled and method_of("full_shuffled").cts and not method_of("full").shuffled
    assert tuned_as("base_shuffled") == "base" and title("base_shuffled") == "base, train rows shuffled"


def recording(rows=48, **options):
    """A model whose weights are anywhere."""
    towers = DSSM(ROW, SIZES, embedding_dim=3, hidden_units=(6, 4))
    ranker = TargetAttentionRanker(ROW, SIZES, embedding_dim=3, hidden_units=(5, 3), seed=2)
    model = RecordingCS3(towers, ranker, rows=rows, user_feature="user", item_feature="item", **options)
    model.compile(optimizer=keras.optimizers.SGD(0.1))
    return moved(model, events(16)[0])


def logits_of(model, features):
    return np.stack([value.numpy() for value in model(features, training=False).values()], axis=1)


def test_what_is_recorded_was_scored_before_the_step_that_learned_from_it():
    for leaky in (False, True):
        model, batch = recording(leaky=leaky), events(16)
        model.reveal(batch)
        before = logits_of(model, batch[0])
        model.train_step(batch)
        assert np.allclose(model.recorded, before, atol=1e-5) == (not leaky)
        assert not np.allclose(logits_of(model, batch[0]), before, atol=1e-5)
    model.train_step(events(8, 1))
    assert model.recorded.shape == (24, 2)
    model.reset_state()
    assert model.recorded.shape == (0, 2)


def test_revealing_labels_moves_the_caches_and_no_weight_and_comes_after_the_scores():
    model, batch = recording(), events(16)
    weights = [weight.numpy() for weight in model.trainable_weights]
    before = logits_of(model, batch[0])
    assert np.allclose(model.reveal(batch), before, atol=1e-5)
    assert all(np.array_equal(weight, old) for weight, old in zip(model.trainable_weights, weights, strict=True))
    assert all(store.vectors.numpy().any() for store in model.caches.stores.values())
    assert not np.allclose(model.reveal(batch), before, atol=1e-5)


def test_noise_moves_the_logits_by_its_strength_and_none_leaves_them():
    model, (features, _) = recording(), events(16)
    clean = logits_of(model, features)[:, 0]

    def change(noise):
        return float(np.abs(model.under_noise(features, tf.constant(noise), tf.constant([1, 2])) - clean).mean())

    assert change(0.0) < 1e-5 and 1e-3 < change(0.1) < change(1.0)


def test_a_run_file_has_the_parts_of_its_method_and_the_settings_of_the_preset():
    config = GRID.cell_config("simulator", "dat", "full_decay_0.5", 3, 0.003)
    assert config.model.name == "dat" and config.seed == 30 and config.training.learning_rate == 0.003
    options = config.recipe.options
    assert (options["cts"], options["cms"], options["alpha"], options["beta"]) == (True, True, 0.5, 0.5)
    assert config.model.options == {"cycle_adaptive": ["user", "item"]} and config.training.batch_size == 32
    base = GRID.cell_config("movielens", "dssm", "base", 1, 0.001)
    assert base.source == "movielens" and not base.recipe.options["cts"] and base.model.options == {}
    assert GRID.cell_config("simulator", "dssm", "leaky", 1, 0.001).recipe.options["leaky"]
