"""The grid of DUET: worlds, seeds, settings and methods of each part, as a YAML file; and its cells."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from experiments.duet.methods import METHODS, ROWS, SINGLE, lambda_method, method_of, source_of, tuned_as
from experiments.grid import DEFAULT, SIMULATED, Names, Place, Study, WorldGrid
from experiments.learning_rates import monitored_losses, rates_to_try
from transforms.features import RecordKind
from transforms.splits import SPLIT_ENDS

if TYPE_CHECKING:
    from runs.config import RunConfig

PARTS = (
    "main", "ablations", "lambda", "bias", "set_effect", "schedules", "cascade", "sizes", "sizes_set_effect",
)  # fmt: skip
_SEEDS_OF_A_RUN = 10
TRAIN_SHARE = SPLIT_ENDS[0]


class DuetGrid(WorldGrid):
    """The grid of DUET. The methods of its parts are rows of the table, several of which may come from one training.

    Args:
      requests: of a simulated log; of a dataset the requests to read at most, from the start of each split.
      epochs: at most; on logs of fewer requests as many as make the same number of steps, except to try a rate.
      patience: epochs without a lower eval log loss before training stops.
      width: of each attention stream of a set ranker; None: the model's default.
      main, ablations, schedules: rows of these parts.
      lambdas: consistency weights of the part `lambda`.
      bias, set_effect, cascade: worlds and rows of these parts.
      sizes, sizes_set_effect: learning curves: worlds that differ in their `requests`.
    """

    table: ClassVar[str] = "duet"
    presets: ClassVar[Mapping[str, str]] = {SIMULATED: "simulated_duet", "ebnerd": "ebnerd_duet"}
    extent: ClassVar[frozenset[str]] = frozenset(
        {"name", "seeds", "lambdas", *(part for part in PARTS if part != "lambda")}
    )
    parts: ClassVar[Names] = PARTS
    swept: ClassVar[tuple[str, str]] = ("lambda", "lambdas")
    record: ClassVar[RecordKind] = "request"

    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=8, ge=1)
    patience: int = Field(default=1, ge=1)
    width: int | None = Field(default=None, ge=1)
    main: Names = ()
    ablations: Names = ()
    schedules: Names = ()
    lambdas: tuple[float, ...] = ()
    bias: Study = Study()
    set_effect: Study = Study()
    cascade: Study = Study()
    sizes: Study = Study()
    sizes_set_effect: Study = Study()

    @model_validator(mode="after")
    def _check(self) -> "DuetGrid":
        if self.is_simulated and self.requests is None:
            raise ValueError("requests is missing; a simulated log needs their number")
        if any(weight < 0 for weight in self.lambdas):
            raise ValueError(f"lambdas are {self.lambdas}; expected weights of 0 or more")
        return self

    @property
    def most(self) -> int | None:
        return self.requests

    @staticmethod
    def known_methods() -> Iterable[str]:
        return (*METHODS, *ROWS)

    @staticmethod
    def swept_method(number: float) -> str:
        return lambda_method(number)

    def cell_config(
        self, source: str, requests: int, method: str, seed: int, learning_rate: float, is_tried: bool = False
    ) -> "RunConfig":
        """Returns the run file of a cell: a preset, the grid's sizes, and the model and recipe of the method.

        Args:
          source: of the dataset.
          requests: of its train split.
          method, seed, learning_rate: of the cell.
          is_tried: True if it only tries the rate: a rate for one pass is chosen by one pass.
        """
        chosen = method_of(method)
        outputs = {"outputs": chosen.outputs[0]} if chosen.outputs and chosen.outputs[0] > 1 else {}
        width = {"width": self.width} if self.width is not None and chosen.model == "set_ranker" else {}
        epochs = self.epochs if is_tried else self._epochs(requests)
        recipe, options = "single", dict[str, Any]()
        if chosen.baseline:
            recipe, options = "entire_space", {"method": chosen.baseline, "options": dict(chosen.options)}
        elif chosen.pair is not None:
            greatest = epochs * -(-requests // self.batch_size)
            steps = {
                "warmup_steps": round(chosen.warmup * greatest),
                "consistency_steps": round(chosen.schedule_share * greatest),
            }
            recipe, options = chosen.recipe, {**chosen.pair, **steps, "shared_backbone": len(chosen.outputs) == 1}
        values = {
            "seed": _SEEDS_OF_A_RUN * seed,
            "model.name": chosen.model,
            "model.options": {**width, **chosen.model_options, **outputs},
            "training.epochs": epochs,
            "training.patience": self.patience,
            "training.learning_rate": learning_rate,
            "recipe.name": recipe,
            "recipe.options": options,
        }
        return self.config(source, values)

    def _epochs(self, requests: int) -> int:
        if not self.is_simulated or self.requests is None:
            return self.epochs
        return max(self.epochs, round(self.epochs * self.requests * TRAIN_SHARE / requests))

    def base_config(self, source: str) -> "RunConfig":
        return self.cell_config(source, self.requests or 1, SINGLE, 1, self.learning_rates[0])


GRID = DuetGrid


@dataclass(frozen=True)
class Cell:
    """One training, whose result is one file.

    Args:
      place: its data.
      method: a key of `METHODS`.
      learning_rate: that is tried; None: the one that tuning chose.
      rates: those that tuning tried.
    """

    place: Place
    method: str
    learning_rate: float | None = None
    rates: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        return self.method

    @property
    def name(self) -> str:
        tried = "" if self.learning_rate is None else f"-lr_{self.learning_rate:g}"
        return f"{self.place.name}-{self.method}{tried}"

    def needs(self, grid: DuetGrid) -> list["Cell"]:
        """Returns the cells by which its learning rate is chosen."""
        return [] if self.learning_rate is not None else tuning_cells(grid, tuned_as(self.method), self.rates)

    def work(self, grid: DuetGrid) -> float:
        return float(grid.requests_of(self.place) or 1)


def tuning_cells(grid: DuetGrid, method: str, rates: Iterable[float]) -> list[Cell]:
    """Returns the cells that try learning rates of a method, on all tuning seeds."""
    if not grid.is_tuned:
        return []
    return [Cell(Place(DEFAULT, seed), method, rate) for rate in rates for seed in grid.tuning_seeds]


def cells_of(grid: DuetGrid, root: Path = Path()) -> list[Cell]:
    """Returns the cells of a grid that are known yet, what others need first; part by part, and in each seed by seed.

    A method is measured once its learning rate is chosen: that is, the best of the rates tried is neither the least
    nor the greatest.

    Args:
      grid: what is run.
      root: the folder of the results, by which rates are chosen.
    """
    wanted = dict.fromkeys(
        (Place(variant, seed), source_of(row)[0])
        for part in PARTS
        for seed in range(1, grid.seeds + 1)
        for variant in grid.variants(part).values()
        for row in grid.methods(part)
    )
    tuning: list[Cell] = []
    rates: dict[str, tuple[float, ...] | None] = {}
    for method in dict.fromkeys(tuned_as(method) for _, method in wanted):

        def losses(rate: float, method: str = method) -> list[float] | None:
            return monitored_losses(root, [cell.name for cell in tuning_cells(grid, method, [rate])])

        tried, best = rates_to_try(grid.learning_rates, losses)
        tuning += tuning_cells(grid, method, tried)
        rates[method] = None if best is None else tried
    measured = [(place, method, rates[tuned_as(method)]) for place, method in wanted]
    return [*tuning, *(Cell(place, method, None, tried) for place, method, tried in measured if tried is not None)]
