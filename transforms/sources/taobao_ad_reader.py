"""Reads TaobaoAd: ads shown as rows, behaviours in the shop as histories."""

from pathlib import Path

import numpy as np

from transforms.arrow import pc
from transforms.batches import Ragged, Values
from transforms.features import LABEL
from transforms.sources.events_before import SECOND_BITS, Histories
from transforms.sources.taobao_ad_files import find_files, midnight, read_ads, read_profiles
from transforms.sources.taobao_ad_options import (
    BEHAVIOUR_TABLE,
    EVAL_DAY,
    FIRST_DAY,
    SAMPLE_TABLE,
    TEST_DAY,
    UTC_OFFSET,
    TaobaoAdOptions,
)
from transforms.sources.text_table import text_rows
from transforms.sources.user_rows import Rows, ToColumns, Types, UserRowReader, UserSpread, checked_starts, request_ids

_ROW: Types = {
    "user": "int64", "time": "int64", "item": "int64", "file": "int64", "line": "int64", "label": "int64",
    "pid": "string",
}  # fmt: skip
_EVENT: Types = {"user": "int64", "time": "int64", "cate": "int64", "brand": "int64", "btag": "string"}


class TaobaoAdReader(UserRowReader):
    """Reads a folder.

    Args:
      options: as of the import.
    """

    tables = {"row": _ROW, "event": _EVENT}

    def __init__(self, options: TaobaoAdOptions):
        self._options = options

    def raw_bytes(self, input_dir: str) -> int:
        files = find_files(input_dir)
        return sum(path.stat().st_size for path in (files.sample, files.behaviours) if path)

    def spread(self, input_dir: str, spread: UserSpread) -> tuple[int, int]:
        files = find_files(input_dir)
        self._ads, self._profiles = read_ads(files), read_profiles(files)
        _spread_sample(files.sample, spread)
        starts = midnight(EVAL_DAY), midnight(TEST_DAY)
        fix = "get the whole file"
        starts = checked_starts(spread.time_range("row"), starts, str(files.sample), fix)
        if files.behaviours:
            _spread_behaviours(files.behaviours, spread)
        return starts

    def columns_of(self, events: Rows) -> ToColumns:
        told = {f"history_{name}": events[name] for name in ("cate", "brand", "btag")}
        histories = Histories(events["user"], events["time"], told)

        def columns(rows: Rows) -> dict[str, Values]:
            found: dict[str, Ragged] = histories.before(rows["user"], rows["time"], self._options.history_length)
            return {
                "request_id": request_ids(rows),
                "user_id": rows["user"].astype("S"),
                "item_id": rows["item"].astype("S"),
                "timestamp": rows["time"],
                LABEL: rows["label"].astype(np.float32),
                "pid": rows["pid"],
                "local_time": rows["time"] + UTC_OFFSET,
                **found,
                **self._profiles.at(rows["user"]),
                **self._ads.at(rows["item"]),
            }

        return columns


def _spread_sample(path: Path, spread: UserSpread) -> None:
    first, end = midnight(FIRST_DAY), midnight(TEST_DAY) + 86_400
    for rows in text_rows(path, SAMPLE_TABLE):
        time, label = rows.integers("time_stamp"), rows.integers("clk")
        rows.refuse((time < first) | (time >= end), "time_stamp", f"seconds of {FIRST_DAY} to {TEST_DAY} in China")
        rows.refuse(rows.integers("nonclk") == label, "clk", "0 where nonclk is 1, and 1 where it is 0")
        columns = {"user": rows.integers("user"), "time": time, "item": rows.integers("adgroup_id"), "label": label}
        spread.add(
            "row", {**columns, "pid": rows.values("pid"), "file": np.zeros(len(rows), np.int64), "line": rows.lines}
        )


def _spread_behaviours(path: Path, spread: UserSpread) -> None:
    for rows in text_rows(path, BEHAVIOUR_TABLE):
        columns = {"user": rows.integers("user"), "time": rows.integers("time_stamp")}
        columns |= {name: rows.integers(name) for name in ("cate", "brand")}
        # The file has pv where its description says ipv.
        btag = np.asarray(pc.replace_substring_regex(rows.values("btag"), "^ipv$", "pv"))
        possible = (columns["time"] >= 0) & (columns["time"] < 1 << SECOND_BITS)
        spread.add("event", {name: values[possible] for name, values in {**columns, "btag": btag}.items()})
