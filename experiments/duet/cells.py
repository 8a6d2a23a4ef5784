"""The cells of a grid: what each trains, on what data, and in which order they come."""

from dataclasses import dataclass

from experiments.duet.grid import PARTS, DuetGrid, methods_of
from experiments.duet.methods import method_of, tuned_as
from experiments.places import Place
from experiments.world_grid import DEFAULT


@dataclass(frozen=True)
class Cell:
    """One training, whose result is one file.

    Args:
      place: its data.
      method: a key of `METHODS`.
      learning_rate: that is tried; None: the one that tuning chose.
    """

    place: Place
    method: str
    learning_rate: float | None = None

    @property
    def name(self) -> str:
        """Of its file."""
        tried = "" if self.learning_rate is None else f"-lr_{self.learning_rate:g}"
        return f"{self.place.name}-{self.method}{tried}"

    def needs(self, grid: DuetGrid) -> list["Cell"]:
        """The cells by which its learning rate is chosen."""
        if self.learning_rate is not None or len(grid.learning_rates) == 1:
            return []
        method = tuned_as(self.method)
        return [tuning(method, rate, seed) for seed in grid.tuning_seeds for rate in grid.learning_rates]

    def work(self) -> float:
        """How much, in models that are trained."""
        return float(len(method_of(self.method).outputs) or 1)


def tuning(method: str, rate: float, seed: int) -> Cell:
    """A cell that tries a learning rate."""
    return Cell(Place(DEFAULT, seed), method, rate)


def cells_of(grid: DuetGrid) -> list[Cell]:
    """All cells of a grid, what others need first; part by part, and in each seed by seed."""
    wanted: list[Cell] = []
    for part in PARTS:
        for seed in range(1, grid.seeds + 1):
            for variant in grid.variants(part).values():
                wanted += [Cell(Place(variant, seed), method) for method in methods_of(grid.rows(part))]
    return list(dict.fromkeys(each for cell in wanted for each in (*cell.needs(grid), cell)))
