"""The audit of datasets on disk: rows and requests, large ones in part, and what is kept for the next one."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runs.audit.audit import AuditInput, accepted_in, audit, input_of
from runs.audit.drift import profile_of
from runs.audit.report import page, text
from runs.audit.served import ServedData
from runs.audit.table import Table
from serving.contract import CONTRACT_VERSION
from tests.helpers.toy_data import learnable_rows, toy_features, write_learnable
from transforms.batches import Batch
from transforms.errors import InputError
from transforms.features import SPLITS
from transforms.records import load_dataset
from transforms.writing import write_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited") / "data"
    write_learnable(folder)
    return folder


def read(folder: Path, **options: int) -> tuple[AuditInput, Table]:
    what = input_of(folder, load_dataset(folder), "row")
    return what, what.read(**options)


def spoiled(folder: Path, origin: dict[str, Any] | None = None) -> Path:
    """A dataset whose price is the label."""
    batches = []
    for seed, (split, size) in enumerate(zip(SPLITS, (1000, 200, 200))):
        rows = learnable_rows(split, size, seed)
        batches.append(Batch("row", split, {**rows.columns, "price": np.asarray(rows.columns["label"]) * 9 + 1}))
    write_dataset(batches, folder, "toy", toy_features(), origin or {})
    return folder


def test_rows_are_read_as_they_were_written(data: Path) -> None:
    _, table = read(data)
    train = table.of("train")
    written: Any = learnable_rows("train", 3000, 1).columns
    assert len(train) == 3000 and len(table) == 4500 and table.incomplete == {}
    np.testing.assert_array_equal(train.columns["price"].values, written["price"])
    names = train.columns["item_id"]
    assert names.tokens is not None
    assert names.tokens[names.values].tolist() == list(written["item_id"])
    history, lists = train.columns["history"], written["history"]
    example, place = history.pairs()
    np.testing.assert_array_equal(np.bincount(example, minlength=3000), np.diff(lists.offsets))
    assert history.tokens is not None and history.tokens[history.values[place]].tolist() == list(lists.values)


def test_of_large_data_the_records_of_some_users_are_read(data: Path) -> None:
    _, table = read(data, max_examples=1500)
    users = {table.columns["user_id"].text(row) for row in range(len(table))}
    assert 0 < len(users) < 30 and table.share == pytest.approx(1 / 3)
    _, whole = read(data)
    of_these = [whole.columns["user_id"].text(row) in users for row in range(len(whole))]
    assert len(table) == sum(of_these)


def test_a_good_dataset_has_nothing_that_stops(data: Path) -> None:
    result = audit(data)
    assert result.stopping() == [] and result.count("leak") == 0
    assert result.examples == {"train": 3000, "eval": 500, "test": 1000}


def test_a_leak_stops_unless_the_declaration_accepts_it(tmp_path: Path) -> None:
    found = audit(spoiled(tmp_path / "leak"))
    assert [finding.key for finding in found.stopping()] == ["single_feature:price"]
    origin = {"declaration": {"audit": {"accept": ["single_feature:price"]}}}
    accepted = audit(spoiled(tmp_path / "accepted", origin))
    assert accepted.stopping() == [] and accepted.count("leak") == 1
    assert "accepted by the dataset's declaration" in text(accepted)


def test_a_dataset_without_a_split_has_an_empty_one(tmp_path: Path) -> None:
    write_dataset([learnable_rows("train", 800, 1)], tmp_path / "data", "toy", toy_features(), {})
    stopping = {finding.key for finding in audit(tmp_path / "data").stopping()}
    assert stopping == {"empty_split:eval", "empty_split:test"}


def test_acceptance_is_read_from_the_origin_of_a_dataset() -> None:
    assert accepted_in({"audit": {"accept": ["drift"]}}) == ("drift",)
    assert accepted_in({"seed": 1}) == accepted_in({"audit": {}}) == ()


def test_a_baseline_is_compared_with(data: Path, tmp_path: Path) -> None:
    keys = {finding.key for finding in audit(spoiled(tmp_path / "leak"), baseline=data).findings}
    assert "drift:price" in keys


def version(base: Path, number: int, sha256: str) -> None:
    """A served version that only says of which data it is."""
    folder = base / str(number)
    (folder / "assets.extra").mkdir(parents=True)
    contract = {"contract_version": CONTRACT_VERSION, "run": {"dataset_sha256": sha256}}
    (folder / "assets.extra" / "contract.json").write_text(json.dumps(contract))


def test_the_profile_of_the_served_data_is_found_and_those_of_removed_versions_are_not_kept(
    data: Path, tmp_path: Path
) -> None:
    _, table = read(data)
    first, second, third = (profile_of(table, letter * 64) for letter in "abc")
    base, profiles = tmp_path / "serving", tmp_path / "profiles"

    def served() -> ServedData:
        return ServedData(base, profiles, "row")

    assert served().profile() is None and served().model is None
    served().keep(first)
    version(base, 1, first.dataset_sha256)
    assert served().profile() == first
    served().keep(second)
    version(base, 2, second.dataset_sha256)
    assert served().profile() == second
    shutil.rmtree(base / "1")
    served().keep(third)
    assert served().profile() == second and len(list(profiles.iterdir())) == 2
    shutil.rmtree(base / "2")
    assert served().profile() is None


def test_an_absent_record_kind_is_refused(data: Path) -> None:
    with pytest.raises(InputError, match="expected kind request"):
        audit(data, "request")


def test_the_report_names_findings_figures_and_remedies(tmp_path: Path) -> None:
    found = audit(spoiled(tmp_path / "leak"))
    printed, written = text(found), page(found, "leak")
    for part in ("single_feature:price", "AUC 1.000", "10: 1.00 of", "leave the column out"):
        assert part in printed and part in written
    assert printed.startswith("audit of 1,400 examples: 1 leak, ") and "STOP leak  single_feature:price" in printed
    values = json.loads(json.dumps(found.to_json()))
    assert values["stops"] == ["single_feature:price"] and values["findings"][0]["threshold"] == 0.95
