"""What is run: backbones, methods, seeds and settings of each part, as a YAML file."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from experiments.cs3.methods import BACKBONES, METHODS, decay_method
from experiments.grid_files import check_names, read_grid
from experiments.grid_runner import SIMULATED
from transforms.simulation.parameters import World, load_world

DEFAULT = "default"
"""Name of the world that the grid names, without changes."""
PARTS = ("main", "order", "sensitivity", "drift")
Names = tuple[str, ...]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Study(_Section):
    """Worlds that differ in one thing.

    Args:
      worlds: by name, in order, what each changes in the grid's world; one that changes nothing is that world.
      methods: that each of them is tried with.
    """

    worlds: dict[str, dict[str, Any]] = {}
    methods: Names = ()


class CS3Grid(_Section):
    """One grid.

    Args:
      name: of the grid.
      source: `simulated`, or the source of the dataset that it takes, as `consort data list` names it.
      world: of `simulated`: the name of a world that comes with the package, or parameters.
      requests: of a simulated log, of which each impression is a row.
      rows: of a dataset at most so many are read, from the start of each split; None reads all.
      seeds: 1 to so many: seed s is that of the world and of the weights.
      tuning_seed: on which learning rates are chosen; not among the seeds.
      learning_rates: that each method of each backbone tries there, in the default world; one alone needs no tuning.
      batch_size: rows a step.
      embedding_dim, hidden_units: of all models; the last width is that of the towers' vectors and of what the
        ranker shares.
      cold_clicks: a user or an item with at most so many clicks in the train split is cold.
      noise: deviations of the noise on the towers' inputs, in deviations of those inputs.
      backbones: towers of the main part.
      studied: the backbone of the other parts.
      main: methods of every backbone.
      order: methods by which the order of reading and writing is tried.
      decays: alpha and beta of the part `sensitivity`.
      drift: worlds and methods of this part.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    source: str = SIMULATED
    world: World | None = None
    requests: int | None = Field(default=None, ge=20)
    rows: int | None = Field(default=None, ge=20)
    seeds: int = Field(default=5, ge=1, le=100)
    tuning_seed: int = Field(default=1001, ge=0, lt=2**20)
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.001,), min_length=1)
    batch_size: int = Field(default=256, ge=1)
    embedding_dim: int = Field(default=16, ge=1)
    hidden_units: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(128, 64), min_length=2)
    cold_clicks: int = Field(default=3, ge=0)
    noise: tuple[Annotated[float, Field(gt=0)], ...] = ()
    backbones: Names = ("dssm",)
    studied: str = "dssm"
    main: Names = ()
    order: Names = ()
    decays: tuple[Annotated[float, Field(ge=0, le=1)], ...] = ()
    drift: Study = Study()

    @field_validator("world", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return load_world(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> "CS3Grid":
        simulated = self.source == SIMULATED
        if (self.world is None) == simulated:
            raise ValueError(f"world belongs to source {SIMULATED!r} alone; give it there, and leave it out else")
        if simulated != (self.requests is not None):
            raise ValueError("requests is the length of a simulated log; give it there, and leave it out else")
        if simulated and self.rows is not None:
            raise ValueError("rows limits a dataset; a simulated log has requests; leave it out")
        if 1 <= self.tuning_seed <= self.seeds:
            raise ValueError(f"tuning_seed {self.tuning_seed} is among the seeds 1 to {self.seeds}; choose another")
        check_names("backbones", (*self.backbones, self.studied), BACKBONES)
        for part, names in (("main", self.main), ("order", self.order), ("drift.methods", self.drift.methods)):
            check_names(part, names, METHODS)
        if self.drift.worlds and self.world is None:
            raise ValueError("drift has worlds; a dataset has none; leave it out")
        for variant in self.variants("drift").values():
            self.world_of(variant)
        return self

    def variants(self, part: str) -> dict[str, str]:
        """The worlds of a part: what the page calls them, and their names; of most parts only the default one."""
        if part != "drift":
            return {DEFAULT: DEFAULT}
        return {name: f"drift-{name}" if changes else DEFAULT for name, changes in self.drift.worlds.items()}

    def methods(self, part: str) -> Names:
        """Methods of a part."""
        if part == "sensitivity":
            return tuple(decay_method(decay) for decay in self.decays)
        return {"main": self.main, "order": self.order, "drift": self.drift.methods}[part]

    def backbones_of(self, part: str) -> Names:
        """Backbones of a part."""
        return self.backbones if part == "main" else (self.studied,)

    def all_methods(self) -> Names:
        """Of all parts, each once."""
        return tuple(dict.fromkeys(method for part in PARTS for method in self.methods(part)))

    def world_of(self, variant: str) -> World | None:
        """The world of a variant; None of a dataset."""
        if self.world is None or variant == DEFAULT:
            return self.world
        changes = self.drift.worlds[variant.removeprefix("drift-")]
        return World.model_validate({**self.world.model_dump(), **changes})

    def identity(self) -> dict[str, Any]:
        """What all cells depend on: all but the sizes of the parts."""
        extent = {"name", "seeds", "backbones", "studied", "main", "order", "decays", "drift"}
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
            "decays": tuple(decay for decay in grid.decays if decay_method(decay) in sensitivity),
            "drift": grid.drift.model_copy(update={"methods": kept("drift")}),
        }
    )


def _some(names: Names, wanted: Names | None) -> Names:
    return tuple(name for name in names if wanted is None or name in wanted)
