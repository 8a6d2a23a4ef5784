"""Tasks in worker processes."""

import importlib
import os
import sys

import pytest

from experiments.pool import TimeLeft, run_tasks
from transforms.errors import ConsortError

TASKS = {"late": ("late", 0.0), "first": ("first", 0.1), "second": ("second", 0.0), "third": ("third", 0.0)}
NEEDS = {"late": ["first", "third"], "third": ["second"]}


# In a file of its own: a worker process cannot import a test module by its name.
WORK = """
import os, time

def work(name, seconds):
    time.sleep(seconds)
    return name.upper(), os.getpid(), os.environ.get("OMP_NUM_THREADS"), time.time()

def die(name):
    if name == "bad":
        os._exit(9)
    return name

def fail(name):
    raise ValueError(f"{name} is wrong")
"""


@pytest.fixture
def pool_work(tmp_path, monkeypatch):
    (tmp_path / "pool_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("pool_work")
    del sys.modules["pool_work"]


@pytest.mark.parametrize(("workers", "tasks_per_worker"), [(0, 1), (1, 2), (2, 1)])
def test_every_task_runs_once_and_after_those_that_it_needs(pool_work, workers, tasks_per_worker):
    ended = []
    run_tasks(
        TASKS, NEEDS, pool_work.work, lambda name, result: ended.append((name, result)), workers, 1, tasks_per_worker
    )
    order = [name for name, _ in ended]
    assert sorted(order) == sorted(TASKS) and all(result[0] == name.upper() for name, result in ended)
    assert order.index("late") > max(order.index("first"), order.index("third"))
    assert order.index("third") > order.index("second")
    processes = [result[1] for _, result in ended]
    assert (os.getpid() in processes) == (workers == 0)
    pools = 1 if workers == 0 else -(-len(TASKS) // (workers * tasks_per_worker))
    assert pools <= len(set(processes)) <= pools * max(workers, 1)


def test_workers_have_their_threads_and_this_process_keeps_its_own(pool_work, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    ended = []
    run_tasks({"one": ("one", 0.0)}, {}, pool_work.work, lambda _, result: ended.append(result[2]), 1, 3)
    assert ended == ["3"] and os.environ["OMP_NUM_THREADS"] == "7"


def test_a_worker_that_is_killed_is_told_and_what_was_done_stays_done(pool_work):
    done = []
    with pytest.raises(ConsortError, match="a worker process ended"):
        run_tasks(
            {"good": ("good",), "bad": ("bad",), "after": ("after",)},
            {"bad": ["good"], "after": ["bad"]},
            pool_work.die,
            lambda name, _: done.append(name),
            2,
        )
    assert done == ["good"]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_task_comes_through(pool_work, workers):
    with pytest.raises(ValueError, match="one is wrong"):
        run_tasks({"one": ("one",), "two": ("two",)}, {}, pool_work.fail, lambda *_: None, workers)


def test_the_time_left_goes_by_the_pace_of_each_kind():
    clock = TimeLeft({"a1": ("a", 2.0), "a2": ("a", 4.0), "b1": ("b", 1.0)}, workers=2)
    assert clock.seconds is None
    clock.add("a1", 10.0)  # 5 seconds a unit: 4 units of a and, as nothing is known of b, 1 of b are left.
    assert clock.seconds == pytest.approx((20 + 5) / 2)
    clock.add("b1", 100.0)
    assert clock.seconds == pytest.approx(20 / 2)
