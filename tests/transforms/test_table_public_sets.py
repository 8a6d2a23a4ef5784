"""The declarations of public data sets in the documentation read their files as they are published."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.raw_imports import rows_of
from tests.helpers.source_tree import ROOT
from transforms.arrow import pa
from transforms.beam.import_dataset import import_dataset
from transforms.errors import InputError
from transforms.sources.table.declaration import Declaration
from transforms.sources.table.files import chunks_of, find_files
from transforms.sources.table.first_look import check
from transforms.sources.table.load import load_declaration
from transforms.sources.table.read import read_chunk
from transforms.sources.table.source import table_source

ENTITIES = json.dumps([{"Label": "Prince Philip", "Type": "P", "OccurrenceOffsets": [48], "SurfaceForms": ["Prince"]}])
NEWS = [
    ("N1", "sports", "golf", '"Unclosed quote', "", "https://assets.msn.com/labs/mind/A.html", ENTITIES, "[]"),
    ("N2", "news", "newsus", "The \"Best\" of 50 % 'off'", 'He said "no', "https://b", "[]", ""),
    ("N3", "sports", "football_nfl", "Café, über; alles", "a\\b", "https://c", "[]", ENTITIES),
]
BEHAVIORS = [
    ("1", "U1", "11/13/2019 9:05:58 AM", "N3 N1", "N1-1 N2-0"),
    ("2", "U2", "11/13/2019 12:00:01 AM", "", "N3-0"),
    ("3", "U1", "11/13/2019 11:59:59 PM", "N3 N1", "N3-1 N2-0 N1-0"),
    ("4", "U1", "11/14/2019 12:05:00 PM", "N3 N1", "N2-1"),
    ("5", "U3", "11/15/2019 1:00:00 AM", "N2", "N9-0 N1-1"),
]


def _declaration(folder: Path, name: str) -> Path:
    """Writes the declaration of that name that stands in docs/table.md."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "table.md").read_text(), re.S)
    (text,) = [block for block in blocks if block.startswith(f"name: {name}\n")]
    assert len(text.splitlines()) <= 40
    (folder / f"{name}.yaml").write_text(text)
    return folder / f"{name}.yaml"


def _tsv(rows: Sequence[tuple[str, ...]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


def test_mind_is_read_as_it_is_published(tmp_path: Path) -> None:
    for folder, behaviors, news in (("train", BEHAVIORS[:4], NEWS), ("dev", BEHAVIORS[4:], NEWS[:2])):
        (tmp_path / f"MINDsmall_{folder}").mkdir()
        (tmp_path / f"MINDsmall_{folder}" / "behaviors.tsv").write_text(_tsv(behaviors))
        (tmp_path / f"MINDsmall_{folder}" / "news.tsv").write_text(_tsv(news))
    import_dataset(table_source(_declaration(tmp_path, "mind")), tmp_path, tmp_path / "data")
    rows = rows_of(tmp_path / "data")
    seen = [
        (row["user_id"], row["item_id"], row["label"], row["category"], row["views"], row["clicks"]) for row in rows
    ]
    assert seen == [
        (b"U2", b"N3", 0, b"sports", 0, 0),
        (b"U1", b"N1", 1, b"sports", 0, 0),
        (b"U1", b"N2", 0, b"news", 0, 0),
        (b"U1", b"N3", 1, b"sports", 1, 0),
        (b"U1", b"N2", 0, b"news", 1, 0),
        (b"U1", b"N1", 0, b"sports", 1, 1),
        (b"U1", b"N2", 1, b"news", 2, 0),
        (b"U3", b"N9", 0, b"", 0, 0),
        (b"U3", b"N1", 1, b"sports", 2, 1),
    ]
    assert [row["timestamp"] for row in rows][::4] == [1_573_603_201, 1_573_689_599, 1_573_779_600]
    assert [row["read"].tolist() for row in rows][:2] == [[], [b"N3", b"N1"]]
    assert [row["clicked_category"].tolist() for row in rows][5:] == [[b"sports"], [b"sports", b"sports"], [], []]
    assert [row["split"] for row in rows] == ["train"] * 6 + ["eval"] + ["test"] * 2


HASH = "cef3390ed299c09874189c387777674a"


def _bandit(folder: Path, affinities: int) -> Declaration:
    """Writes two rows as Open Bandit has them, and the table of items."""
    names = ["", "timestamp", "item_id", "position", "click", "propensity_score"]
    names += [f"user_feature_{place}" for place in range(4)] + [
        f"user-item_affinity_{place}" for place in range(affinities)
    ]
    start = ["0", "2019-11-24 00:00:24.098744+00:00", "7", "2", "0", "0.0125"]
    lines = [names, [*start, *[HASH] * 4, *(f"{place / 10}" for place in range(affinities))]]
    lines += [["1", "2019-11-24 09:00:00+09:00", "8", "3", "1", "1.5e-06", *[HASH] * 4, *["0.0"] * affinities]]
    (folder / "men.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    (folder / "item_context.csv").write_text(
        ",item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3\n0,7,-0.677,a,b,c\n1,8,0.5,,b,c\n"
    )
    log = load_declaration(_declaration(folder, "bandit"))
    check(log, folder)
    return log


def test_open_bandit_is_read_as_it_is_published(tmp_path: Path) -> None:
    log = _bandit(tmp_path, 34)
    (rows,) = [table for chunk in chunks_of(find_files(log, tmp_path)[0], log.csv) for table in read_chunk(chunk, log)]
    columns = rows.to_pydict()
    assert columns["timestamp"] == [1_574_553_624, 1_574_553_600]
    assert (columns["item_id"], columns["label"], columns["position"]) == (["7", "8"], [0, 1], [2, 3])
    assert set(columns["user_id"]) == {"|".join([HASH] * 4)}
    np.testing.assert_array_equal(columns["propensity"], np.array([0.0125, 1.5e-6], np.float32))
    np.testing.assert_array_equal(columns["affinity"][0], np.arange(34).astype(np.float32) / np.float32(10))
    table = log.tables["items"]
    (items,) = read_chunk(chunks_of(find_files(table, tmp_path)[0], table.csv)[0], log, "items")
    assert items.select(["_key", "brand", "season"]).to_pydict() == {
        "_key": ["7", "8"], "brand": ["a", ""], "season": ["c", "c"],
    }  # fmt: skip
    assert items["price"].cast(pa.float32()).to_pylist() == [np.float32(-0.677), 0.5]


def test_open_bandit_of_another_campaign_asks_for_its_width(tmp_path: Path) -> None:
    log = _bandit(tmp_path, 46)
    with pytest.raises(InputError, match="received 46 columns 'user-item_affinity_\\*'; expected 34"):
        list(read_chunk(chunks_of(find_files(log, tmp_path)[0], log.csv)[0], log))
