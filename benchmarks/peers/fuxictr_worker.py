"""FuxiCTR's DeepFM, trained by its own `train_step`.

Its package on PyPI holds the layers and the training loop, but not the models, which are scripts in
its repository (`model_zoo`). The class here puts the layers together as `model_zoo/DeepFM` does.
"""

import importlib.metadata
import itertools
import tempfile
from collections import OrderedDict
from typing import Any

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything

from benchmarks.peers.task import Task, field_sizes, make_batches
from benchmarks.peers.worker import Run, serve

LABEL = "label"
MAX_GRADIENT_NORM = 10.0
"""The default of its `fit`."""


class DeepFM(BaseModel):
    """Linear terms, factorization machine and MLP over the same embeddings, with FuxiCTR's Adam and loss."""

    def __init__(self, feature_map: FeatureMap, task: Task, model_root: str):
        super().__init__(feature_map, verbose=0, model_root=model_root, metrics=["AUC"])
        self.embedding_layer = FeatureEmbedding(feature_map, task.width)
        self.fm = FactorizationMachine(feature_map)
        self.mlp = MLP_Block(feature_map.sum_emb_out_dim(), list(task.hidden_units), output_dim=1)
        self.compile("adam", "binary_crossentropy", lr=1e-3)
        self.reset_parameters()
        self._max_gradient_norm = MAX_GRADIENT_NORM

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        features = self.get_inputs(inputs)
        embeddings = self.embedding_layer(features)  # [B, F, D]
        logits = self.fm(features, embeddings) + self.mlp(embeddings.flatten(start_dim=1))
        return {"y_pred": self.output_activation(logits)}


def prepare(task: Task) -> tuple[Run, dict[str, Any]]:
    """Its `train_step` in the loop of its `train_epoch`, which reads the loss of each step."""
    torch.set_num_threads(task.threads)
    seed_everything(task.seed)
    with tempfile.TemporaryDirectory() as folder:
        model = DeepFM(_feature_map(task, folder), task, folder)
    model.train()
    batches = itertools.cycle(_batches(task))

    def run(steps: int) -> float:
        loss = float("nan")
        for _ in range(steps):
            loss = model.train_step(next(batches)).item()
        return loss

    about = {
        "versions": {name: importlib.metadata.version(name) for name in ("fuxictr", "torch")},
        "optimizer": type(model.optimizer).__name__,
    }
    return run, about


def _feature_map(task: Task, folder: str) -> FeatureMap:
    """What its preprocessing writes for fields of ids."""
    feature_map = FeatureMap("benchmark", folder)
    feature_map.features = OrderedDict(
        (f"field_{field}", {"source": "", "type": "categorical", "vocab_size": size})
        for field, size in enumerate(field_sizes(task))
    )
    feature_map.labels = [LABEL]
    feature_map.num_fields = task.fields
    feature_map.default_emb_dim = task.width
    return feature_map


def _batches(task: Task) -> list[dict[str, torch.Tensor]]:
    """Tensors ready to use: contiguous, and of the type that its embeddings look up."""
    ids, labels = make_batches(task)
    made = []
    for rows, label in zip(ids, labels):
        batch = {f"field_{field}": torch.from_numpy(rows[:, field].copy()) for field in range(task.fields)}
        made.append({**batch, LABEL: torch.from_numpy(label)})
    return made


if __name__ == "__main__":
    serve(prepare)
