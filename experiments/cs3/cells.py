"""The cells of a grid: what each trains, on what data, and in which order they come."""

import json
from dataclasses import dataclass
from pathlib import Path

from experiments.cs3.grid import PARTS, CS3Grid
from experiments.cs3.methods import tuned_as
from experiments.cs3.rates import best_rate, next_rate
from experiments.folder import cell_file
from experiments.places import Place
from experiments.world_grid import DEFAULT


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
    def method(self) -> str:
        """Backbone and method: cells of which take equally long."""
        return f"{self.backbone}-{self.variant}"

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.place.name}-{self.method}-lr_{self.learning_rate:g}"

    def needs(self, grid: CS3Grid) -> list["Cell"]:
        """None: rates are chosen before the cells that take them are listed."""
        return []


def cells_of(grid: CS3Grid, root: Path) -> list[Cell]:
    """All cells of a grid that are known yet: those that choose the rates, and those whose rates are chosen.

    Args:
      grid: what is run.
      root: the folder of the results, by which rates are chosen.
    """
    return [*tuning_cells(grid, root), *measured_cells(grid, root)]


def tuning_cells(grid: CS3Grid, root: Path) -> list[Cell]:
    """What chooses the learning rates of each method of each backbone.

    Each tries the grid's rates on all tuning seeds; where the best is the least or the greatest rate that was tried,
    the next one beyond it comes in, until the best lies between two others.
    """
    if not grid.is_tuned:
        return []
    ways = dict.fromkeys((backbone, tuned_as(method)) for part in PARTS for backbone, method in _ways(grid, part))
    return [
        Cell(Place(DEFAULT, seed), backbone, method, rate)
        for backbone, method in ways
        for rate in _rates(grid, root, backbone, method)
        for seed in grid.tuning_seeds
    ]


def measured_cells(grid: CS3Grid, root: Path) -> list[Cell]:
    """The cells whose results the page tells, part by part, and in each seed by seed."""
    found: list[Cell] = []
    for part in PARTS:
        for seed in range(1, grid.seeds + 1):
            for variant in grid.variants(part).values():
                place = Place(variant, seed)
                for backbone, method in _ways(grid, part):
                    tuned = _chosen_rate(grid, root, backbone, tuned_as(method))
                    rates = [tuned, grid.equal_rate if part == "main" else None]
                    found += [Cell(place, backbone, method, rate) for rate in rates if rate is not None]
    return list(dict.fromkeys(found))


def _ways(grid: CS3Grid, part: str) -> list[tuple[str, str]]:
    return [(backbone, method) for backbone in grid.backbones_of(part) for method in grid.methods(part)]


def _chosen_rate(grid: CS3Grid, root: Path, backbone: str, method: str) -> float | None:
    """None where it is not known yet."""
    if not grid.is_tuned:
        return grid.learning_rates[0]
    rates = _rates(grid, root, backbone, method)
    losses = _losses(grid, root, backbone, method, rates)
    return best_rate(losses) if len(losses) == len(rates) else None


def _rates(grid: CS3Grid, root: Path, backbone: str, method: str) -> list[float]:
    """Rates that a method tries, ascending."""
    rates = sorted(grid.learning_rates)
    while True:
        losses = _losses(grid, root, backbone, method, rates)
        beyond = next_rate(losses) if len(losses) == len(rates) else None
        if beyond is None:
            return rates
        rates = sorted([*rates, beyond])


def _losses(grid: CS3Grid, root: Path, backbone: str, method: str, rates: list[float]) -> dict[float, list[float]]:
    """Eval log loss by seed, of those rates that all tuning seeds have tried."""
    found = {}
    for rate in rates:
        files = [cell_file(root, Cell(Place(DEFAULT, seed), backbone, method, rate).name) for seed in grid.tuning_seeds]
        if all(file.is_file() for file in files):
            found[rate] = [float(json.loads(file.read_text())["monitored"]) for file in files]
    return found
