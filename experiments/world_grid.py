"""What grids over simulated worlds, or over one dataset, have in common."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from experiments.grid_runner import SIMULATED
from simulation.parameters import World, load_world

DEFAULT = "default"
"""Name of the world that the grid names, without changes."""
Names = tuple[str, ...]


class Section(BaseModel):
    """A part of a grid's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Study(Section):
    """A row of worlds, from weak to strong.

    Args:
      worlds: by name, in order, what each changes in the grid's world; one that changes nothing is that world.
      methods: that each of them is tried with.
    """

    worlds: dict[str, dict[str, Any]] = {}
    methods: Names = ()


class WorldGrid(Section):
    """A grid whose cells each have a world, or a dataset, and a seed.

    Args:
      name: of the grid.
      source: `simulated`, or the source of the dataset that it takes, as `consort data list` names it.
      world: of `simulated`: the name of a world that comes with the package, or parameters.
      requests: of a simulated log.
      seeds: 1 to so many: seed s is that of the world and of the weights.
      tuning_seeds: on which learning rates are chosen; none of the seeds. Results of earlier versions have one, as
        `tuning_seed`.
      learning_rates: that each method tries there, in the default world; one alone needs no tuning.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    source: str = SIMULATED
    world: World | None = None
    requests: int | None = Field(default=None, ge=20)
    seeds: int = Field(default=5, ge=1, le=100)
    tuning_seeds: tuple[Annotated[int, Field(ge=0, lt=2**20)], ...] = Field(default=(1001,), min_length=1)
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.001,), min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _one_tuning_seed(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "tuning_seed" not in values or "tuning_seeds" in values:
            return values
        others = {key: value for key, value in values.items() if key != "tuning_seed"}
        return {"tuning_seeds": [values["tuning_seed"]], **others}

    @field_validator("world", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return load_world(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_worlds(self) -> Self:
        if (self.world is None) == (self.source == SIMULATED):
            raise ValueError(f"world belongs to source {SIMULATED!r} alone; give it there, and leave it out else")
        for seed in self.tuning_seeds:
            if 1 <= seed <= self.seeds:
                raise ValueError(f"tuning seed {seed} is among the seeds 1 to {self.seeds}; choose another")
        for part, study in self.studies().items():
            if study.worlds and self.world is None:
                raise ValueError(f"{part} has worlds; a dataset has none; leave it out")
            for variant in self.variants(part).values():
                self.world_of(variant)
        return self

    def studies(self) -> dict[str, Study]:
        """Parts with worlds of their own."""
        return {}

    def variants(self, part: str) -> dict[str, str]:
        """The worlds of a part: what the page calls them, and their names; of most parts only the default one."""
        study = self.studies().get(part)
        if study is None:
            return {DEFAULT: DEFAULT}
        return {name: f"{part}-{name}" if changes else DEFAULT for name, changes in study.worlds.items()}

    def world_of(self, variant: str) -> World | None:
        """The world of a variant; None of a dataset."""
        if self.world is None or variant == DEFAULT:
            return self.world
        part, _, name = variant.partition("-")
        study = self.studies().get(part)
        changes = {} if study is None else study.worlds[name]
        return World.model_validate({**self.world.model_dump(), **changes})
