"""The cells of a grid: what each trains, on what data, and in which order they come."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10
from pathlib import Path
from statistics import fmean

from experiments.cs3.grid import PARTS, CS3Grid
from experiments.cs3.methods import tuned_as
from experiments.grid import DEFAULT, Place, cell_file

TUNED, EQUAL = "tuned", "equal"
RATES = (TUNED, EQUAL)
"""Each method at the learning rate that tuning chose for it, and all at one rate."""
_LEAST, _GREATEST = 1e-5, 0.1
Losses = Mapping[float, Sequence[float]]
"""Eval log loss by learning rate, one for each tuning seed."""


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
        for rate in _rates(grid, root, backbone, method)
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
                    tuned = _chosen_rate(grid, root, backbone, tuned_as(method))
                    rates = [tuned, grid.equal_rate if part == "main" else None]
                    cells += [Cell(place, backbone, method, rate) for rate in rates if rate is not None]
    return list(dict.fromkeys(cells))


def _pairs(grid: CS3Grid, part: str) -> list[tuple[str, str]]:
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
    losses = {}
    for rate in rates:
        files = [cell_file(root, Cell(Place(DEFAULT, seed), backbone, method, rate).name) for seed in grid.tuning_seeds]
        if all(file.is_file() for file in files):
            losses[rate] = [float(json.loads(file.read_text())["monitored"]) for file in files]
    return losses


def best_rate(losses: Losses) -> float:
    """Returns the rate with the least mean loss; of several the least rate."""
    return min(sorted(losses), key=lambda rate: fmean(losses[rate]))


def next_rate(losses: Losses) -> float | None:
    """Returns the rate beyond an end that was best; None where the best lies between two others."""
    best = best_rate(losses)
    for end, up in ((max(losses), True), (min(losses), False)):
        if best == end:
            beyond = neighbor(best, up)
            return beyond if _LEAST <= beyond <= _GREATEST else None
    return None


def neighbor(rate: float, up: bool) -> float:
    """Returns the next rate above or below one, of the series 0.001, 0.003, 0.01, and so on."""
    exponent = floor(log10(rate))
    series = [float(f"{digit}e{power}") for power in range(exponent - 1, exponent + 2) for digit in (1, 3)]
    if up:
        return min(value for value in series if value > rate * (1 + 1e-9))
    return max(value for value in series if value < rate * (1 - 1e-9))
