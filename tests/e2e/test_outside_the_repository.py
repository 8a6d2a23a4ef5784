"""A source, a model and a recipe with an external input, each one file of the user's, from raw lines to an answer."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from serving.client import PredictClient
from serving.server.server import LocalServer
from serving.versions import model_bases
from tests.helpers.command_line import consort

pytestmark = pytest.mark.e2e

_SOURCE = '''
import apache_beam as beam
import numpy as np
from transforms.batches import Batch
from transforms.errors import InputError
from transforms.features import Encoding, Feature, FeatureSet, SPLITS
from transforms.sources.base import Source

class Clicks(Source):
    """Lines of user, item and label, one file a split."""
    name, summary, licence, where, records = "shop_clicks", "clicks of a shop", "ours", "here", ("row",)

    def feature_set(self):
        names = ("user_id", "item_id")
        return FeatureSet(columns=(), features=tuple(Feature(name=name, encoding=Encoding.ID) for name in names))

    def check(self, input_dir):
        for split in SPLITS:
            if not (input_dir / f"{split}.txt").is_file():
                raise InputError(str(input_dir), f"no {split}.txt", "one file a split", "name the folder of the files")

    def read(self, input_dir):
        return beam.Create([(split, str(input_dir / f"{split}.txt")) for split in SPLITS]) | beam.Map(read_split)

def read_split(chunk):
    split, path = chunk
    with open(path) as file:
        users, items, labels = zip(*(line.split() for line in file))
    n = np.arange(len(users))
    columns = {"request_id": np.array([b"%d" % i for i in n]), "user_id": np.array([u.encode() for u in users]),
               "item_id": np.array([i.encode() for i in items]), "timestamp": n, "label": np.array(labels, np.float32)}
    return split, Batch("row", split, columns)
'''
_MODEL = '''
import tensorflow as tf
import tf_keras as keras
from models.ranking.field_model import FieldModel

@keras.utils.register_keras_serializable(package="shop")
class Factors(FieldModel):
    """The sum of the linear terms and of the products of embeddings."""
    uses_linear = True

    def __init__(self, inputs, table_sizes, **options):
        super().__init__(inputs, table_sizes, **options)
        self.scale = keras.layers.Dense(1)

    def head(self, embeddings, linear, training, real=None):
        products = tf.reduce_sum(tf.reduce_prod(embeddings, axis=1), axis=-1, keepdims=True)
        return tf.squeeze(self.scale(tf.concat([linear, products], axis=-1)), -1)
'''
_RECIPE = '''
import json
from dataclasses import dataclass
from pathlib import Path
from models.cotraining.base import Recipe, Trained
from models.cotraining.external_inputs import ExternalInput
from transforms.errors import InputError
from transforms.files import sha256_of

class Prior(ExternalInput):
    """The click rate that an earlier run has measured."""
    option, identity_key = "prior", "prior_sha256"

    def __init__(self, path):
        self.path = Path(path)

    def check(self, run):
        if not self.path.is_file():
            raise InputError("recipe.options.prior", str(self.path), "a file of a click rate", "measure one")

    def identity(self):
        return sha256_of(self.path)

    def load(self, run, transform):
        return json.loads(self.path.read_text())["rate"]

    def report(self):
        return {"path": str(self.path)}

@dataclass(frozen=True)
class FromPrior(Recipe):
    """One model that begins at the click rate of an earlier run."""
    prior: str

    def external_inputs(self):
        return [Prior(self.prior)]

    def row_widths(self, width):
        return [width]

    def train(self, job, directory):
        model = job.build(job.seed, None)
        rate = job.external["prior"]
        return Trained(model, job.fit(model, directory, job.settings, job.seed, base_rate=rate), {"rate": rate})
'''
_RUN = """
name: shop
source: shop_source.Clicks
model: {name: shop_model.Factors, embedding_dim: 4}
recipe: {name: shop_recipe.FromPrior, options: {prior: prior.json}}
training: {batch_size: 50, epochs: 8, learning_rate: 0.05}
"""


def _write_lines(path: Path, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    users, items = random.integers(0, 8, rows), random.integers(0, 8, rows)
    path.write_text("".join(f"u{user} i{item} {int(item % 2 == 0)}\n" for user, item in zip(users, items)))


def test_three_files_of_the_user_train_evaluate_export_and_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("shop_source.py", _SOURCE), ("shop_model.py", _MODEL), ("shop_recipe.py", _RECIPE)):
        Path(name).write_text(text)
    importlib.invalidate_caches()
    Path("run.yaml").write_text(_RUN)
    Path("raw").mkdir()
    for seed, (split, rows) in enumerate((("train", 1000), ("eval", 200), ("test", 200))):
        _write_lines(Path("raw", f"{split}.txt"), rows, seed)

    answer = consort("data", "import", "shop_source.Clicks", "--input", "raw", "--out", "log")
    assert answer.code == 0, answer.err
    command = ("train", "run.yaml", "--data", "log", "--out", "run")
    answer = consort(*command)
    assert answer.code == 2 and "recipe.options.prior: received prior.json; expected a file of" in answer.err
    assert not Path("run").exists()
    Path("prior.json").write_text('{"rate": 0.5}')
    answer = consort(*command)
    assert answer.code == 0, answer.err
    run = json.loads(Path("run", "run.json").read_text())
    assert run["recipe"] == {"rate": 0.5, "prior": {"path": "prior.json"}} and len(run["prior_sha256"]) == 64
    answer = consort("evaluate", "run", "--data", "log", "--resamples", 0, "--json", "metrics.json")
    assert answer.code == 0, answer.err
    assert json.loads(Path("metrics.json").read_text())["metrics"]["auc"] > 0.95
    answer = consort("export", "run", "--out", "served")
    assert answer.code == 0, answer.err
    with LocalServer(model_bases(Path("served"))) as server:
        server.wait_ready(60)
        with PredictClient(server.address) as client:
            asked = {"user_id": np.array([b"u1", b"u1"]), "item_id": np.array([b"i2", b"i3"])}
            clicked, ignored = client.predict("shop", asked).outputs["probability"]
    assert clicked > 0.8 and ignored < 0.2
