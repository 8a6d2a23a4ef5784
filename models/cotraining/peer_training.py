"""What recipes of several models have in common."""

from collections.abc import Sequence
from typing import Any

from models.cotraining.peers import PeerModel
from models.table_model import TableModel
from models.training.fit import FitResult


def build_peers(group: PeerModel) -> None:
    """Makes all variables of a group, as its first batch would."""
    group.build_variables()


def check_peers(models: Sequence[Any]) -> None:
    """Refuses what cannot be a peer.

    Raises:
      ValueError: a model whose table others cannot share.
    """
    for model in models:
        if not isinstance(model, TableModel):
            raise ValueError(
                f"{type(model).__name__} cannot be a peer; expected a TableModel, whose table peers can share; "
                "derive it from models.table_model.TableModel"
            )


def best_peer(result: FitResult, num_peers: int) -> int:
    """The peer with the least eval log loss, of the weights that are kept; the first one if nothing was evaluated."""
    return min(range(num_peers), key=lambda index: result.best.get(f"eval_logloss/peer_{index}", 0.0))
