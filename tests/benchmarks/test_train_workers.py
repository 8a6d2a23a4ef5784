"""The conversation with a worker: orders, answers, and every way in which it may end early."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers.task import Task
from benchmarks.train_process import Worker, peer_path
from transforms.errors import ConsortError

TASK = Task(ids=4, fields=2, batch_size=3)
SERVE = "\nfrom benchmarks.peers.worker import serve\nserve(prepare)\n"
GOOD = """
import time
print("a library talks while it is imported")
def prepare(task):
    def run(steps):
        print("and while it works")
        time.sleep(0.02 * steps)
        return steps + task.ids / 10
    return run, {"versions": {"toy": "1.0"}, "sizes": list(task.hidden_units)}
"""


@pytest.fixture
def start(tmp_path):
    """Starts workers from their source; ends them all."""
    workers = []
    with peer_path() as folder:

        def begin(source: str, task: Task = TASK) -> Worker:
            (folder / "toy_worker.py").write_text(source + SERVE)
            workers.append(Worker("toy", Path(sys.executable), "toy_worker", task, folder))
            return workers[-1]

        yield begin
        for worker in workers:
            worker.close()


def test_a_worker_takes_the_steps_that_it_is_told_and_says_how_long_they_took(start):
    worker = start(GOOD)
    worker.wait_until_ready()
    assert worker.about["versions"] == {"toy": "1.0"} and worker.about["sizes"] == [400, 200, 100]
    # 3 steps to warm up.
    assert 0.06 <= worker.about["warm_up_s"] < 60
    answers = [worker.run(1), worker.run(10)]
    assert [answer["loss"] for answer in answers] == [1.4, 10.4]
    assert 0.2 <= answers[1]["seconds"] < 60 and answers[0]["seconds"] < answers[1]["seconds"]
    # It slept.
    assert answers[1]["cpu_seconds"] < 0.1


def test_a_worker_sees_its_number_of_threads_and_no_accelerator(start):
    source = "import os\ndef prepare(task):\n    return lambda n: 0.0, {name: os.environ[name] for name in NAMES}\n"
    worker = start('NAMES = ["OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"]\n' + source, replace(TASK, threads=5))
    worker.wait_until_ready()
    assert worker.about["OMP_NUM_THREADS"] == "5" and worker.about["CUDA_VISIBLE_DEVICES"] == "-1"


def test_a_worker_that_fails_to_start_is_told_with_its_own_words(start):
    worker = start("def prepare(task):\n    raise ValueError('no room for the table')\n")
    with pytest.raises(ConsortError, match="(?s)toy ended with code 1 during getting ready; it wrote:.*no room for"):
        worker.wait_until_ready()


def test_a_worker_that_dies_at_work_is_told_with_its_code(start):
    worker = start("import os\ndef prepare(task):\n    return lambda n: os._exit(7) if n == 9 else 0.0, {}\n")
    worker.wait_until_ready()
    assert worker.run(8)["loss"] == 0.0
    with pytest.raises(ConsortError, match="toy ended with code 7 during 9 steps; it wrote nothing on stderr"):
        worker.run(9)
    with pytest.raises(ConsortError, match="toy ended with code 7"):
        worker.run(1)


def test_a_worker_that_falls_silent_is_not_waited_for_without_end(start):
    worker = start("import time\ndef prepare(task):\n    return lambda n: time.sleep(600), {}\n")
    with pytest.raises(ConsortError, match="toy gave no answer within 0.5 s, getting ready"):
        worker.wait_until_ready(patience_s=0.5)


def test_a_loss_that_is_no_number_ends_the_worker(start):
    worker = start("def prepare(task):\n    return lambda n: float('nan'), {}\n")
    worker.wait_until_ready()
    with pytest.raises(ConsortError, match="the loss is nan; expected a finite number"):
        worker.run(1)


def test_a_closed_worker_is_gone(start):
    worker = start("import os\ndef prepare(task):\n    return lambda n: 0.0, {'pid': os.getpid()}\n")
    worker.wait_until_ready()
    os.kill(worker.about["pid"], 0)
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker.about["pid"], 0)


def test_a_worker_ends_with_the_one_who_gives_the_orders():
    with peer_path() as folder:
        (folder / "toy_worker.py").write_text(GOOD + SERVE)
        done = subprocess.run(
            [sys.executable, "-m", "toy_worker", "1"],
            input=TASK.to_json() + "\n",
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr


def test_the_peers_see_nothing_of_consort_but_their_workers():
    with peer_path() as folder:
        held = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert held == {"benchmarks/__init__.py"} | {
            f"benchmarks/peers/{name}.py"
            for name in (
                "__init__",
                "deepctr_worker",
                "environments",
                "fuxictr_end_to_end",
                "fuxictr_worker",
                "task",
                "worker",
            )
        }
        assert (folder / "benchmarks/__init__.py").read_text() == ""
    assert not folder.exists()
