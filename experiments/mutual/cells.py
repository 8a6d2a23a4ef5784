"""The cells of a grid: what each trains, from what, and in which order they come."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.mutual.grid import MutualGrid, Part, Phase

if TYPE_CHECKING:  # Rendering a page should not wait for TensorFlow.
    from models.cotraining.mutual_learning import MutualLoss

INDEPENDENT, INDEPENDENT_OTHER, MIXED = "independent", "independent_other_length", "mixed"
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
      number: from 0; peers of a number start and read the data in ways of their own.
    """

    model: str
    number: int


@dataclass(frozen=True)
class Cell:
    """One training, whose result is one file.

    Args:
      model: name of the class; `mixed` for a group of several.
      group: from 1.
      arm: name of one of `ARMS`.
      members: the peers: one of an independent run, K of others.
    """

    model: str
    group: int
    arm: str
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """Of its file."""
        if self.model == MIXED:
            return f"{'+'.join(member.model for member in self.members)}-{self.group}-{self.arm}"
        return f"{self.model}-{self.group}-{self.arm}" + (f"-{self.members[0].number}" if self.is_independent else "")

    @property
    def is_independent(self) -> bool:
        """Whether it trains one model, alone."""
        return self.arm in (INDEPENDENT, INDEPENDENT_OTHER)

    def needs(self) -> list["Cell"]:
        """The independent runs that it starts from."""
        arm = ARMS[self.arm]
        if not arm.pretrained:
            return []
        start = INDEPENDENT_OTHER if arm.other_length else INDEPENDENT
        return [independent(member, self.group, start) for member in self.members]

    def phase(self, grid: MutualGrid) -> Phase:
        """How it is fitted."""
        arm = ARMS[self.arm]
        if not arm.pretrained:
            changes = {"epochs": grid.other_epochs} if arm.other_length else {}
            return grid.pretraining.model_copy(update=changes)
        rate = grid.slow_rate if arm.slow else grid.finetuning.learning_rate
        epochs = grid.finetuning.epochs + arm.more_epochs
        return grid.finetuning.model_copy(update={"epochs": epochs, "learning_rate": rate})

    def peer_epochs(self, grid: MutualGrid) -> int:
        """How often all peers together see the training split."""
        return len(self.members) * self.phase(grid).epochs if ARMS[self.arm].trains else 0


def independent(member: Member, group: int, arm: str = INDEPENDENT) -> Cell:
    """The cell that pretrains a peer."""
    return Cell(member.model, group, arm, (member,))


def same_model(model: str, group: int, arm: str, peers: int) -> Cell:
    """A cell whose peers are of one class."""
    return Cell(model, group, arm, tuple(Member(model, number) for number in range(peers)))


def cells_of(grid: MutualGrid) -> list[Cell]:
    """All cells of a grid, what others need first, group by group."""
    wanted: list[Cell] = []
    for group in range(1, max(part.groups for part in _parts(grid)) + 1):
        wanted += _cells_of_group(grid, group)
    ordered = dict.fromkeys(each for cell in wanted for each in (*cell.needs(), cell))
    return list(ordered)


def _parts(grid: MutualGrid) -> tuple[Part, ...]:
    return grid.table_1, grid.table_2, grid.sizes, grid.controls


def _cells_of_group(grid: MutualGrid, group: int) -> Iterable[Cell]:
    table_1, table_2, sizes, controls = ([*part.models] if group <= part.groups else [] for part in _parts(grid))
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
        yield from (same_model(model, group, arm, peers) for arm, peers in arms.items())
    if table_2:
        yield Cell(MIXED, group, MIXED, tuple(Member(model, 0) for model in table_2))


def peer_seed(grid: MutualGrid, group: int, number: int) -> int:
    """The seed of a peer's run, as `MutualLearningRecipe` counts them up from that of the group's run."""
    return order_seed(grid, group) + number


def order_seed(grid: MutualGrid, group: int) -> int:
    """The seed of a group's run, and of the order in which it reads the data: the same in all its arms."""
    return grid.seed * 1_000_000 + group * 10_000
