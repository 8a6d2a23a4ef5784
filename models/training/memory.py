"""Estimates the memory of embedding tables before they are created."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from transforms.errors import InputError

_FLOAT_BYTES = 4
_WHILE_STARTING = 2
"""A table is initialized, then copied into its variable: for a moment there are two more copies."""


def table_bytes(table_sizes: Mapping[str, int], row_widths: Sequence[int], slots: int = 2) -> int:
    """Returns the peak bytes of one interleaved table and its optimizer state, during creation.

    Args:
      table_sizes: rows of each vocabulary.
      row_widths: columns of each model that shares the table: D + 1 with a linear weight.
      slots: values that the optimizer keeps for each weight: 2 for Adam and FTRL, 1 for Adagrad.
    """
    table = sum(table_sizes.values()) * sum(row_widths) * _FLOAT_BYTES
    return table * (1 + slots + _WHILE_STARTING)


def available_bytes() -> int | None:
    """Returns the memory that this process may still allocate, by machine and container; None if unknown."""
    limits = [size for size in (_machine(), _container()) if size is not None]
    return min(limits, default=None)


def check_memory(needed: int, limit: int | None, what: str) -> None:
    """Raises an error if tables do not fit into memory.

    Args:
      needed: bytes.
      limit: bytes; None takes what is available.
      what: names the tables in the message.

    Raises:
      InputError: they do not.
    """
    room = available_bytes() if limit is None else limit
    if room is not None and needed > room:
        raise InputError(
            what,
            f"about {_gigabytes(needed)} for tables and optimizer state",
            f"at most {_gigabytes(room)} ({'available' if limit is None else 'memory_limit_gb'})",
            "raise the vocabulary's frequency_threshold, set top_k or hash_buckets, lower embedding_dim, train fewer "
            "peers at once, or shard the tables over parameter servers (docs/distributed.md)",
        )


def _machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = {line.partition(":")[0]: line.split()[1] for line in lines}
    return int(sizes["MemAvailable"]) * 1024 if "MemAvailable" in sizes else None


def _container() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        return int((folder / "memory.max").read_text()) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
