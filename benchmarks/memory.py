"""Main memory of another process over time."""

import contextlib
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np


class Memory:
    """Main memory of a process, sampled once a second until it ends."""

    def __init__(self, process: "subprocess.Popen[Any]"):
        self._process, self._megabytes = process, list[float]()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while self._process.poll() is None:
            with contextlib.suppress(OSError, StopIteration):
                self._megabytes.append(self._now())
            time.sleep(1.0)

    def _now(self) -> float:
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        resident = next(line for line in lines if line.startswith("VmRSS"))
        return int(resident.split()[1]) / 1e3

    def summary(self) -> dict[str, float | None]:
        """Returns medians of the second and the last fifth of the time; the first fifth is loading."""
        fifth = len(self._megabytes) // 5
        if not fifth:
            return {"memory_mb_early": None, "memory_mb_late": None}
        early, late = self._megabytes[fifth : 2 * fifth], self._megabytes[-fifth:]
        return {"memory_mb_early": float(np.median(early)), "memory_mb_late": float(np.median(late))}
