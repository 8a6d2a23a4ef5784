"""Tags, vectors and sample weights: training, the export, the server, the item index and the metrics agree."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from runs.evaluate import metrics_of, score
from runs.train import train_run
from serving.client import PredictClient
from serving.export.golden import read_golden
from serving.export.requests import request_inputs
from serving.server.server import LocalServer
from serving.versions import model_bases, publish
from tests.helpers.pipeline_runs import small_config
from tests.helpers.toy_data import MONDAY
from transforms.batches import Batch
from transforms.features import WEIGHT_COLUMN, Column, Feature, FeatureSet, Split
from transforms.records import load_dataset
from transforms.writing import write_dataset

pytestmark = pytest.mark.e2e

ITEMS = 12
FEATURES = FeatureSet(
    columns=(
        Column(name="likes", dtype="int64", entity="user", width=2),
        Column(name="tags", dtype="string", entity="item", width=3),
        Column(name="image", dtype="float", entity="item", width=2),
        WEIGHT_COLUMN,
    ),
    features=(
        Feature(name="likes", encoding="id"),
        Feature(name="item_id", encoding="id"),
        Feature(name="tags", encoding="id", pooling="sum"),
        Feature(name="image", encoding="zscore"),
    ),
)


def rows(split: Split, count: int, seed: int) -> Batch:
    """Items of which image and tags tell whether they are clicked."""
    random = np.random.default_rng(seed)
    catalogue = np.random.default_rng(0)
    tags = np.where(catalogue.random([ITEMS, 3]) < 0.4, b"", catalogue.choice([b"a", b"b", b"c", b"d"], [ITEMS, 3]))
    image = catalogue.normal(size=[ITEMS, 2]).astype(np.float32)
    image[3, 1] = np.nan
    item = random.integers(0, ITEMS, count)
    logit = 2 * np.nan_to_num(image[item]).sum(axis=1) + (tags[item] == b"a").any(axis=1)
    return Batch(
        "row",
        split,
        {
            "request_id": np.array([b"r%d" % place for place in range(count)]),
            "user_id": np.array([b"u%d" % user for user in random.integers(0, 20, count)]),
            "item_id": np.array([b"i%02d" % one for one in item]),
            "timestamp": MONDAY + np.arange(count),
            "label": (random.random(count) < 1 / (1 + np.exp(-logit))).astype(np.float32),
            "likes": np.where(random.random([count, 2]) < 0.3, -1, random.integers(0, 9, [count, 2])),
            "tags": tags[item],
            "image": image[item],
            "weight": random.choice(np.array([0, 0.5, 1, 3], np.float32), count),
        },
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "log"
    splits: tuple[tuple[Split, int], ...] = (("train", 1500), ("eval", 300), ("test", 400))
    batches = [rows(split, count, seed) for seed, (split, count) in enumerate(splits, 1)]
    write_dataset(batches, folder, "toy", FEATURES, {})
    return folder


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    train_run(small_config(model={"name": "dssm", "hidden_units": [8, 4]}), data, run)
    return run / "model"


@pytest.fixture(scope="module")
def client(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PredictClient]:
    folder = tmp_path_factory.mktemp("serving")
    publish(model, folder / "toy")
    with LocalServer(model_bases(folder)) as server:
        server.wait_ready(60)
        with PredictClient(server.address) as connected:
            yield connected


def test_the_server_gives_the_trainers_scores(model: Path, data: Path, client: PredictClient) -> None:
    examples, expected = read_golden(model)
    inputs = request_inputs(examples, load_dataset(data).feature_set, "row")
    np.testing.assert_allclose(client.predict("toy", inputs).outputs["probability"], expected, atol=1e-6)
    assert expected.std() > 0.05


def test_fewer_values_may_be_sent(client: PredictClient) -> None:
    def scores(likes: Any, tags: Any, image: Any) -> np.ndarray:
        inputs = {"likes": likes, "item_id": ["i00"], "tags": tags, "image": image}
        return client.predict("toy", inputs).outputs["logit"]

    full = scores([[5, -1]], [["a", "b", ""]], [[1.0, float("nan")]])
    np.testing.assert_allclose(scores([[5]], [["b", "a"]], [[None, 7.0]]), full, atol=1e-6)
    with pytest.raises(ValueError, match="input 'tags': received 4 values; expected at most 3"):
        scores([[5]], [["a"] * 4], [[1.0, 2.0]])


def test_items_are_found_by_their_tags_and_vectors(client: PredictClient) -> None:
    best = client.retrieve("toy", {"likes": [[5, 7]]}, 3)
    catalogue = rows("train", 400, 9).columns
    places = [np.asarray(catalogue["item_id"]).tolist().index(item) for item in best.item_ids[0]]
    inputs: dict[str, Any] = {name: np.asarray(catalogue[name])[places] for name in ("item_id", "tags", "image")}
    logits = client.predict("toy", {**inputs, "likes": [[5, 7]] * 3}).outputs["logit"]
    np.testing.assert_allclose(best.scores[0], logits, atol=1e-5)


def test_evaluation_weighs_the_examples(model: Path, data: Path) -> None:
    columns = rows("test", 400, 3).columns
    scored = score(model, data, "test")
    metrics, weight = metrics_of(scored, resamples=0), np.asarray(columns["weight"])
    label = np.asarray(columns["label"])
    assert metrics["auc"] == pytest.approx(roc_auc_score(label, scored.probability, sample_weight=weight), abs=1e-6)
    assert metrics["logloss"] == pytest.approx(
        log_loss(label, scored.probability.astype(float), sample_weight=weight), abs=1e-6
    )
    assert metrics["auc"] > 0.7
