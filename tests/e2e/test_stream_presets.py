"""CS3's preset of each real source takes its raw files; one trains on them to towers that retrieve."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serving.contract import read_contract
from tests.helpers.command_line import consort
from tests.helpers.kuairand_like import write_kuairand_like
from tests.helpers.movielens_like import write_movielens_like
from tests.helpers.recsys2017_like import write_recsys2017_like
from tests.helpers.taobao_ad_like import write_taobao_ad_like

pytestmark = pytest.mark.e2e
RAW: dict[str, Callable[[Path], Any]] = {
    "movielens": partial(write_movielens_like, users=40, films=60, rated=25),
    "kuairand": partial(write_kuairand_like, users=20, videos=30, shown=60),
    "taobao_ad": partial(write_taobao_ad_like, users=20, ads=30, shown=40, behaviours=20),
    "recsys2017": partial(write_recsys2017_like, users=30, items=40, interactions=1200),
}


@pytest.mark.parametrize("source", RAW)
def test_a_preset_takes_its_source_as_it_is_imported(source: str, tmp_path: Path) -> None:
    _import(source, tmp_path)
    answer = consort("config", "check", f"{source}_cs3", "--data", tmp_path / "data")
    assert answer.code == 0 and "valid" in answer.out, answer.err


def test_the_preset_of_the_most_features_trains_on_its_source(tmp_path: Path) -> None:
    _import("kuairand", tmp_path)
    out, small = tmp_path / "run", ("--set", "training.batch_size=64")
    answer = consort("train", "kuairand_cs3", "--data", tmp_path / "data", "--out", out, *small)
    assert answer.code == 0, answer.err
    cached = json.loads((out / "run.json").read_text())["recipe"]["cached_ids"]
    assert set(cached) == {"cross_user", "cross_item", "cascade_user", "cascade_item"} and min(cached.values()) > 5
    assert {"retrieve", "user_embedding", "item_embedding"} <= set(read_contract(out / "model")["signatures"])


def _import(source: str, folder: Path) -> None:
    RAW[source](folder / "raw")
    imported = consort("data", "import", source, "--input", folder / "raw", "--out", folder / "data")
    assert imported.code == 0, imported.err
