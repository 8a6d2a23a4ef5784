"""Child processes: what ends them, and what is said of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runs.children import Children, import_environment, module_command, peak_gb
from tests.helpers.source_tree import ROOT
from transforms.errors import ConsortError


@pytest.fixture
def run(tmp_path):
    """Runs a Python program as a child; gives what went wrong."""
    children = Children()
    return lambda program, **limits: children.run([sys.executable, "-c", program], tmp_path / "log.txt", {}, **limits)


def gone(pid, patience_s=10.0):
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return True
        if "State:\tZ" in status:
            return True
        time.sleep(0.02)
    return False


def test_a_good_end_has_no_reason_and_its_output_is_kept(run, tmp_path):
    assert run("print('well'); import sys; print('and good', file=sys.stderr)") is None
    assert (tmp_path / "log.txt").read_text() == "well\nand good\n"


def test_an_error_is_told_by_the_last_line_of_the_log(run):
    assert run("raise ValueError('no such thing')") == "ended with code 1: ValueError: no such thing"


def test_a_crash_is_told_by_its_signal(run):
    assert str(run("import os; os.abort()")).startswith("ended by signal SIGABRT")
    assert "as the system does when memory is short" in str(run("import os; os.kill(os.getpid(), 9)"))


def test_a_child_that_takes_too_much_memory_is_ended(run):
    started = time.monotonic()
    # Of 0.4 GB, all touched.
    reason = run("x = bytearray(400_000_000); import time; time.sleep(60)", memory_gb=0.2)
    assert "tuning.memory_gb allows 0.2" in str(reason) and time.monotonic() - started < 30
    assert run("x = bytearray(400_000_000); del x", memory_gb=2.0) is None


def test_a_child_that_takes_too_long_is_ended(run):
    assert "tuning.timeout_s allows no more" in str(run("import time; time.sleep(60)", timeout_s=0.5))


def test_peak_memory_counts_what_was_given_back():
    code = "x = bytearray(300_000_000); del x; print(flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert 0.3 < (peak_gb(process.pid) or 0.0) < 0.4
        process.kill()
    assert peak_gb(process.pid) is None


def test_closing_ends_what_runs_and_starts_no_more(tmp_path):
    children, raised = Children(), []

    def work():
        with pytest.raises(ConsortError, match="was stopped") as error:
            children.run([sys.executable, "-c", "print(flush=True)\nimport time; time.sleep(60)"], tmp_path / "log", {})
        raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not (tmp_path / "log").exists() or not (tmp_path / "log").read_bytes():
        time.sleep(0.01)
    children.close()
    thread.join(10)
    assert len(raised) == 1
    with pytest.raises(ConsortError, match="was stopped"):
        children.run([sys.executable, "-c", "pass"], tmp_path / "log", {})


PARENT = f"""
import subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
from runs.children import module_command
# As `run` starts them: in a session of their own, by this process.
child = "import sys, time; from runs.children import die_with; die_with(int(sys.argv[1])); "
child += "print(flush=True); time.sleep(60)"
command = [sys.executable, "-c", child, module_command("any")[-1]]
process = subprocess.Popen(command, start_new_session=True, cwd={str(ROOT)!r}, stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(60)
"""


def test_a_child_ends_with_its_parent_even_if_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child, 0.1)
        parent.send_signal(signal.SIGKILL)
    assert gone(child)


def test_a_child_whose_parent_is_gone_already_ends_at_once():
    code = "from runs.children import die_with; die_with(1); print('lives on')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""


def test_a_child_finds_our_packages_and_not_what_lies_where_it_is_started(tmp_path):
    (tmp_path / "tfx_pipeline").mkdir()
    (tmp_path / "tfx_pipeline" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    command = module_command("runs.children")
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **import_environment()}, check=False)
    assert done.returncode == 0
