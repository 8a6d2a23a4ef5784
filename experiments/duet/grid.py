"""What is run: worlds, seeds, settings and methods of each part, as a YAML file."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from experiments.duet.methods import METHODS, ROWS, lambda_method, source_of
from experiments.grid_files import check_names, read_grid
from transforms.simulation.parameters import World, load_world

SIMULATED = "simulated"
DEFAULT = "default"
"""Name of the world that the grid names, without changes."""
PARTS = ("main", "ablations", "lambda", "bias", "set_effect", "schedules")
Names = tuple[str, ...]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Study(_Section):
    """A row of worlds, from weak to strong.

    Args:
      worlds: by name, in order, what each changes in the grid's world; one that changes nothing is that world.
      methods: that each of them is tried with.
    """

    worlds: dict[str, dict[str, Any]] = {}
    methods: Names = ()


class DuetGrid(_Section):
    """One grid.

    Args:
      name: of the grid.
      source: `simulated`, or the source of the dataset that it takes, as `consort data list` names it.
      world: of `simulated`: the name of a world that comes with the package, or parameters.
      requests: of a simulated log; of a dataset at most so many are read, None reads all.
      seeds: 1 to so many: seed s is that of the world, of the weights and of the order of the data.
      tuning_seed: on which learning rates are chosen; not among the seeds.
      learning_rates: that each method tries there, in the default world; one alone needs no tuning.
      batch_size: requests a step.
      epochs: at most.
      patience: epochs without a lower eval log loss before training stops.
      embedding_dim, hidden_units: of all models.
      main, ablations, schedules: rows of these parts.
      lambdas: consistency weights of the part `lambda`.
      bias, set_effect: worlds and methods of these parts.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    source: str = SIMULATED
    world: World | None = None
    requests: int | None = Field(default=None, ge=20)
    seeds: int = Field(default=5, ge=1, le=100)
    tuning_seed: int = Field(default=1001, ge=0, lt=2**20)
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.001,), min_length=1)
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

    @field_validator("world", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return load_world(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> "DuetGrid":
        if (self.world is None) == (self.source == SIMULATED):
            raise ValueError(f"world belongs to source {SIMULATED!r} alone; give it there, and leave it out else")
        if self.source == SIMULATED and self.requests is None:
            raise ValueError("requests is missing; a simulated log needs their number")
        if 1 <= self.tuning_seed <= self.seeds:
            raise ValueError(f"tuning_seed {self.tuning_seed} is among the seeds 1 to {self.seeds}; choose another")
        known = [*METHODS, *ROWS]
        for part in ("main", "ablations", "schedules"):
            check_names(part, getattr(self, part), known)
        for part, study in self.studies().items():
            check_names(f"{part}.methods", study.methods, known)
            if study.worlds and self.world is None:
                raise ValueError(f"{part} has worlds; a dataset has none; leave it out")
            for variant in self.variants(part).values():
                self.world_of(variant)
        return self

    def studies(self) -> dict[str, Study]:
        """Parts with worlds of their own."""
        return {"bias": self.bias, "set_effect": self.set_effect}

    def variants(self, part: str) -> dict[str, str]:
        """The worlds of a part: what the page calls them, and their names; of most parts only the default one."""
        study = self.studies().get(part)
        if study is None:
            return {DEFAULT: DEFAULT}
        return {name: f"{part}-{name}" if changes else DEFAULT for name, changes in study.worlds.items()}

    def rows(self, part: str) -> Names:
        """Rows of a part."""
        if part == "lambda":
            return tuple(lambda_method(weight) for weight in self.lambdas)
        return self.studies()[part].methods if part in self.studies() else getattr(self, part)

    def all_rows(self) -> Names:
        """Of all parts, each once."""
        return tuple(dict.fromkeys(row for part in PARTS for row in self.rows(part)))

    def world_of(self, variant: str) -> World | None:
        """The world of a variant; None of a dataset."""
        if self.world is None or variant == DEFAULT:
            return self.world
        part, _, name = variant.partition("-")
        study = self.studies().get(part)
        changes = {} if study is None else study.worlds[name]
        return World.model_validate({**self.world.model_dump(), **changes})

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
