"""The Makefile's promises that need no download: clear words, and no stamp where an install was cut short."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.source_tree import ROOT

PYTHON = """#!/bin/sh
# Plays a Python that can have the line $PLAYED: `-m venv` copies itself into place, pip does what $PIP says.
case "$1 $2" in
  "-I consort/version_line.py") echo "$PLAYED";;
  "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo "venv $3" >> "$CALLS";;
  "-m pip") echo "$*" >> "$CALLS"; $PIP;;
  "-m pytest") echo "$*" >> "$CALLS";;
esac
"""

_TOOLS = ("sh", "rm", "mkdir", "touch", "cp", "sed", "find", "true")
_TOOLS_OF_A_ROOT = ("make", "bash", "env", "dirname", "head", "grep", "uname", "unshare", "chroot", "echo")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-1.21.lock"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "test-line", tmp_path / ".ci" / "test-line")
    (tmp_path / "consort").mkdir()
    shutil.copy(ROOT / "consort" / "version_line.py", tmp_path / "consort" / "version_line.py")
    (tmp_path / "bin").mkdir()
    _link(tmp_path, _TOOLS)
    return tmp_path


def _link(checkout: Path, tools: tuple[str, ...]) -> None:
    for tool in tools:
        program = shutil.which(tool)
        assert program, f"{tool} is missing"
        (checkout / "bin" / tool).symlink_to(program)


def _program(checkout: Path, name: str, text: str) -> None:
    (checkout / "bin" / name).write_text(text)
    (checkout / "bin" / name).chmod(0o755)


def _make(
    checkout: Path, *arguments: str, pip: str = "true", line: str = "1.16 requirements.lock"
) -> subprocess.CompletedProcess[str]:
    make = shutil.which("make")
    assert make, "make is missing"
    environment = {
        "PATH": str(checkout / "bin"),
        "CALLS": str(checkout / "calls"),
        "PIP": pip,
        "PLAYED": line,
        "HOME": os.environ["HOME"],
    }
    return subprocess.run(
        [make, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_a_target_the_targets_are_listed(checkout: Path) -> None:
    done = _make(checkout)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [
        "help",
        "setup",
        "demo",
        "test",
        "test-line",
        "lint",
        "docs",
        "wheel",
        "lock",
        "clean",
    ]


def test_another_python_gives_one_sentence_and_touches_nothing(checkout: Path) -> None:
    _program(checkout, "python3", "#!/bin/sh\nexit 1\n")
    done = _make(checkout, "test")
    assert done.returncode != 0
    assert done.stderr.startswith(
        "Consort needs Python 3.11, or where glibc is 2.39 or newer Python 3.11 to 3.13, and none of python3 "
    )
    assert not (checkout / ".venv").exists()


def test_setup_installs_the_lock_with_hashes_then_the_project_and_only_once(checkout: Path) -> None:
    _program(checkout, "python3", PYTHON)
    assert _make(checkout, "setup").returncode == 0
    venv, lock, project = (checkout / "calls").read_text().splitlines()
    assert venv == "venv .venv"
    assert "--require-hashes --requirement requirements.lock" in lock
    assert "--no-deps" in lock
    assert project.endswith("--no-deps --no-build-isolation --editable .")
    assert (checkout / ".venv" / ".installed").exists()
    assert _make(checkout, "setup").returncode == 0
    assert len((checkout / "calls").read_text().splitlines()) == 3


def test_a_system_of_today_gets_the_newer_lock_with_its_dependencies_resolved(checkout: Path) -> None:
    _program(checkout, "python3", PYTHON)
    assert _make(checkout, "setup", line="1.21 requirements-1.21.lock").returncode == 0
    _, lock, _ = (checkout / "calls").read_text().splitlines()
    assert lock.endswith("--require-hashes --requirement requirements-1.21.lock")
    assert "--no-deps" not in lock and "--ignore-requires-python" not in lock


def test_an_install_that_broke_off_leaves_no_stamp_and_is_begun_anew(checkout: Path) -> None:
    _program(checkout, "python3.11", PYTHON)
    assert _make(checkout, "setup", pip="false").returncode != 0
    assert not (checkout / ".venv" / ".installed").exists()
    (checkout / ".venv" / "half-a-package").touch()
    assert _make(checkout, "setup").returncode == 0
    assert (checkout / ".venv" / ".installed").exists()
    assert not (checkout / ".venv" / "half-a-package").exists()


def test_a_changed_lock_is_installed_into_the_same_environment(checkout: Path) -> None:
    _program(checkout, "python3.11", PYTHON)
    _make(checkout, "setup")
    (checkout / ".venv" / "a-package").touch()
    later = (checkout / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(checkout / "requirements.lock", (later, later))
    assert _make(checkout, "setup").returncode == 0
    assert len((checkout / "calls").read_text().splitlines()) == 6
    assert (checkout / ".venv" / "a-package").exists()


def test_uv_is_used_where_it_is(checkout: Path) -> None:
    _program(checkout, "uv", '#!/bin/sh\necho "$*" >> "$CALLS"\n')
    assert _make(checkout, "setup", "VENV=elsewhere").returncode == 0
    create, lock, project = (checkout / "calls").read_text().splitlines()
    assert create.endswith("--python 3.11 elsewhere")
    assert "--require-hashes requirements.lock" in lock
    assert "--no-deps" in project
    assert (checkout / "elsewhere" / ".installed").exists()


def test_the_newest_line_is_tested_by_a_system_that_can_have_it(checkout: Path) -> None:
    _link(checkout, _TOOLS_OF_A_ROOT)
    _program(checkout, "python3", PYTHON)
    done = _make(checkout, "test-line", "ARGS=tests/models -x", "JOBS=0", line="1.21 requirements-1.21.lock")
    assert done.returncode == 0, done.stderr
    assert (checkout / ".venv" / ".installed").exists()
    tests = (checkout / "calls").read_text().splitlines()[-1]
    assert tests.startswith("-m pytest --numprocesses=0 ")
    assert tests.endswith(" tests/models -x")


@pytest.mark.parametrize(
    ("user", "words"),
    [("1000", "the rights of root: run it by sudo"), ("0", "debootstrap: install it, e.g. with apt-get install")],
)
def test_a_root_for_the_newest_line_says_what_it_needs(checkout: Path, user: str, words: str) -> None:
    _link(checkout, _TOOLS_OF_A_ROOT)
    _program(checkout, "python3", PYTHON)
    _program(checkout, "id", f"#!/bin/sh\necho {user}\n")
    done = _make(checkout, "test-line")
    assert done.returncode != 0
    assert words in done.stderr
    assert not (checkout / "calls").exists()


def test_lock_says_how_to_get_uv(checkout: Path) -> None:
    done = _make(checkout, "lock")
    assert done.returncode != 0
    assert "make lock needs uv" in done.stderr
