"""The cells of a grid: what each trains, on what data, and in which order they come."""

from dataclasses import dataclass
from pathlib import Path

from experiments.cs3.grid import PARTS, CS3Grid
from experiments.cs3.methods import tuned_as
from experiments.grid import DEFAULT, Place
from experiments.learning_rates import monitored_losses, rates_to_try

TUNED, EQUAL = "tuned", "equal"
RATES = (TUNED, EQUAL)
"""Each method at the learning rate that tuning chose for it, and all at one rate."""


@dataclass(frozen=True)
class Cell:
    """One training, whose result is one file.

    Args:
      place: its data.
      backbone: of `BACKBONES`.
      variant: a method, as `method_of` knows it.
      learning_rate: of towers and ranker.
    """

    place: Place
    backbone: str
    variant: str
    learning_rate: float

    @property
    def kind(self) -> str:
        return f"{self.backbone}-{self.variant}"

    @property
    def name(self) -> str:
        return f"{self.place.name}-{self.kind}-lr_{self.learning_rate:g}"

    def needs(self, grid: CS3Grid) -> list["Cell"]:
        """Returns none: rates are chosen before the cells that take them are known."""
        return []

    def work(self, grid: CS3Grid) -> float:
        return 1.0


def cells_of(grid: CS3Grid, root: Path) -> list[Cell]:
    """Returns all cells of a grid that are known yet: those that choose the rates, and those whose rates are chosen.

    Args:
      grid: what is run.
      root: the folder of the results, by which rates are chosen.
    """
    return [*tuning_cells(grid, root), *measured_cells(grid, root)]


def tuning_cells(grid: CS3Grid, root: Path) -> list[Cell]:
    """Returns the cells that choose the learning rates of each method of each backbone.

    Each tries the grid's rates on all tuning seeds; where the best is the least or the greatest rate that was tried,
    the next one beyond it comes in, until the best lies between two others.
    """
    if not grid.is_tuned:
        return []
    pairs = dict.fromkeys((backbone, tuned_as(method)) for part in PARTS for backbone, method in _pairs(grid, part))
    return [
        Cell(Place(DEFAULT, seed), backbone, method, rate)
        for backbone, method in pairs
        for rate in _rates(grid, root, backbone, method)[0]
        for seed in grid.tuning_seeds
    ]


def measured_cells(grid: CS3Grid, root: Path) -> list[Cell]:
    """Returns the cells whose results the page shows, part by part, and in each seed by seed."""
    cells: list[Cell] = []
    for part in PARTS:
        for seed in range(1, grid.seeds + 1):
            for variant in grid.variants(part).values():
                place = Place(variant, seed)
                for backbone, method in _pairs(grid, part):
                    _, tuned = _rates(grid, root, backbone, tuned_as(method))
                    rates = [tuned, grid.equal_rate if part == "main" else None]
                    cells += [Cell(place, backbone, method, rate) for rate in rates if rate is not None]
    return list(dict.fromkeys(cells))


def _pairs(grid: CS3Grid, part: str) -> list[tuple[str, str]]:
    return [(backbone, method) for backbone in grid.backbones_of(part) for method in grid.methods(part)]


def _rates(grid: CS3Grid, root: Path, backbone: str, method: str) -> tuple[tuple[float, ...], float | None]:
    """Returns the rates that a method tries, and the best of them; None where it is not known yet."""

    def losses(rate: float) -> list[float] | None:
        cells = [Cell(Place(DEFAULT, seed), backbone, method, rate) for seed in grid.tuning_seeds]
        return monitored_losses(root, [cell.name for cell in cells])

    return rates_to_try(grid.learning_rates, losses)
