"""Models saved by Keras come back in a process that knows nothing of them, or are refused when they are saved."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.cotraining.mutual_learning import MutualLearning
from models.ranking.deepfm import DeepFM
from models.registry import build_model
from models.training.compiling import compile_model
from models.training.losses import ClickLoss
from tests.helpers.generated_batches import SIZES, generated_batch, generated_inputs
from tests.helpers.source_tree import ROOT
from transforms.features import ModelInput

_LENGTHS = [3, 0, 5, 1]
_INPUTS = generated_inputs(1, "row", ("read", "seconds"))
_NUMBERS = generated_inputs(1, "row", ("seconds",))
_PROGRAM = """
import sys
import numpy as np
import tensorflow as tf
import tf_keras as keras
folder = sys.argv[1]
for name in sys.argv[2:]:
    model = keras.models.load_model(f"{folder}/{name}.keras")
    features = {}
    for key, value in np.load(f"{folder}/{name}.npz").items():
        kind, _, feature = key.partition(" ")
        if kind == "dense":
            features[feature] = tf.constant(value)
        elif kind == "lengths":
            values = tf.constant(np.load(f"{folder}/{name}.npz")[f"values {feature}"])
            features[feature] = tf.RaggedTensor.from_row_lengths(values, tf.constant(value))
    logits = model(features, training=False)
    np.save(f"{folder}/{name}.npy", list(logits.values()) if isinstance(logits, dict) else logits)
"""


def _models() -> dict[str, tuple[Any, Any]]:
    def model(name: str, inputs: Any = _INPUTS) -> Any:
        return build_model(name, inputs, SIZES, embedding_dim=4, hidden_units=(8, 6), seed=1)

    return {
        "deepfm": (model("deepfm"), _INPUTS),
        "dssm": (model("dssm"), _INPUTS),
        "ranker_of_numbers": (model("target_attention_ranker", _NUMBERS), _NUMBERS),
        "peers": (MutualLearning([model("deepfm"), model("dcn")]), _INPUTS),
    }


def test_a_model_with_lists_comes_back_in_a_fresh_process_with_the_same_scores(tmp_path: Path) -> None:
    expected = {}
    for name, (model, inputs) in _models().items():
        batch = generated_batch(1, inputs, _LENGTHS)
        compile_model(model, learning_rate=0.1)
        model.run_eagerly = name != "deepfm"  # One that is compiled is enough.
        model.fit(tf.data.Dataset.from_tensor_slices((batch, [1.0, 0.0, 1.0, 0.0])).batch(2), verbose=0)
        model.save(tmp_path / f"{name}.keras")
        logits = model(batch, training=False)
        expected[name] = list(logits.values()) if isinstance(logits, dict) else logits
        parts: dict[str, Any] = {}
        for key, value in batch.items():
            if isinstance(value, tf.RaggedTensor):
                parts |= {f"lengths {key}": value.row_lengths(), f"values {key}": value.flat_values}
            else:
                parts[f"dense {key}"] = value
        np.savez(tmp_path / f"{name}.npz", **{key: np.asarray(value) for key, value in parts.items()})
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_USE_LEGACY_KERAS": "1"}
    subprocess.run([sys.executable, "-c", _PROGRAM, str(tmp_path), *expected], env=environment, check=True)
    for name, logits in expected.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), logits, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("name", "save_format"), [("folder", None), ("folder", "tf"), ("x.keras", "tf"), ("x.h5", None)]
)
def test_other_formats_are_refused_with_the_right_way(name: str, save_format: str | None, tmp_path: Path) -> None:
    model, inputs = _models()["deepfm"]
    model(generated_batch(1, inputs, _LENGTHS))
    with pytest.raises(ValueError, match="expected a path that ends with '.keras'.*export_model"):
        model.save(tmp_path / name, save_format=save_format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("as_dataset", [True, False])
def test_fit_of_keras_names_the_feature_of_an_id_out_of_range(as_dataset: bool) -> None:
    inputs = [ModelInput(name=name, vocabulary=name, shape="scalar", entity="user") for name in ("site", "device")]
    model = DeepFM(inputs, {"site": 9, "device": 5}, embedding_dim=2, hidden_units=(3,))
    model.compile("adam", loss=ClickLoss())
    features = {"site": np.arange(1, 7), "device": np.array([1, 2, 3, 4, 5, 1])}
    labels = np.zeros(6, np.float32)
    data: Any = (features, labels)
    if as_dataset:
        data = (tf.data.Dataset.from_tensor_slices(data).batch(2),)
    with pytest.raises(tf.errors.InvalidArgumentError, match="feature 'device' has the id 5; expected 0 to 4"):
        model.fit(*data, verbose=0)
