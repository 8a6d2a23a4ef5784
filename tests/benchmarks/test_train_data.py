"""The data that every library trains on, and what Consort makes of it."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.peers.task import Task, distinct_ids, field_sizes, make_batches

SMALL = Task(ids=10, fields=3, batch_size=4000, batches=5, hidden_units=(4,), width=2)


def test_a_task_survives_the_wire():
    task = replace(SMALL, model="dcn", dtype="bfloat16", as_shipped=True)
    assert Task.from_json(task.to_json()) == task


def test_all_ids_are_shared_out_evenly():
    assert field_sizes(SMALL) == [4, 3, 3]
    assert sum(field_sizes(Task(ids=1_000_000))) == 1_000_000 and len(field_sizes(Task())) == 39


def test_ids_stay_within_their_field_and_all_come():
    ids, labels = make_batches(SMALL)
    assert ids.shape == (5, 4000, 3) and labels.shape == (5, 4000)
    assert [sorted(np.unique(ids[..., field])) for field in range(3)] == [[0, 1, 2, 3], [0, 1, 2], [0, 1, 2]]
    assert distinct_ids(SMALL) == 10


def test_the_frequency_of_an_id_falls_with_the_power_of_its_rank():
    ids, labels = make_batches(replace(SMALL, exponent=1.0))
    shares = np.bincount(ids[..., 1].ravel()) / ids[..., 1].size
    # 1, 1/2, 1/3 over their sum 11/6; 20,000 rows.
    np.testing.assert_allclose(shares, [6 / 11, 3 / 11, 2 / 11], atol=0.015)
    assert labels.mean() == pytest.approx(0.25, abs=0.015)


def test_an_exponent_of_zero_makes_all_ids_alike():
    ids, _ = make_batches(replace(SMALL, exponent=0.0))
    np.testing.assert_allclose(np.bincount(ids[..., 1].ravel()) / ids[..., 1].size, [1 / 3] * 3, atol=0.015)


def test_a_seed_gives_the_same_rows_and_another_one_others():
    one, again, other = (make_batches(replace(SMALL, seed=seed))[0] for seed in (1, 1, 2))
    assert (one == again).all() and (one != other).any()


def test_consort_reads_the_fields_from_one_table_in_which_they_never_meet():
    from benchmarks.train_consort import make_dataset

    ids, labels = make_batches(SMALL)
    features, label = next(iter(make_dataset(SMALL)))
    first = {"field_00": 1, "field_01": 5, "field_02": 8}
    assert list(features) == list(first)
    for field, (name, start) in enumerate(first.items()):
        assert (features[name].numpy() == ids[0, :, field] + start).all()
    assert (label.numpy() == labels[0]).all()


@pytest.mark.parametrize("task", [SMALL, replace(SMALL, peers=3), replace(SMALL, dtype="bfloat16")])
def test_consort_trains_the_model_of_the_task(task):
    from benchmarks.train_consort import make_dataset, make_model, training

    task = replace(task, batch_size=50)
    model = make_model(task)
    assert len(getattr(model, "peers", [model])) == task.peers
    policy = model.peers[0].mlp.dtype_policy.name if task.peers > 1 else model.mlp.dtype_policy.name
    assert policy == {"float32": "float32", "bfloat16": "mixed_bfloat16"}[task.dtype]
    run, about = training(model, make_dataset(task))
    assert about["optimizer"] == "LazyAdam"
    run(2)
    assert int(model.optimizer.iterations) == 2 and np.isfinite(run(1))
