"""The cells of a grid: what each trains, on what data, and in which order they come."""

from dataclasses import dataclass

from experiments.cs3.grid import PARTS, CS3Grid
from experiments.cs3.methods import tuned_as
from experiments.places import Place
from experiments.world_grid import DEFAULT


@dataclass(frozen=True)
class Cell:
    """One training, whose result is one file.

    Args:
      place: its data.
      backbone: of `BACKBONES`.
      variant: a method, as `method_of` knows it.
      learning_rate: that is tried; None: the one that tuning chose.
    """

    place: Place
    backbone: str
    variant: str
    learning_rate: float | None = None

    @property
    def method(self) -> str:
        """Backbone and method: cells of which take equally long."""
        return f"{self.backbone}-{self.variant}"

    @property
    def name(self) -> str:
        """Of its file."""
        tried = "" if self.learning_rate is None else f"-lr_{self.learning_rate:g}"
        return f"{self.place.name}-{self.method}{tried}"

    def needs(self, grid: CS3Grid) -> list["Cell"]:
        """The cells by which its learning rate is chosen."""
        if self.learning_rate is not None or len(grid.learning_rates) == 1:
            return []
        place = Place(DEFAULT, grid.tuning_seed)
        return [Cell(place, self.backbone, tuned_as(self.variant), rate) for rate in grid.learning_rates]


def cells_of(grid: CS3Grid) -> list[Cell]:
    """All cells of a grid, what others need first; part by part, and in each seed by seed."""
    wanted: list[Cell] = []
    for part in PARTS:
        for seed in range(1, grid.seeds + 1):
            for variant in grid.variants(part).values():
                place = Place(variant, seed)
                wanted += [
                    Cell(place, backbone, method)
                    for backbone in grid.backbones_of(part)
                    for method in grid.methods(part)
                ]
    return list(dict.fromkeys(each for cell in wanted for each in (*cell.needs(grid), cell)))
