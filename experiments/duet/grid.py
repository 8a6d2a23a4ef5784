"""What is run: worlds, seeds, settings and methods of each part, as a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from experiments import results_file
from experiments.duet.methods import METHODS, ROWS, lambda_method, source_of
from experiments.grid_files import check_names, read_grid
from experiments.grid_runner import SIMULATED
from experiments.world_grid import Names, Study, WorldGrid

RESULTS_FILE = "duet.json"
PARTS = ("main", "ablations", "lambda", "bias", "set_effect", "schedules")


class DuetGrid(WorldGrid):
    """One grid.

    Args:
      name: of the grid.
      source: `simulated`, or the source of the dataset that it takes, as `consort data list` names it.
      world: of `simulated`: the name of a world that comes with the package, or parameters.
      requests: of a simulated log.
      seeds: 1 to so many: seed s is that of the world, of the weights and of the order of the data.
      tuning_seeds: on which learning rates are chosen; none of the seeds.
      learning_rates: that each method tries there, in the default world; one alone needs no tuning.
      preset: run file that the runs start from, by path or by the name of a preset; by the source if none is named.
      overrides: `key=value` over the preset, as `consort train --set` takes them; the keys below are set after these.
      batch_size: requests a step.
      epochs: at most.
      patience: epochs without a lower eval log loss before training stops.
      embedding_dim, hidden_units: of all models.
      main, ablations, schedules: rows of these parts.
      lambdas: consistency weights of the part `lambda`.
      bias, set_effect: worlds and methods of these parts.
    """

    preset: str | None = None
    overrides: tuple[str, ...] = ()
    batch_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=8, ge=1)
    patience: int = Field(default=1, ge=1)
    embedding_dim: int = Field(default=16, ge=1)
    hidden_units: tuple[Annotated[int, Field(ge=1)], ...] = (128, 64)
    main: Names = ()
    ablations: Names = ()
    schedules: Names = ()
    lambdas: tuple[Annotated[float, Field(ge=0)], ...] = ()
    bias: Study = Study()
    set_effect: Study = Study()

    @model_validator(mode="after")
    def _check(self) -> "DuetGrid":
        if self.source == SIMULATED and self.requests is None:
            raise ValueError("requests is missing; a simulated log needs their number")
        if self.source != SIMULATED and self.requests is not None:
            raise ValueError("requests is given; a dataset is read as a whole; leave it out, or import less")
        known = [*METHODS, *ROWS]
        for part in ("main", "ablations", "schedules"):
            check_names(part, getattr(self, part), known)
        for part, study in self.studies().items():
            check_names(f"{part}.methods", study.methods, known)
        return self

    def studies(self) -> dict[str, Study]:
        return {"bias": self.bias, "set_effect": self.set_effect}

    def rows(self, part: str) -> Names:
        """Rows of a part."""
        if part == "lambda":
            return tuple(lambda_method(weight) for weight in self.lambdas)
        return self.studies()[part].methods if part in self.studies() else getattr(self, part)

    def all_rows(self) -> Names:
        """Of all parts, each once."""
        return tuple(dict.fromkeys(row for part in PARTS for row in self.rows(part)))

    def identity(self) -> dict[str, Any]:
        """What all cells depend on: all but the sizes of the parts."""
        extent = {"name", "seeds", "main", "ablations", "schedules", "lambdas", "bias", "set_effect"}
        return self.model_dump(mode="json", exclude=extent)


def load_grid(path: str, changes: Mapping[str, Any] | None = None) -> DuetGrid:
    """Reads a grid; see `read_grid`."""
    return read_grid(DuetGrid, "duet", path, changes)


def narrowed(
    grid: DuetGrid, methods: Names | None = None, seeds: int | None = None, parts: Names | None = None
) -> DuetGrid:
    """The grid with some of its rows, seeds and parts.

    Args:
      grid: the whole.
      methods: rows, these alone.
      seeds: the first so many.
      parts: names of `PARTS`; the others are left out.

    Raises:
      InputError: an unknown name.
    """
    check_names("--part", parts or (), PARTS)
    check_names("--methods", methods or (), grid.all_rows())

    def kept(part: str) -> Names:
        if parts is not None and part not in parts:
            return ()
        return tuple(row for row in grid.rows(part) if methods is None or row in methods)

    changes: dict[str, Any] = {part: kept(part) for part in ("main", "ablations", "schedules")}
    lambdas = kept("lambda")
    changes["lambdas"] = tuple(weight for weight in grid.lambdas if lambda_method(weight) in lambdas)
    for part, study in grid.studies().items():
        changes[part] = study.model_copy(update={"methods": kept(part)})
    return grid.model_copy(update={**changes, "seeds": seeds or grid.seeds})


def methods_of(rows: Names) -> Names:
    """Methods that rows are measured from, each once."""
    return tuple(dict.fromkeys(source_of(row)[0] for row in rows))


def read_results(folder: Path) -> dict[str, Any]:
    """Reads the results that a finished grid left in a folder; see `results_file.read_results`."""
    return results_file.read_results(folder / RESULTS_FILE, DuetGrid, "consort table duet")
