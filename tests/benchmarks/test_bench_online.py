"""`consort bench online`: a short stream with a server beside it, and what is made of its memory."""

import json
import subprocess
import sys

import pytest

from benchmarks.memory import Memory
from tests.helpers.command_line import consort


@pytest.mark.slow
def test_a_short_stream_is_answered_without_a_failure(tmp_path) -> None:
    file = tmp_path / "online.json"
    answer = consort("bench", "online", "--spans", 2, "--requests", 120, "--json", file)
    assert answer.code == 0, answer.err
    result = json.loads(file.read_text())
    assert result["failed"] == 0 and result["answers"] > 10 and 1 <= result["versions_answered"] <= 2
    assert result["memory_mb_late"] > 100 and result["p50_ms"] > 0


def test_memory_is_that_of_the_second_and_of_the_last_fifth() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        memory = Memory(process)
        process.wait()
    memory._megabytes = [1.0, 1.0, 5.0, 7.0, 9.0, 9.0, 9.0, 9.0, 20.0, 22.0]
    names = ("memory_mb_first", "memory_mb_early", "memory_mb_late", "memory_mb_most")
    assert memory.summary() == dict(zip(names, (1.0, 6.0, 21.0, 22.0), strict=True))
    memory._megabytes = [1.0]
    assert memory.summary() == dict.fromkeys(names)
