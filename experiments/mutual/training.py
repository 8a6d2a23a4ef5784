"""Trains one cell of a grid and measures it."""

import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from evaluation.pointwise import auc, logloss
from experiments.arrays import Arrays, Rows, load_arrays
from experiments.batches import SCORED_AT_ONCE, batches, click_probabilities
from experiments.mutual.cells import ARMS, Cell, Member, order_seed, peer_seed
from experiments.mutual.grid import MutualGrid
from models.cotraining.mutual_learning import MutualLearning
from models.registry import build_model
from models.training.compiling import exponential_decay, precision
from models.training.fit import FitResult, fit
from transforms.features import Split
from transforms.files import replacing_file

_SCORED: tuple[Split, ...] = ("eval", "test")
_CHECKPOINT_STEPS = 2000
_HISTORY = ("epoch", "loss", "logloss", "eval_logloss", "eval_auc")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a grid works.

    Args:
      arrays: folder of the data.
      weights: folder of the pretrained peers' weights.
      checkpoints: folder of cells under way.
    """

    arrays: Path
    weights: Path
    checkpoints: Path

    def weights_of(self, cell: Cell) -> Path:
        """The file of a pretrained peer's weights."""
        return self.weights / f"{cell.name}.npz"


def run_cell(cell: Cell, grid: MutualGrid, place: Place) -> dict[str, Any]:
    """Trains a cell, continuing from its last checkpoint if there is one, and measures it on eval and test rows.

    Returns:
      Seeds, settings, figures of each peer and of the mean of their predictions, the course of training.
    """
    keras.backend.clear_session()
    started, cpu_started = time.perf_counter(), time.process_time()
    arrays = load_arrays(place.arrays)
    trained, result = _train(cell, grid, arrays, place)
    measured: dict[str, Any] = {}
    for split in _SCORED:
        rows = arrays.splits[split]
        measured[split] = figures(_predictions(trained, rows), rows)
    if cell.is_independent:
        _save_weights(place.weights_of(cell), trained[0])
    shutil.rmtree(place.checkpoints / cell.name, ignore_errors=True)
    return {
        "cell": cell.name,
        "model": cell.model,
        "group": cell.group,
        "arm": cell.arm,
        "peers": [{"model": member.model, "number": member.number} for member in cell.members],
        "seeds": {
            "peers": [peer_seed(grid, cell.group, member.number) for member in cell.members],
            "order": _order(cell, grid),
        },
        "settings": {**dataclasses.asdict(ARMS[cell.arm]), **cell.phase(grid).model_dump(mode="json")},
        **measured,
        "steps": result.steps if result else 0,
        "best_epoch": result.best_epoch if result else None,
        "history": [{key: row[key] for key in _HISTORY if key in row} for row in result.history] if result else [],
        "data_sha256": arrays.sha256,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu_started,
    }


def _train(cell: Cell, grid: MutualGrid, arrays: Arrays, place: Place) -> tuple[list[keras.Model], FitResult | None]:
    """Models to be measured: one group, one model, or several that were not trained together."""
    arm = ARMS[cell.arm]
    if cell.is_independent:
        alone = _peer(cell.members[0], cell.group, grid, arrays)
        return [alone], _fit(alone, cell, grid, arrays, place)
    if not arm.trains:
        return [_pretrained(needed, grid, arrays, place) for needed in cell.needs()], None
    peers = [_peer(member, cell.group, grid, arrays) for member in cell.members]
    group = MutualLearning(peers, mutual_weight=arm.mutual_weight, loss=arm.loss, stop_gradient=arm.stop_gradient)
    group.build_variables()
    for index, needed in enumerate(cell.needs()):
        group.load_peer(index, _pretrained(needed, grid, arrays, place))
    return [group], _fit(group, cell, grid, arrays, place)


def _fit(model: keras.Model, cell: Cell, grid: MutualGrid, arrays: Arrays, place: Place) -> FitResult:
    train, seed, phase = arrays.splits["train"], _order(cell, grid), cell.phase(grid)
    steps = -(-len(train) // grid.batch_size)
    rate: Any = phase.learning_rate
    if phase.decay_epochs is not None:
        rate = exponential_decay(rate, phase.decay_epochs, steps)
    # The epoch of pretraining is chosen on the eval split; finetuning ends where it is told to.
    chooses = not ARMS[cell.arm].pretrained
    return fit(
        model,
        lambda epoch: batches(train, grid.batch_size, (seed, epoch)),
        batches(arrays.splits["eval"], SCORED_AT_ONCE) if chooses else None,
        place.checkpoints / cell.name,
        epochs=phase.epochs,
        learning_rate=rate,
        checkpoint_steps=_CHECKPOINT_STEPS,
        keep_checkpoints=1,
        seed=seed,
        steps_per_epoch=steps,
        progress=False,
    )


def _order(cell: Cell, grid: MutualGrid) -> int:
    if cell.is_independent:
        return peer_seed(grid, cell.group, cell.members[0].number)
    return order_seed(grid, cell.group)


def _peer(member: Member, group: int, grid: MutualGrid, arrays: Arrays) -> keras.Model:
    with precision(grid.precision):
        return build_model(
            member.model,
            arrays.inputs,
            arrays.table_sizes,
            embedding_dim=grid.embedding_dim,
            hidden_units=grid.hidden_units,
            embedding_l2=grid.embedding_l2,
            seed=peer_seed(grid, group, member.number),
        )


def _pretrained(needed: Cell, grid: MutualGrid, arrays: Arrays, place: Place) -> keras.Model:
    model = _peer(needed.members[0], needed.group, grid, arrays)
    model.embeddings.build(None)
    model.build_head()
    with np.load(place.weights_of(needed)) as weights:
        model.set_weights([weights[name] for name in weights.files])
    return model


def _save_weights(path: Path, model: keras.Model) -> None:
    with replacing_file(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, *model.get_weights())


def _predictions(models: list[keras.Model], rows: Rows) -> np.ndarray:
    return np.concatenate([click_probabilities(model, rows) for model in models], axis=1)


def figures(probabilities: np.ndarray, rows: Rows) -> dict[str, Any]:
    """Exact AUC and log loss of each peer, and of the mean of their probabilities.

    Args:
      probabilities: `[N, K]`.
      rows: that they are of.
    """
    of_peers = [_metrics(probabilities[:, peer], rows) for peer in range(probabilities.shape[1])]
    mean = {"mean_of_peers": _metrics(probabilities.mean(axis=1), rows)} if len(of_peers) > 1 else {}
    return {"peers": of_peers, **mean}


def _metrics(probability: np.ndarray, rows: Rows) -> dict[str, float | None]:
    label = np.asarray(rows.label)
    found = {"auc": auc(label, probability), "logloss": logloss(label, probability)}
    if rows.truth is not None:
        # What these scores have on labels drawn anew, on average.
        found["expected_auc"] = auc(np.asarray(rows.truth), probability)
    return found


def oracle(rows: Rows) -> dict[str, float | None]:
    """Figures of the true probabilities; none where nobody knows them."""
    return {} if rows.truth is None else _metrics(np.asarray(rows.truth, np.float64), rows)
