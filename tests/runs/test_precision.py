"""`training.precision: auto` by machine, model and batch."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from runs import precision
from runs.config import RunConfig, parse_config
from runs.precision import processor_flags, resolved_precision

_ROWS = 1_000_000


def _config(batch_size: int = 4096, record: str = "row", model: str = "deepfm", **training: Any) -> RunConfig:
    return parse_config(
        {"name": "p", "record": record, "model": {"name": model}, "training": {"batch_size": batch_size, **training}}
    )


@pytest.fixture(autouse=True)
def _with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "processor_flags", lambda: frozenset({"avx2", "avx512_bf16"}))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])


def test_auto_is_bfloat16_where_the_processor_multiplies_it() -> None:
    assert resolved_precision(_config(), _ROWS) == ("mixed_bfloat16", "as avx512_bf16 multiplies bfloat16")


def test_auto_is_float32_where_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "processor_flags", lambda: frozenset({"avx2", "avx512f"}))
    assert resolved_precision(_config(), _ROWS)[0] == "float32"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch_size": 512}, "batches of 512 rows are too small"),
        ({"record": "request", "model": "set_ranker"}, "not for set_ranker"),
        ({"model": "dssm"}, "not for dssm"),
        ({"distribution": "multi_worker"}, "spread over devices"),
    ],
)
def test_auto_is_float32_where_bfloat16_was_not_shown_to_gain(changes: dict[str, Any], reason: str) -> None:
    resolved, why = resolved_precision(_config(**changes), _ROWS)
    assert resolved == "float32" and reason in why


def test_a_precision_that_the_run_file_names_stays() -> None:
    for name in ("float32", "mixed_bfloat16"):
        assert resolved_precision(_config(precision=name), 10) == (name, "")


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16"])
def test_a_run_goes_on_in_the_precision_in_which_it_began(name: str, tmp_path: Path) -> None:
    recorded = tmp_path / "config.yaml"
    recorded.write_text(_config(precision=name).to_yaml())
    assert resolved_precision(_config(), _ROWS, recorded) == (name, "as at the start of this run")
    assert resolved_precision(_config(), _ROWS, tmp_path / "none")[0] == "mixed_bfloat16"


def test_flags_are_those_of_this_processor() -> None:
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        assert processor_flags() <= set(listed.read_text().split())
