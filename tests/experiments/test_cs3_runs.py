"""A tiny grid of CS3 from one end to the other, and how it goes on after a kill."""

import json

import numpy as np
import pytest
import tensorflow as tf

from experiments.cs3.building import OF_RANKER, TOWERS, build
from experiments.cs3.grid import CS3Grid, read_results
from experiments.cs3.methods import MODES, method_of
from experiments.cs3.page import render
from experiments.cs3.runner import run_grid
from experiments.cs3.simulated import simulated_data
from experiments.cs3.stream import load_data
from experiments.cs3.training import passes
from simulation.parameters import World
from tests.helpers.tiny_grids import WORLD, killed_and_taken_up
from tests.helpers.tower_pairs import moved
from transforms.errors import InputError

GRID = CS3Grid.model_validate(
    {
        "name": "tiny", "world": WORLD, "requests": 120, "seeds": 1, "batch_size": 32, "embedding_dim": 4,
        "hidden_units": [8, 4], "learning_rates": [0.01, 0.003], "noise": [1.0], "main": ["full"],
    }
)  # fmt: skip
DATA = simulated_data(World.model_validate(WORLD), 120, 1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that was killed after two cells, and taken up again."""
    return killed_and_taken_up(run_grid, GRID, tmp_path_factory.mktemp("cs3") / "out", 2)


def test_a_killed_run_goes_on_and_keeps_what_was_done(finished):
    out, before, results = finished
    assert len(before) == 2 and len(results["cells"]) > 3
    assert all((out / "cells" / name).read_text() == text for name, text in before.items())
    assert read_results(out) == json.loads(json.dumps(results))
    assert "cs3.md" in render(results)


def test_the_rate_with_the_least_eval_log_loss_of_frozen_towers_is_taken_and_is_no_end(finished):
    _, _, results = finished
    tried = {cell["learning_rate"]: cell["eval"]["frozen"]["logloss"] for cell in results["cells"] if cell["tried"]}
    assert all("test" not in cell and set(cell["eval"]) == {"frozen"} for cell in results["cells"] if cell["tried"])
    best = min(tried, key=lambda rate: tried[rate])
    assert {cell["learning_rate"] for cell in results["cells"] if not cell["tried"]} == {best}
    assert min(tried) < best < max(tried) or best in (1e-5, 0.1)


def test_a_cell_tells_of_all_modes_of_the_course_and_of_the_data(finished):
    out, _, results = finished
    cell = results["cells"][-1]
    data, sha256 = load_data(out / "work" / "data" / "default-1")
    assert cell["data_sha256"] == sha256 and cell["rows"] == {"train": 288, "eval": 36, "test": 36}
    assert set(cell["test"]) == {"frozen", "prequential", "online", "noise"} and set(cell["test"]["noise"]) == {"1"}
    assert len(cell["course"]["towers"]) == 20 and set(cell["cached_ids"]) == {
        "cross_user", "cross_item", "cascade_user", "cascade_item",
    }  # fmt: skip
    # The stream went on through eval and test: no cache holds more ids than the whole stream has.
    users = np.unique(np.concatenate([stream.features["user_id"] for stream in data.splits.values()]))
    assert cell["cached_ids"]["cascade_user"] == len(users)


def test_the_folder_of_another_grid_is_refused(finished):
    out, _, _ = finished
    with pytest.raises(InputError, match="requests"):
        run_grid(GRID.model_copy(update={"requests": 130}), out, workers=0)


def test_a_grid_without_cells_is_refused(tmp_path):
    with pytest.raises(InputError, match="no cell"):
        run_grid(GRID.model_copy(update={"main": ()}), tmp_path / "out")


def group(name, rate=0.01):
    return build("dssm", method_of(name), DATA, GRID, 1, rate)


def batch(size=16):
    return next(iter(DATA.splits["train"].batches(size)))


def filled(name):
    """A model whose caches hold the first batch, and whose weights are anywhere."""
    model = moved(group(name), batch()[0])
    model.revealed(batch())
    return model


def stores(model):
    return {name: store.vectors.numpy() for name, store in model.caches.stores.items()}


def test_the_parts_of_a_method_are_built_and_the_ranker_is_the_same_for_all():
    assert not group("base").caches.stores
    assert {name.partition("_")[0] for name in group("cts").caches.stores} == {"cross"}
    full = group("full_decay_0.5")
    assert len(full.caches.stores) == 4 and {store.decay for store in full.caches.stores.values()} == {0.5}
    assert full.towers.options.cycle_adaptive == ("user", "item") and group("leaky").options.leaky
    scored = [group(name)(batch()[0])[OF_RANKER].numpy() for name in ("base", "full")]
    assert np.allclose(*scored)
    share = DATA.splits["train"].label.mean()
    assert np.allclose(scored[0], np.log(share / (1 - share)), atol=1e-3)


def test_a_step_gives_what_was_scored_before_it_and_the_leaky_one_what_its_own_labels_changed():
    for name, is_same in (("full", True), ("leaky", False)):
        model = filled(name)
        before = model(batch()[0])[TOWERS].numpy()
        assert np.allclose(model.train_step(batch())[TOWERS].numpy(), before, atol=1e-5) == is_same, name
        assert not np.allclose(model(batch()[0])[TOWERS].numpy(), before, atol=1e-5)


def test_revealing_labels_moves_the_caches_and_no_weight_and_comes_after_the_scores():
    model = filled("full")
    weights, caches = [weight.numpy() for weight in model.trainable_weights], stores(model)
    expected = model(batch()[0])[TOWERS].numpy()
    assert np.allclose(model.revealed(batch())[TOWERS].numpy(), expected, atol=1e-5)
    assert all(
        np.array_equal(weight.numpy(), old) for weight, old in zip(model.trainable_weights, weights, strict=True)
    )
    assert all(not np.array_equal(vectors, caches[name]) for name, vectors in stores(model).items())


def test_all_ways_of_scoring_begin_where_training_ended_and_every_event_is_written_once():
    model = group("full", 0.1)
    seen = passes(model, DATA, GRID.model_copy(update={"noise": ()}))
    first = [seen[mode, "eval"][TOWERS][: GRID.batch_size] for mode in MODES]
    assert np.allclose(first[0], first[1], atol=1e-5) and np.allclose(first[0], first[2], atol=1e-5)
    last = [seen[mode, "test"][TOWERS] for mode in MODES]
    assert all(not np.allclose(last[one], last[other], atol=1e-4) for one, other in ((0, 1), (0, 2), (1, 2)))
    counts = {name: int(store.counts.numpy().sum()) for name, store in model.caches.stores.items()}
    rows = sum(len(stream) for stream in DATA.splits.values())
    clicks = sum(int(stream.label.sum()) for stream in DATA.splits.values())
    assert counts == {"cross_user": clicks, "cross_item": clicks, "cascade_user": rows, "cascade_item": rows}
    # What learned from a batch scored it first: the first batch of all is scored with the weights of the start.
    assert np.allclose(
        seen["online", "train"][TOWERS][: GRID.batch_size], group("full")(batch(32)[0])[TOWERS], atol=1e-6
    )


def test_noise_moves_the_logits_by_its_strength_and_none_leaves_them():
    model = filled("full")
    features, _ = batch()
    clean = model(features)[TOWERS].numpy()

    def change(noise):
        return float(
            np.abs(model.under_noise(features, tf.constant(noise), tf.constant([1, 2])).numpy() - clean).mean()
        )

    assert change(0.0) < 1e-5 and 1e-3 < change(0.1) < change(1.0)


@pytest.mark.e2e
def test_records_are_read_into_the_stream_that_the_simulator_gives_itself(tmp_path):
    from simulation.cascade_log import simulate

    simulate(tmp_path / "data", World.model_validate(WORLD), 120, 1)
    changes = {"source": "simulator", "world": None, "requests": None, "rows": 250, "learning_rates": (0.01,)}
    grid = CS3Grid.model_validate({**GRID.model_dump(), **changes, "main": ("base",)})
    with pytest.raises(InputError, match="simulator"):
        run_grid(GRID, tmp_path / "out", tmp_path / "data", workers=0)
    results = run_grid(grid, tmp_path / "out", tmp_path / "data", workers=0)
    assert "| `source` | simulator |" in render(results)["cs3.md"]
    found, sha256 = load_data(tmp_path / "out" / "work" / "data" / "dataset")
    assert [len(stream) for stream in found.splits.values()] == [200, 25, 25]
    assert [cell["data_sha256"] for cell in results["cells"]] == [sha256]
    assert found.inputs == DATA.inputs and found.in_vocabulary_ids["item_id"] == found.table_sizes["item_id"] - 1
    for split, stream in found.splits.items():
        expected = DATA.splits[split]
        size = len(stream)
        assert np.array_equal(stream.label, expected.label[:size])
        assert np.array_equal(stream.timestamp, expected.timestamp[:size])
        assert expected.truth is not None and stream.truth is not None
        assert np.allclose(stream.truth, expected.truth[:size], atol=1e-6)
        assert np.array_equal(stream.lists["history_item_id"].length, expected.lists["history_item_id"].length[:size])
        assert np.array_equal(stream.features["hour_of_day"], expected.features["hour_of_day"][:size])
        # Rows beyond the limit are part of the simulator's own mean and deviation.
        assert np.corrcoef(stream.features["item_price"], expected.features["item_price"][:size])[0, 1] > 0.999
        one, two = (np.flatnonzero(np.diff(own)) for own in (stream.group, expected.group[:size]))
        assert np.array_equal(one, two)
