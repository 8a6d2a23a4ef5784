"""What is run: backbones, methods, seeds and settings of each part, as a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from experiments import results_file
from experiments.cs3.methods import BACKBONES, METHODS, decay_method
from experiments.grid_files import check_names, read_grid
from experiments.grid_runner import SIMULATED
from experiments.world_grid import Names, Study, WorldGrid

RESULTS_FILE = "cs3.json"
PARTS = ("main", "order", "sensitivity", "shuffled", "drift")


class CS3Grid(WorldGrid):
    """One grid.

    Args:
      name: of the grid.
      source: `simulated`, or the source of the dataset that it takes, as `consort data list` names it.
      world: of `simulated`: the name of a world that comes with the package, or parameters.
      requests: of a simulated log, of which each impression is a row.
      rows: of a dataset at most so many are read, from the start of each split; None reads all.
      seeds: 1 to so many: seed s is that of the world and of the weights.
      tuning_seeds: on which learning rates are chosen, by their mean eval log loss; none of the seeds.
      learning_rates: that each method of each backbone tries there, in the default world, and further ones where the
        best is the least or the greatest; one alone needs no tuning.
      equal_rate: at which each method of the main part is also trained; None: at its own rate alone.
      batch_size: rows a step.
      embedding_dim, hidden_units: of all models; the last width is that of the towers' vectors and of what the
        ranker shares.
      softmax_weight: of the softmax over a batch's items, beside the log loss.
      cut_off: k of the share of clicked items that are among the best k of the catalogue; None: not measured.
      cold_clicks: a user or an item with at most so many clicks in the train split is cold.
      noise: deviations of the noise on the towers' inputs, in deviations of those inputs.
      backbones: towers of the main part.
      studied: the backbone of the other parts.
      main: methods of every backbone.
      order: methods by which the order of reading and writing is tried.
      decays: alpha and beta of the part `sensitivity`.
      shuffled: methods by which the order of the train rows is tried.
      drift: worlds and methods of this part.
    """

    equal_rate: float | None = Field(default=None, gt=0)
    rows: int | None = Field(default=None, ge=20)
    batch_size: int = Field(default=256, ge=1)
    embedding_dim: int = Field(default=16, ge=1)
    hidden_units: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(128, 64), min_length=2)
    softmax_weight: float = Field(default=0.0, ge=0)
    cut_off: int | None = Field(default=None, ge=1)
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
        simulated = self.source == SIMULATED
        if simulated != (self.requests is not None):
            raise ValueError("requests is the length of a simulated log; give it there, and leave it out else")
        if simulated and self.rows is not None:
            raise ValueError("rows limits a dataset; a simulated log has requests; leave it out")
        check_names("backbones", (*self.backbones, self.studied), BACKBONES)
        if self.softmax_weight and "int_tower" in (*self.backbones, self.studied):
            raise ValueError("softmax_weight needs towers that are compared by a product; leave out int_tower, or it")
        for part in ("main", "order", "shuffled", "drift"):
            check_names(part, self.methods(part), METHODS)
        return self

    @property
    def is_tuned(self) -> bool:
        """Whether learning rates are chosen of several."""
        return len(self.learning_rates) > 1

    def studies(self) -> dict[str, Study]:
        return {"drift": self.drift}

    def methods(self, part: str) -> Names:
        """Methods of a part."""
        if part == "sensitivity":
            return tuple(decay_method(decay) for decay in self.decays)
        return self.drift.methods if part == "drift" else getattr(self, part)

    def backbones_of(self, part: str) -> Names:
        """Backbones of a part."""
        return self.backbones if part == "main" else (self.studied,)

    def all_methods(self) -> Names:
        """Of all parts, each once."""
        return tuple(dict.fromkeys(method for part in PARTS for method in self.methods(part)))

    def identity(self) -> dict[str, Any]:
        """What all cells depend on: all but the sizes of the parts."""
        extent = {"name", "seeds", "equal_rate", "backbones", "studied", "main", "order", "decays", "shuffled", "drift"}
        return self.model_dump(mode="json", exclude=extent)


def load_grid(path: str, changes: Mapping[str, Any] | None = None) -> CS3Grid:
    """Reads a grid; see `read_grid`."""
    return read_grid(CS3Grid, "cs3", path, changes)


def narrowed(
    grid: CS3Grid,
    methods: Names | None = None,
    seeds: int | None = None,
    parts: Names | None = None,
    backbones: Names | None = None,
) -> CS3Grid:
    """The grid with some of its methods, seeds, parts and backbones.

    Args:
      grid: the whole.
      methods: these alone.
      seeds: the first so many.
      parts: names of `PARTS`; the others are left out.
      backbones: these alone; the parts of the studied one are left out where it is not among them.

    Raises:
      InputError: an unknown name.
    """
    check_names("--part", parts or (), PARTS)
    check_names("--methods", methods or (), grid.all_methods())
    check_names("--backbones", backbones or (), dict.fromkeys((*grid.backbones, grid.studied)))

    def kept(part: str) -> Names:
        if (parts is not None and part not in parts) or not _some(grid.backbones_of(part), backbones):
            return ()
        return _some(grid.methods(part), methods)

    sensitivity = kept("sensitivity")
    return grid.model_copy(
        update={
            "seeds": seeds or grid.seeds,
            "backbones": _some(grid.backbones, backbones),
            "main": kept("main"),
            "order": kept("order"),
            "shuffled": kept("shuffled"),
            "decays": tuple(decay for decay in grid.decays if decay_method(decay) in sensitivity),
            "drift": grid.drift.model_copy(update={"methods": kept("drift")}),
        }
    )


def _some(names: Names, wanted: Names | None) -> Names:
    return tuple(name for name in names if wanted is None or name in wanted)


def read_results(folder: Path) -> dict[str, Any]:
    """Reads the results that a finished grid left in a folder; see `results_file.read_results`."""
    return results_file.read_results(folder / RESULTS_FILE, CS3Grid, "consort table cs3")
