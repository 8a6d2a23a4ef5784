import shutil
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from consort import doctor
from consort.doctor import KEY_PACKAGES, Check
from consort.version_line import LINES

PINS = dict.fromkeys(KEY_PACKAGES, "2.1.0")


def _one(checks: list[Check], name: str) -> Check:
    found = [check for check in checks if check.name == name]
    assert len(found) == 1, f"{name}: {found}"
    return found[0]


def _locked(folder: Path, *lines: str) -> Path:
    lock = folder / "requirements.lock"
    lock.write_text("".join(f"{line} \\\n    --hash=sha256:{'0' * 64}\n" for line in lines))
    return lock


@pytest.fixture(scope="module")
def here() -> list[Check]:
    return doctor.diagnose()


def test_this_environment_has_no_failure(here: list[Check]) -> None:
    assert [check for check in here if check.status == "fail"] == []
    assert _one(here, "one keras").status == "ok"
    assert _one(here, "version line").status == "ok"
    tensorflow = _one(here, "tensorflow").found.rpartition(".")[0]
    assert f"TensorFlow {tensorflow} (" in _one(here, "version line").found


def test_names_are_unique_and_everything_that_is_not_ok_has_a_fix(here: list[Check]) -> None:
    names = [check.name for check in here]
    assert sorted(names) == sorted(set(names))
    assert [check for check in here if check.status != "ok" and not check.fix] == []


OLD, NEW = (2, 36), (2, 39)


@pytest.mark.parametrize(
    ("version", "glibc", "status"),
    [
        ((3, 11, 2), OLD, "ok"),
        ((3, 10, 14), OLD, "fail"),
        ((3, 12, 0), OLD, "fail"),
        ((3, 11, 2), NEW, "ok"),
        ((3, 13, 5), NEW, "ok"),
        ((3, 14, 0), NEW, "fail"),
    ],
)
def test_pythons_depend_on_glibc(version: tuple[int, int, int], glibc: tuple[int, int], status: str) -> None:
    assert doctor.check_python(version, glibc).status == status


@pytest.mark.parametrize(
    ("tfx", "python", "glibc", "line", "status", "words"),
    [
        ("1.16.0", (3, 11, 7), OLD, "1.16", "ok", "1.21 needs glibc 2.39"),
        ("1.16.0", (3, 11, 7), NEW, "1.16", "ok", "this system could have 1.21"),
        ("1.21.0", (3, 13, 5), NEW, "1.21", "ok", "the newest"),
        ("1.16.0", (3, 12, 7), NEW, "1.16", "fail", "cannot have"),
        ("1.21.0", (3, 11, 7), OLD, "1.21", "fail", "cannot have"),
        (None, (3, 12, 7), NEW, "1.21", "fail", "no TFX; 1.21 is the line for this system"),
        ("1.17.0", (3, 11, 7), OLD, "1.16", "fail", "TFX 1.17.0; 1.16 is the line for this system"),
    ],
)
def test_the_line_is_named_with_the_reason(
    tfx: str | None, python: tuple[int, int, int], glibc: tuple[int, int], line: str, status: str, words: str
) -> None:
    result, check = doctor.check_line(tfx, python, glibc)
    assert (result.name, check.status) == (line, status) and words in check.found


def test_ranges_of_the_project_and_of_the_line_both_count() -> None:
    older, newer = (doctor.declared_ranges(line)["numpy"].specifier for line in reversed(LINES))
    assert older.contains("1.26.4") and not older.contains("1.25.0") and not older.contains("2.0.0")
    assert newer.contains("2.4.6") and not newer.contains("1.26.4") and not newer.contains("3.0.0")


@pytest.mark.parametrize(
    ("system", "machine", "glibc", "status"),
    [
        ("Linux", "x86_64", (2, 36), "ok"),
        ("Linux", "x86_64", (2, 28), "ok"),
        ("Linux", "x86_64", (2, 27), "fail"),
        ("Linux", "x86_64", None, "fail"),
        ("Linux", "aarch64", (2, 36), "fail"),
        ("Darwin", "x86_64", None, "fail"),
    ],
)
def test_wheels_need_linux_on_x86_64_with_glibc(
    system: str, machine: str, glibc: tuple[int, int] | None, status: str
) -> None:
    assert doctor.check_platform(system, machine, glibc).status == status


def test_a_key_package_that_is_missing_fails() -> None:
    installed = {name: version for name, version in PINS.items() if name != "tfx"}
    check = _one(doctor.check_packages(PINS, {}, installed), "tfx")
    assert (check.status, check.found) == ("fail", "missing; 2.1.0 is locked")
    assert "make setup" in check.fix


def test_a_key_package_outside_its_range_fails_and_within_it_only_warns() -> None:
    ranges = {"numpy": Requirement("numpy>=2.1,<2.2")}
    outside = _one(doctor.check_packages(PINS, ranges, PINS | {"numpy": "2.2.0"}), "numpy")
    within = _one(doctor.check_packages(PINS, ranges, PINS | {"numpy": "2.1.9"}), "numpy")
    same = _one(doctor.check_packages(PINS, ranges, PINS), "numpy")
    assert (outside.status, within.status, same.status) == ("fail", "warn", "ok")
    assert "<2.2" in outside.found
    assert "2.1.0" in within.found


def test_other_packages_are_counted_and_the_first_five_that_differ_are_named() -> None:
    others = {f"part{number}": "1.0" for number in range(8)}
    whole = _one(doctor.check_packages(PINS | others, {}, PINS | others), "other packages")
    broken = _one(doctor.check_packages(PINS | others, {}, PINS | {"part0": "2.0"}), "other packages")
    assert (whole.status, whole.found) == ("ok", "8 as locked")
    assert broken.status == "warn"
    assert "part0 2.0 (locked 1.0), part1 missing (locked 1.0)" in broken.found
    assert broken.found.endswith("and 3 more")


def test_a_lock_is_read_with_its_markers(tmp_path: Path) -> None:
    lock = _locked(
        tmp_path,
        "Absl_Py==1.4.0 ; sys_platform == 'linux'",
        "colorama==0.4.6 ; sys_platform == 'win32'",
        "pytz==2024.1",
    )
    assert doctor.locked_versions(lock) == {"absl-py": "1.4.0", "pytz": "2024.1"}


def test_without_a_lock_there_are_no_pins_and_ranges_decide(tmp_path: Path) -> None:
    assert doctor.locked_versions(tmp_path / "requirements.lock") == {}
    ranges = {"numpy": Requirement("numpy<2")}
    checks = doctor.check_packages({}, ranges, PINS)
    assert _one(checks, "numpy").status == "fail"
    assert _one(checks, "grpcio").status == "ok"
    assert [check for check in checks if check.name == "other packages"] == []


def test_a_gpu_is_named_and_its_absence_is_only_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"tensorflow": "2.16.2", "one_keras": True, "keras": "2.16.0", "gpus": []}
    monkeypatch.setattr(shutil, "which", lambda name: None)
    none = _one(doctor.check_tensorflow(facts, ""), "gpu")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    unseen = _one(doctor.check_tensorflow(facts, ""), "gpu")
    seen = _one(doctor.check_tensorflow(facts | {"gpus": ["/physical_device:GPU:0"]}, ""), "gpu")
    assert (none.status, none.found) == ("warn", "none: training runs on CPU")
    assert unseen.status == "warn"
    assert "gpu` extra" in unseen.fix
    assert (seen.status, seen.found) == ("ok", "/physical_device:GPU:0")


def test_a_second_keras_fails() -> None:
    facts = {"tensorflow": "2.16.2", "one_keras": False, "keras": "2.16.0", "gpus": []}
    assert _one(doctor.check_tensorflow(facts, ""), "one keras").status == "fail"
    assert (
        _one(doctor.check_tensorflow(facts | {"one_keras": True, "keras": "3.1.0"}, ""), "one keras").status == "fail"
    )


@pytest.mark.parametrize(
    ("script", "trouble"),
    [
        ("kill -ILL $$", "died of SIGILL; this processor lacks AVX"),
        ("echo ImportError: no module >&2; exit 1", "ImportError: no module"),
        ("exit 1", "no message"),
    ],
)
def test_a_tensorflow_that_dies_is_told_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, trouble: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    check = _one(doctor.check_tensorflow(*doctor._run_probe()), "tensorflow import")
    assert (check.status, check.found) == ("fail", trouble)


def test_optional_parts_never_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    checks = doctor.check_optional()
    assert {"boto3", "faiss", "scann", "tensorflow_model_server", "uv"} == {check.name for check in checks}
    assert _one(checks, "uv").status == "warn" and "make lock" in _one(checks, "uv").found
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert _one(doctor.check_optional(), "uv") == Check("uv", "ok", "/usr/bin/uv")


def test_little_room_is_a_warning_with_the_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**12, 0, 64 * 10**6))
    checks = doctor.check_resources(tmp_path)
    assert (_one(checks, "disk space").status, _one(checks, "disk space").found) == ("warn", "0.1 GB free")
    assert "--shm-size" in _one(checks, "/dev/shm").fix


def test_free_memory_is_what_the_kernel_calls_available(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000000 kB\nMemFree: 1 kB\nMemAvailable:    2000000 kB\n")
    assert doctor._available_memory_gb(meminfo) == pytest.approx(2.048)
    assert doctor._available_memory_gb(tmp_path / "absent") is None
