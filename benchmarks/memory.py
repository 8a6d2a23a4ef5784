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
                self._megabytes.append(self.now())
            time.sleep(1.0)

    def now(self) -> float:
        """Returns megabytes in main memory."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        resident = next(line for line in lines if line.startswith("VmRSS"))
        return int(resident.split()[1]) / 1e3

    def summary(self) -> dict[str, float | None]:
        """Returns the first sample, medians of the second and the last fifth of the time, and the highest sample."""
        fifth = len(self._megabytes) // 5
        if not fifth:
            return dict.fromkeys(("memory_mb_first", "memory_mb_early", "memory_mb_late", "memory_mb_most"))
        early, late = self._megabytes[fifth : 2 * fifth], self._megabytes[-fifth:]
        return {
            "memory_mb_first": self._megabytes[0],
            "memory_mb_early": float(np.median(early)),
            "memory_mb_late": float(np.median(late)),
            "memory_mb_most": max(self._megabytes),
        }
