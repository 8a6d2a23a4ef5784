"""The approximate index of a version's items: its answers, its recall gate, and the version that it belongs to."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from consort.doctor import OPTIONAL_MODULES
from serving.contract import CONTRACT, read_contract
from serving.retrieval.catalogue import Catalogue
from serving.retrieval.index import ItemIndex, build_index, recall_of
from serving.retrieval.index_kinds import INSTALL, Hnsw, require
from serving.retrieval.item_vectors import digest_of, read_item_vectors
from tests.helpers.served_towers import NAME, ToyTowers, exact, export_towers, tower_model, user_inputs
from transforms.errors import GateRefused, InputError, MissingPart

MANY = 3000


@pytest.fixture(scope="module")
def many(towers: ToyTowers, tmp_path_factory: pytest.TempPathFactory) -> ToyTowers:
    """A version with a negative scale and so many items, most of them new to the vocabulary."""
    random = np.random.default_rng(0)
    ids = np.array([b"n%04d" % number for number in range(MANY)], object)
    prices, counts = (100 * random.random([2, MANY])).astype(np.float32)
    catalogue = Catalogue(ids, {"item_id": ids, "price": prices, "count": np.floor(counts)})
    model = tower_model(towers.folder, scale=-2.0)
    return export_towers(towers.folder, tmp_path_factory.mktemp("many") / NAME, model, 7, catalogue)


@pytest.fixture(scope="module")
def built(many: ToyTowers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "index"
    build_index(many.version, folder, queries=40, notes={"machine": {"cores": 2}})
    return folder


def _vectors(many: ToyTowers) -> tuple[np.ndarray, np.ndarray]:
    """Of some users, and of all items."""
    loaded = tf.saved_model.load(str(many.version))
    inputs = {name: tf.constant(value) for name, value in user_inputs(many, 8).items()}
    users = loaded.signatures["user_embedding"](**inputs)["embedding"].numpy()
    return users, read_item_vectors(many.version, loaded).vectors


def test_it_finds_the_items_of_highest_logits_with_a_negative_scale_too(many: ToyTowers, built: Path) -> None:
    index = ItemIndex.load(built, many.version)
    users, items = _vectors(many)
    wanted = exact(users, items, many.model)
    ids, logits = index.search(users, 50)
    best = -np.sort(-wanted, axis=1)[:, :50]
    assert (np.abs(logits - best) < 1e-4).mean() > 0.97
    for row in range(len(users)):
        of_ids = wanted[row, [int(one[1:]) for one in ids[row].tolist()]]
        np.testing.assert_allclose(logits[row], of_ids, atol=1e-4)
        assert len(set(ids[row].tolist())) == 50


def test_it_tells_version_parameters_recall_and_machine(many: ToyTowers, built: Path) -> None:
    told = json.loads((built / "index.json").read_text())
    assert sorted(path.name for path in built.iterdir()) == ["ids.npy", "index.faiss", "index.json"]
    assert told["version"] == {"number": 7, "sha256": read_contract(many.version)["retrieval"]["sha256"]}
    assert told["kind"] == "hnsw" and told["items"] == MANY and told["width"] == 6
    assert {"M", "ef_construction", "effort", "effort_is", "seed"} == set(told["parameters"])
    recall = told["recall"]
    assert recall["at"] == 100 and 0.98 <= recall["value"] <= 1 and recall["users"] == 40
    assert recall["logged_users"] == 16 and told["machine"] == {"cores": 2}


def test_an_index_of_other_item_vectors_is_refused(many: ToyTowers, built: Path, towers: ToyTowers) -> None:
    with pytest.raises(InputError, match=r"received an index of version 7.*Fix: build it: consort index"):
        ItemIndex.load(built, towers.version)
    with pytest.raises(InputError, match="no readable index.json"):
        ItemIndex.load(built.parent, many.version)


def test_an_index_of_another_library_is_to_be_built_again(many: ToyTowers, built: Path, tmp_path: Path) -> None:
    older = json.loads((built / "index.json").read_text()) | {"library": "hnswlib 0.8.0"}
    (tmp_path / "index.json").write_text(json.dumps(older))
    with pytest.raises(InputError, match=r"received an index by hnswlib 0.8.0; expected one by faiss.*consort index"):
        ItemIndex.load(tmp_path, many.version)


def test_more_items_than_there_are_are_refused(many: ToyTowers, built: Path) -> None:
    index = ItemIndex.load(built, many.version)
    for k in (0, MANY + 1):
        with pytest.raises(InputError, match=f"k: received {k}; expected 1 to {MANY}"):
            index.search(np.zeros([1, 6], np.float32), k)


def _worse_below(effort: int, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Hnsw.search

    def worse(self: Hnsw, queries: np.ndarray, k: int) -> Any:
        found, products = search(self, queries, k)
        return (found if self.effort >= effort else found * 0, products)

    monkeypatch.setattr(Hnsw, "search", worse)


def test_the_effort_rises_until_recall_is_reached(
    many: ToyTowers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _worse_below(800, monkeypatch)
    said: list[str] = []
    told = build_index(many.version, tmp_path / "index", queries=20, say=said.append)
    assert told["parameters"]["effort"] == 800 and told["recall"]["users"] == 20
    assert [line.partition(":")[0] for line in said[1:]] == ["ef 200", "ef 400", "ef 800"]
    assert ItemIndex.load(tmp_path / "index", many.version)._index.effort == 800


def test_below_the_recall_asked_for_nothing_is_written(
    many: ToyTowers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _worse_below(10**9, monkeypatch)
    with pytest.raises(GateRefused, match=r"rejected by item index:\n  - ef 200: recall@100 0\.\d+") as caught:
        build_index(many.version, tmp_path / "index", queries=20)
    assert "expected at least 0.98" in caught.value.reasons[-1] and caught.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_refused_before_the_work(many: ToyTowers, built: Path) -> None:
    before = (built / "index.json").read_bytes()
    with pytest.raises(InputError, match="received something in it"):
        build_index(many.version, built)
    assert (built / "index.json").read_bytes() == before


def test_items_that_are_not_those_of_the_contract_are_refused(many: ToyTowers, tmp_path: Path) -> None:
    loaded = tf.saved_model.load(str(many.version))
    contract = read_contract(many.version)
    contract["retrieval"]["sha256"] = "0" * 64
    (tmp_path / CONTRACT).parent.mkdir()
    (tmp_path / CONTRACT).write_text(json.dumps(contract))
    with pytest.raises(InputError, match="received item vectors with sha256"):
        read_item_vectors(tmp_path, loaded)
    contract["retrieval"]["similarity"] = {"kind": "model"}
    (tmp_path / CONTRACT).write_text(json.dumps(contract))
    with pytest.raises(InputError, match="received another similarity"):
        read_item_vectors(tmp_path, loaded)


def test_digests_tell_ids_vectors_and_their_order_apart() -> None:
    ids, vectors = np.array([b"a", b"bc"], object), np.eye(2, dtype=np.float32)
    others = [
        (np.array([b"ab", b"c"], object), vectors),
        (ids[::-1], vectors),
        (ids, vectors[::-1]),
        (ids, vectors.reshape(1, 4)),
    ]
    assert len({digest_of(ids, vectors), *(digest_of(*one) for one in others)}) == 5


def test_recall_counts_those_as_good_as_the_last() -> None:
    vectors = np.array([[3.0], [2.0], [1.0], [1.0], [0.0]], np.float32)
    queries = np.ones([2, 1], np.float32)
    assert recall_of(np.array([[0, 1, 2], [0, 1, 3]]), queries, vectors) == 1.0
    assert recall_of(np.array([[0, 1, 2], [0, 4, 3]]), queries, vectors) == pytest.approx(5 / 6)


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for kind, (package, line) in INSTALL.items():
        with pytest.raises(MissingPart, match=package) as caught:
            require(kind)
        assert caught.value.exit_code == 3 and caught.value.install == line
        assert OPTIONAL_MODULES[package][1] == line
