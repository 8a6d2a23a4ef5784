"""The grid of CS3: backbones, methods, seeds and settings of each part, as a YAML file."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from evaluation.catalogue import CUT_OFFS
from experiments.cs3.methods import BACKBONES, BASE, METHODS, decay_method, method_of
from experiments.grid import SIMULATED, Names, Study, WorldGrid, check_names

if TYPE_CHECKING:
    from runs.config import RunConfig

PARTS = ("main", "order", "sensitivity", "shuffled", "drift")
_SEEDS_OF_A_RUN = 10


class CS3Grid(WorldGrid):
    """The grid of CS3, whose cells are backbones with parts of CS3.

    Args:
      rows: rows of a dataset to read at most, from the start of each split; None: all.
      equal_rate: learning rate at which each method of the main part is also trained; None: at its tuned rate alone.
      hidden_units: the last width is that of the towers' vectors and of what the ranker shares.
      softmax_weight: of the softmax over a batch's items, beside the log loss.
      cut_off: k of the share of clicked items that are among the best k of the catalogue; None: not measured.
      cold_clicks: greatest number of clicks in the train split with which a user or an item is cold.
      noise: deviations of the noise on the towers' inputs, in deviations of those inputs.
      backbones: towers of the main part.
      studied: the backbone of the other parts.
      main: methods of every backbone.
      order: methods by which the order of reading and writing is tried.
      decays: alpha and beta of the part `sensitivity`.
      shuffled: methods by which the order of the train rows is tried.
      drift: worlds and methods of this part.

    Learning rates are also tried beyond `learning_rates`, where the best is the least or the greatest.
    """

    table: ClassVar[str] = "cs3"
    presets: ClassVar[Mapping[str, str]] = {SIMULATED: "simulated_cs3", "movielens": "movielens_cs3"}
    extent: ClassVar[frozenset[str]] = frozenset(
        {"name", "seeds", "equal_rate", "backbones", "studied", "main", "order", "decays", "shuffled", "drift"}
    )
    parts: ClassVar[Names] = PARTS
    swept: ClassVar[tuple[str, str]] = ("sensitivity", "decays")

    equal_rate: float | None = Field(default=None, gt=0)
    rows: int | None = Field(default=None, ge=20)
    hidden_units: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(128, 64), min_length=2)
    softmax_weight: float = Field(default=0.0, ge=0)
    cut_off: int | None = None
    cold_clicks: int = Field(default=3, ge=0)
    noise: tuple[Annotated[float, Field(gt=0)], ...] = ()
    backbones: Names = ("dssm",)
    studied: str = "dssm"
    main: Names = ()
    order: Names = ()
    decays: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    shuffled: Names = ()
    drift: Study = Study()

    @model_validator(mode="after")
    def _check(self) -> "CS3Grid":
        self.check_source(requests=self.requests)
        if self.is_simulated and self.rows is not None:
            raise ValueError("rows limits a dataset; a simulated log has requests; leave it out")
        check_names("backbones", (*self.backbones, self.studied), BACKBONES)
        if self.softmax_weight and "int_tower" in (*self.backbones, self.studied):
            raise ValueError("softmax_weight needs towers that are compared by a product; leave out int_tower, or it")
        if self.cut_off is not None and self.cut_off not in CUT_OFFS:
            raise ValueError(f"cut_off is {self.cut_off}; expected one of {', '.join(map(str, CUT_OFFS))}")
        return self

    @property
    def most(self) -> int | None:
        return self.rows

    @staticmethod
    def known_methods() -> Iterable[str]:
        return METHODS

    @staticmethod
    def swept_method(number: float) -> str:
        return decay_method(number)

    def backbones_of(self, part: str) -> Names:
        """Returns the backbones of a part."""
        return self.backbones if part == "main" else (self.studied,)

    def cell_config(
        self, source: str, backbone: str, method: str, seed: int, learning_rate: float, **recipe: Any
    ) -> "RunConfig":
        """Returns the run file of a cell: a preset, the grid's sizes, and the parts of CS3 that the method has.

        Args:
          source: of the dataset.
          backbone, method, seed, learning_rate: of the cell.
          **recipe: further keys of the section `recipe`.
        """
        parts = method_of(method)
        options = {
            "cts": parts.cts,
            "cms": parts.cms,
            "alpha": parts.decay,
            "beta": parts.decay,
            "leaky": parts.leaky,
            "softmax_weight": self.softmax_weight,
        }
        values = {
            "seed": _SEEDS_OF_A_RUN * seed,
            "model.name": backbone,
            "model.options": {"cycle_adaptive": ["user", "item"]} if parts.cas else {},
            "training.learning_rate": learning_rate,
            "recipe.name": recipe.pop("name", "cs3"),
            "recipe.options": {**options, **recipe},
        }
        return self.config(source, values)

    def base_config(self, source: str) -> "RunConfig":
        return self.cell_config(source, self.studied, BASE, 1, self.learning_rates[0])

    def narrowed(
        self,
        methods: Names | None = None,
        seeds: int | None = None,
        parts: Names | None = None,
        backbones: Names | None = None,
    ) -> "CS3Grid":
        """Returns the grid with some of its methods, seeds, parts and backbones; see `WorldGrid.narrowed`.

        Args:
          backbones: the backbones to keep; the parts of the studied one are left out where it is not among them.
        """
        check_names("--backbones", backbones or (), dict.fromkeys((*self.backbones, self.studied)))
        grid = super().narrowed(methods, seeds, parts)
        if backbones is None:
            return grid
        if self.studied not in backbones:
            grid = grid.narrowed(parts=("main",))
        kept = tuple(name for name in grid.backbones if name in backbones)
        return grid.model_copy(update={"backbones": kept, "main": grid.main if kept else ()})


GRID = CS3Grid
