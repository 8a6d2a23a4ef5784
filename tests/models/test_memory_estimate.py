import pytest

from models.training import memory
from transforms.errors import InputError


def test_tables_of_all_peers_and_their_state_count_by_hand() -> None:
    # 1,000 rows of 2 x 17 floats of 4 bytes: 136,000 bytes; Adam's two moments, and two copies while it starts.
    assert memory.table_bytes({"a": 600, "b": 400}, [17, 17]) == 5 * 136_000
    assert memory.table_bytes({"a": 1000}, [34], slots=1) == 4 * 136_000


def test_more_than_the_limit_is_refused_with_both_figures_and_the_fix() -> None:
    memory.check_memory(1_000_000_000, 1_000_000_000, "5 ids")
    with pytest.raises(InputError, match=r"2\.00 GB.*1\.00 GB \(memory_limit_gb\).*frequency_threshold"):
        memory.check_memory(2_000_000_000, 1_000_000_000, "5 ids")


def test_without_a_limit_what_is_available_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 10)
    with pytest.raises(InputError, match="available"):
        memory.check_memory(11, None, "5 ids")
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    memory.check_memory(1 << 60, None, "5 ids")


def test_this_machine_has_some_memory() -> None:
    available = memory.available_bytes()
    assert available is None or 0 < available < 1 << 50
