"""A world for tiny grids, and a grid that is killed in its middle and taken up again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORLD = {
    "users": 40, "items": 60, "candidates": 10, "min_candidates": 8, "pool_size": 20, "ranked_items": 6,
    "exposed_items": 3, "history_length": 5, "block_requests": 32, "base_logit": -0.5,
}  # fmt: skip


class Killed(BaseException):
    """In place of SIGKILL."""


def kill_after(cells: int) -> Callable[[str], None]:
    """Listens to a runner and ends it once so many cells are done."""

    def listen(text: str) -> None:
        if text.startswith(f"[{cells}/"):
            raise Killed

    return listen


def killed_and_taken_up(
    run_grid: Callable[..., dict[str, Any]], grid: Any, out: Path, cells: int
) -> tuple[Path, dict[str, str], dict[str, Any]]:
    """The folder, the files of the cells that were done when the run ended, and the results of the next run."""
    with pytest.raises(Killed):
        run_grid(grid, out, workers=0, say=kill_after(cells))
    before = {path.name: path.read_text() for path in (out / "cells").iterdir()}
    return out, before, run_grid(grid, out, workers=0)
