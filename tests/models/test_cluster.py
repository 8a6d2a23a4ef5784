import json
import re
import socket
import threading
import time
from typing import Any

import pytest

from models.training.cluster import Cluster, cluster_of, is_reachable, listening, lost_error, wait_for
from tests.helpers.source_tree import ROOT
from transforms.errors import ConsortError, InputError

_TWO = {"worker": ["a:1", "b:2"]}
_SERVERS = {"chief": ["a:1"], "worker": ["b:2", "c:3"], "ps": ["d:4"]}


def _environment(cluster: Any, job: Any = "worker", index: Any = 0) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})}


def test_the_chief_is_worker_0_or_who_is_called_so() -> None:
    assert cluster_of("multi_worker", _environment(_TWO)).is_chief
    assert not cluster_of("multi_worker", _environment(_TWO, index=1)).is_chief
    with_chief = {"chief": ["a:1"], "worker": ["b:2"]}
    assert cluster_of("multi_worker", _environment(with_chief, "chief")).is_chief
    assert not cluster_of("multi_worker", _environment(with_chief, "worker")).is_chief
    assert not cluster_of("parameter_server", _environment(_SERVERS, "ps")).is_chief


def test_a_process_knows_itself_and_the_others() -> None:
    cluster = cluster_of("parameter_server", _environment(_SERVERS, "worker", "1"))  # Some launchers quote it.
    assert (cluster.name, cluster.address) == ("worker 1", "c:3")
    assert cluster.addresses() == {"chief 0": "a:1", "worker 0": "b:2", "ps 0": "d:4"}
    assert cluster.addresses(("worker",)) == {"worker 0": "b:2"}


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("multi_worker", "", "multi_worker: received nothing; expected JSON such as .*docs/distributed.md"),
        ("multi_worker", "{", "received text that is not JSON"),
        ("multi_worker", "[]", 'received \\[\\]; expected an object with "cluster" and "task"'),
        ("multi_worker", _environment({})["TF_CONFIG"], "received no jobs; expected worker"),
        ("multi_worker", _environment(_SERVERS)["TF_CONFIG"], "received 1 chief, 2 worker, 1 ps; expected worker"),
        ("parameter_server", _environment(_TWO)["TF_CONFIG"], "received 2 worker; expected one chief, worker and ps"),
        ("parameter_server", _environment({**_SERVERS, "chief": ["e:5", "f:6"]})["TF_CONFIG"], "received 2 chief"),
        ("parameter_server", _environment({**_SERVERS, "evaluator": ["e:5"]})["TF_CONFIG"], "there is no evaluator"),
        ("multi_worker", _environment({"worker": "a:1"})["TF_CONFIG"], "cluster.worker: received 'a:1'; .*a list"),
        ("multi_worker", _environment({"worker": []})["TF_CONFIG"], "received \\[\\]; expected a list"),
        ("multi_worker", _environment({"worker": ["a"]})["TF_CONFIG"], "received 'a'; .*host and port"),
        ("multi_worker", _environment({"worker": ["a:0"]})["TF_CONFIG"], "received 'a:0'"),
        ("multi_worker", _environment({"worker": [7]})["TF_CONFIG"], "received 7"),
        ("multi_worker", _environment({"worker": ["a:1", "a:1"]})["TF_CONFIG"], "received a:1 twice"),
        ("multi_worker", _environment(_TWO, index=2)["TF_CONFIG"], "task: .*'index': 2.*worker 0 to 1"),
        ("multi_worker", _environment(_TWO, index=True)["TF_CONFIG"], "task: received"),
        ("multi_worker", _environment(_TWO, "ps")["TF_CONFIG"], "task: received .*'type': 'ps'"),
        ("multi_worker", json.dumps({"cluster": _TWO}), "task: received None"),
    ],
)
def test_a_wrong_tf_config_is_told(kind: Any, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cluster_of(kind, {"TF_CONFIG": text})


def _free() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_who_is_present_answers_however_often_it_is_asked_and_then_no_more() -> None:
    cluster = Cluster({"worker": (_free(), _free())}, "worker", 0)
    assert not is_reachable(cluster.address)
    with listening(cluster):
        assert all(is_reachable(cluster.address) for _ in range(300))
        assert Cluster(cluster.jobs, "worker", 1).unreachable() == {}
        assert cluster.unreachable() == {"worker 1": cluster.jobs["worker"][1]}
    assert not is_reachable(cluster.address)
    # The port is free for TensorFlow at once.
    socket.create_server(("", int(cluster.address.rpartition(":")[2]))).close()


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("", 0)) as taken:
        cluster = Cluster({"worker": (f"127.0.0.1:{taken.getsockname()[1]}",)}, "worker", 0)
        with pytest.raises(InputError, match="worker 0 at 127.0.0.1:.*in use.*an earlier run"), listening(cluster):
            pass


def test_processes_wait_for_each_other() -> None:
    jobs = {"worker": (_free(), _free())}
    said: list[str] = []

    def late() -> None:
        time.sleep(0.5)
        with listening(Cluster(jobs, "worker", 1)):
            wait_for(Cluster(jobs, "worker", 1), ("worker",))
            time.sleep(0.5)

    thread = threading.Thread(target=late)
    thread.start()
    with listening(Cluster(jobs, "worker", 0)):
        wait_for(Cluster(jobs, "worker", 0), ("worker",), said.append)
        thread.join()
    assert said == [f"waiting for worker 1 ({jobs['worker'][1]})"]


def test_a_process_that_does_not_start_is_named() -> None:
    cluster = Cluster({"worker": (_free(), _free())}, "worker", 0)
    with pytest.raises(ConsortError, match=r"worker 1 \(127.0.0.1:\d+\) did not start within 0 s.*same command"):
        wait_for(cluster, ("worker",), patience_s=0.4)


def test_a_lost_process_is_named_with_the_remedy() -> None:
    message = str(lost_error({"worker 1": "b:2"}))
    assert "lost worker 1 (b:2)" in message and "start the same command again" in message
    assert "continues from its last checkpoint" in message


def test_the_examples_of_the_page_are_clusters() -> None:
    text = (ROOT / "docs" / "distributed.md").read_text()
    examples = re.findall(r"^export TF_CONFIG='(.*)'$", text, re.MULTILINE)
    kinds: list[Any] = ["multi_worker", "multi_worker", "parameter_server"]
    clusters = [cluster_of(kind, {"TF_CONFIG": example}) for kind, example in zip(kinds, examples, strict=True)]
    assert [cluster.name for cluster in clusters] == ["worker 0", "worker 1", "ps 1"]
    assert clusters[0].jobs == clusters[1].jobs
