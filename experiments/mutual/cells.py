"""The cells of a grid: what each trains, what it starts from, and the order in which they come."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.grid import Place
from experiments.mutual.grid import PARTS, MutualGrid, Phase

if TYPE_CHECKING:  # Rendering a page should not wait for TensorFlow.
    from models.cotraining.mutual_learning import MutualLoss

INDEPENDENT, INDEPENDENT_OTHER, MIXED = "independent", "independent_other_length", "mixed"
_OVERHEAD_PASSES = 0.5
SIZES = {"peers_2": 2, "peers_3": 3, "peers_5": 5}
"""Group sizes of Tables 3 and 4 beside K."""


@dataclass(frozen=True)
class Arm:
    """A way to train a group.

    Args:
      pretrained: peers start from their independent runs.
      mutual_weight, loss, stop_gradient: as in `MutualLearning`.
      slow: the other learning rate of finetuning.
      other_length: the other length of pretraining.
      more_epochs: beyond those of its phase.
      trains: False only averages the predictions of pretrained peers.
    """

    pretrained: bool = True
    mutual_weight: float = 1.0
    loss: "MutualLoss" = "mse"
    stop_gradient: bool = True
    slow: bool = False
    other_length: bool = False
    more_epochs: int = 0
    trains: bool = True


ARMS: dict[str, Arm] = {
    INDEPENDENT: Arm(pretrained=False, mutual_weight=0.0),
    "scratch": Arm(pretrained=False),
    "mutual": Arm(),
    "finetune_only": Arm(mutual_weight=0.0),
    "ensemble": Arm(trains=False),
    MIXED: Arm(),
    "logit_mse": Arm(loss="logit_mse"),
    "symmetric_kl": Arm(loss="symmetric_kl"),
    "no_stop_gradient": Arm(stop_gradient=False),
    "two_epochs": Arm(more_epochs=1),
    "finetune_only_two_epochs": Arm(mutual_weight=0.0, more_epochs=1),
    "mutual_slow": Arm(slow=True),
    "finetune_only_slow": Arm(mutual_weight=0.0, slow=True),
    INDEPENDENT_OTHER: Arm(pretrained=False, mutual_weight=0.0, other_length=True),
    "mutual_other_length": Arm(other_length=True),
    "finetune_only_other_length": Arm(mutual_weight=0.0, other_length=True),
    **{name: Arm() for name in SIZES},
}
MAIN_ARMS = ("mutual", "finetune_only", "ensemble", "scratch")
CONTROL_ARMS = (
    "finetune_only", "logit_mse", "symmetric_kl", "no_stop_gradient",
    "two_epochs", "finetune_only_two_epochs", "mutual_slow", "finetune_only_slow",
    "mutual_other_length", "finetune_only_other_length",
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Member:
    """One peer of a group.

    Args:
      model: name of its class.
      number: from 0; peers of different numbers have other initial weights and read the data in other orders.
    """

    model: str
    number: int


@dataclass(frozen=True)
class Cell:
    """One training, whose result is one file.

    Args:
      place: its data.
      model: name of the class; `mixed` for a group of several.
      group: from 1.
      arm: name of one of `ARMS`.
      members: the peers: one of an independent run, K of others.
    """

    place: Place
    model: str
    group: int
    arm: str
    members: tuple[Member, ...]

    @property
    def kind(self) -> str:
        return self.model

    @property
    def name(self) -> str:
        if self.model == MIXED:
            return f"{'+'.join(member.model for member in self.members)}-{self.group}-{self.arm}"
        return f"{self.model}-{self.group}-{self.arm}" + (f"-{self.members[0].number}" if self.is_independent else "")

    @property
    def is_independent(self) -> bool:
        """True if it trains one model, alone."""
        return self.arm in (INDEPENDENT, INDEPENDENT_OTHER)

    def needs(self, grid: MutualGrid) -> list["Cell"]:
        """Returns the independent runs that it starts from."""
        arm = ARMS[self.arm]
        if not arm.pretrained:
            return []
        start = INDEPENDENT_OTHER if arm.other_length else INDEPENDENT
        return [independent(grid, member, self.group, start) for member in self.members]

    def phase(self, grid: MutualGrid) -> Phase:
        """Returns how it is fitted."""
        arm = ARMS[self.arm]
        if not arm.pretrained:
            changes = {"epochs": grid.other_epochs} if arm.other_length else {}
            return grid.pretraining.model_copy(update=changes)
        rate = grid.slow_rate if arm.slow else grid.finetuning.learning_rate
        epochs = grid.finetuning.epochs + arm.more_epochs
        return grid.finetuning.model_copy(update={"epochs": epochs, "learning_rate": rate})

    def work(self, grid: MutualGrid) -> float:
        """Returns the passes over the training split of all peers together, and half a pass for what comes besides."""
        return _OVERHEAD_PASSES + (len(self.members) * self.phase(grid).epochs if ARMS[self.arm].trains else 0)


def independent(grid: MutualGrid, member: Member, group: int, arm: str = INDEPENDENT) -> Cell:
    """Returns the cell that pretrains a peer."""
    return Cell(grid.place, member.model, group, arm, (member,))


def cells_of(grid: MutualGrid, root: Path = Path()) -> list[Cell]:
    """Returns all cells of a grid, what others need first, group by group."""
    groups = range(1, max(getattr(grid, part).groups for part in PARTS) + 1)
    cells = [cell for group in groups for cell in _cells_of_group(grid, group)]
    return list(dict.fromkeys(each for cell in cells for each in (*cell.needs(grid), cell)))


def _cells_of_group(grid: MutualGrid, group: int) -> Iterable[Cell]:
    parts = [getattr(grid, part) for part in PARTS]
    table_1, table_2, sizes, controls = (part.models if group <= part.groups else () for part in parts)
    for model in grid.models():
        arms: dict[str, int] = {}
        if model in table_1:
            arms |= dict.fromkeys(MAIN_ARMS, grid.peers)
        if model in table_2 or model in sizes:
            arms["mutual"] = grid.peers
        if model in controls:
            arms |= dict.fromkeys(("mutual", *CONTROL_ARMS), grid.peers)
        if model in sizes:
            arms |= {name: size for name, size in SIZES.items() if size != grid.peers}
        for arm, peers in arms.items():
            yield Cell(grid.place, model, group, arm, tuple(Member(model, number) for number in range(peers)))
    if table_2:
        yield Cell(grid.place, MIXED, group, MIXED, tuple(Member(model, 0) for model in table_2))


def peer_seed(grid: MutualGrid, group: int, number: int) -> int:
    """Returns the seed of a peer's run, as `MutualLearningRecipe` counts them up from that of the group's run."""
    return order_seed(grid, group) + number


def order_seed(grid: MutualGrid, group: int) -> int:
    """Returns the seed of a group's run, and of the order in which it reads the data: the same in all its arms."""
    return grid.seed * 1_000_000 + group * 10_000
