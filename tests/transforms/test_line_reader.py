"""Sources whose lines are rows: random splits and chunks, for each of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.criteo_like import write_criteo_like
from tests.helpers.avazu_like import write_avazu_like
from tests.helpers.imported_records import records_of
from transforms.beam.import_dataset import import_dataset
from transforms.features import SPLITS
from transforms.sources.registry import get_source

SOURCES: dict[str, tuple[Callable[..., None], str, str, int]] = {
    "criteo": (write_criteo_like, ".txt", "\t", 0),
    "avazu": (write_avazu_like, ".csv", ",", 1),
}
"""What writes a file, its suffix, its delimiter and the place of the label."""


def _train_file(name: str, folder: Path, rows: int, seed: int) -> Path:
    """A folder that holds the train file of a source alone."""
    write, suffix, _, _ = SOURCES[name]
    folder.mkdir()
    write(folder / f"train{suffix}", rows, seed=seed)
    return folder


@pytest.mark.parametrize("name", SOURCES)
def test_a_train_file_alone_is_split_at_random_by_seed_and_line_whatever_the_chunks(tmp_path: Path, name: str) -> None:
    _, suffix, delimiter, label = SOURCES[name]
    folder = _train_file(name, tmp_path / "raw", 2000, seed=5)
    fields = [line.split(delimiter) for line in (folder / f"train{suffix}").read_text().splitlines()[:2]]
    # As Kaggle gave it: without labels.
    test = [delimiter.join(values[:label] + values[label + 1 :]) for values in fields]
    (folder / f"test{suffix}").write_text("\n".join(test) + "\n")
    by_chunk = {}
    for chunk_bytes in (20_000, 1 << 20):
        out = tmp_path / f"out{chunk_bytes}"
        options = {"chunk_bytes": chunk_bytes, "batch_rows": 1_000}
        dataset = import_dataset(get_source(name, options), folder, out)
        splits = {split: records_of(out, "row", split) for split in SPLITS}
        by_chunk[chunk_bytes] = splits
        assert [len(rows) / 2000 for rows in splits.values()] == pytest.approx([0.8, 0.1, 0.1], abs=0.03)
        assert len(dataset.records["row"]["train"].shards) > 1
    # As text: NaN is not equal to itself.
    assert [str(rows) for rows in by_chunk[20_000].values()] == [str(rows) for rows in by_chunk[1 << 20].values()]
    other = import_dataset(get_source(name, {"seed": 1}), folder, tmp_path / "other")
    assert sum(info.records for info in other.records["row"].values()) == 2000
    ids, others = (
        {row["request_id"] for row in rows}
        for rows in (by_chunk[20_000]["test"], records_of(tmp_path / "other", "row", "test"))
    )
    assert len(ids & others) < len(ids) / 3


@pytest.mark.parametrize("name", SOURCES)
def test_two_imports_of_the_same_files_are_byte_for_byte_the_same(tmp_path: Path, name: str) -> None:
    folder = _train_file(name, tmp_path / "raw", 500, seed=2)
    for out in ("a", "b"):
        import_dataset(get_source(name, {"chunk_bytes": 20_000}), folder, tmp_path / out)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) > 8
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
