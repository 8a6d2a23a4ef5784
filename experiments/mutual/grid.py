"""What is run: the data, the models, the settings and the sizes of the parts, as a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from experiments import results_file
from experiments.grid_files import check_names, packaged_grids, read_grid
from simulation.parameters import ClickLogParameters

RESULTS_FILE = "mutual.json"
SIMULATED = "simulated"
Models = tuple[str, ...]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Phase(_Section):
    """How a model is fitted in one phase.

    Args:
      epochs: passes over the training split.
      learning_rate: at the start.
      decay_epochs: epochs in which the rate falls to a tenth, exponentially; None keeps it.
    """

    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    decay_epochs: float | None = Field(default=None, gt=0)


class Part(_Section):
    """Which models and how many groups a part of the grid has.

    Args:
      models: names of `models.registry`; none leaves the part out.
      groups: the first so many of the grid's groups.
    """

    models: Models = ()
    groups: int = Field(default=0, ge=0)


class MutualGrid(_Section):
    """One grid.

    Args:
      name: of the grid.
      source: `simulated`, or the source of the dataset that it takes, as `consort data list` names it.
      world: of `simulated`.
      rows: of `simulated`, all splits together.
      seed: of the data, its split, the initial weights and the orders of the data.
      preset: run file that the runs start from, by path or by the name of a preset; by the source if none is named.
      overrides: `key=value` over the preset, as `consort train --set` takes them; the keys below are set after these.
      peers: K.
      batch_size, embedding_dim, hidden_units, embedding_l2, precision: as in a run file, for all models alike.
      pretraining: of independent runs, and of peers that learn together from scratch.
      finetuning: of pretrained peers.
      slow_rate: the other learning rate of finetuning that `controls` tries.
      other_epochs: the other length of pretraining that `controls` tries.
      table_1: models x (independent, from scratch, pretrained and mutual), with finetuning alone and the ensemble.
      table_2: groups of one peer of each of these models, beside groups of one model.
      sizes: Tables 3 and 4: 2, 3 and 5 peers beside K.
      controls: losses, gradient through the peers, two epochs, the slow rate, the other length of pretraining.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    source: str = SIMULATED
    world: ClickLogParameters | None = None
    rows: int | None = Field(default=None, ge=100)
    seed: int = Field(default=1, ge=0, lt=2**31)
    preset: str | None = None
    overrides: tuple[str, ...] = ()
    peers: int = Field(default=4, ge=2)
    batch_size: int = Field(default=4000, ge=1)
    embedding_dim: int = Field(default=16, ge=1)
    hidden_units: tuple[Annotated[int, Field(ge=1)], ...] = (400, 200, 100)
    embedding_l2: float = Field(default=0.0, ge=0)
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    pretraining: Phase
    finetuning: Phase
    slow_rate: float = Field(gt=0)
    other_epochs: int = Field(ge=1)
    table_1: Part = Part()
    table_2: Part = Part()
    sizes: Part = Part()
    controls: Part = Part()

    @model_validator(mode="after")
    def _check(self) -> "MutualGrid":
        simulated = self.source == SIMULATED
        for name, value in (("world", self.world), ("rows", self.rows)):
            if (value is None) == simulated:
                raise ValueError(f"{name} belongs to source {SIMULATED!r} alone; give it there, and leave it out else")
        if self.table_2.models and len(self.table_2.models) < 2:
            raise ValueError("table_2 has one model; expected several: its groups are of different models")
        return self

    def models(self) -> Models:
        """All models of the grid."""
        parts = (self.table_1, self.table_2, self.sizes, self.controls)
        return tuple(dict.fromkeys(model for part in parts if part.groups for model in part.models))

    def identity(self) -> dict[str, Any]:
        """What all cells depend on: all but the sizes of the parts, and what some controls alone try."""
        extent = {"name", "table_1", "table_2", "sizes", "controls"}
        return self.model_dump(mode="json", exclude=extent | {"slow_rate", "other_epochs"})


def grids() -> dict[str, Path]:
    """Names and paths of the grids that come with the package."""
    return packaged_grids("mutual")


def load_grid(path: str, changes: Mapping[str, Any] | None = None) -> MutualGrid:
    """Reads a grid; see `read_grid`."""
    return read_grid(MutualGrid, "mutual", path, changes)


def narrowed(
    grid: MutualGrid, models: Models | None = None, groups: int | None = None, parts: Models | None = None
) -> MutualGrid:
    """The grid with some of its models, groups and parts.

    Args:
      grid: the whole.
      models: these alone; Table 2 needs all of its own.
      groups: at most so many in each part; Table 1 has exactly so many.
      parts: `table_1`, `table_2`, `sizes`, `controls`; the others are left out.

    Raises:
      InputError: an unknown name.
    """
    names = ("table_1", "table_2", "sizes", "controls")
    check_names("--part", parts or (), names)
    check_names("--models", models or (), grid.models())
    changes = {}
    for name in names:
        part: Part = getattr(grid, name)
        kept = tuple(model for model in part.models if models is None or model in models)
        size = part.groups if groups is None else groups if name == "table_1" else min(groups, part.groups)
        if (parts is not None and name not in parts) or (name == "table_2" and kept != part.models):
            kept, size = (), 0
        changes[name] = Part(models=kept, groups=size)
    return grid.model_copy(update=changes)


def read_results(folder: Path) -> dict[str, Any]:
    """Reads the results that a finished grid left in a folder; see `results_file.read_results`."""
    return results_file.read_results(folder / RESULTS_FILE, MutualGrid, "consort table mutual")
