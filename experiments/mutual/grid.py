"""The grid of mutual learning: the data, the models, the settings and the sizes of the parts, as a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from experiments.grid import SIMULATED, Grid, Names, Place, Section, check_names
from simulation.parameters import ClickLogParameters

if TYPE_CHECKING:
    from runs.config import RunConfig

PARTS = ("table_1", "table_2", "sizes", "controls")


class Phase(Section):
    """Settings of a fit in one phase.

    Args:
      epochs: passes over the training split.
      learning_rate: at the start.
      decay_epochs: epochs in which the learning rate decays to a tenth, exponentially; None: constant.
    """

    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    decay_epochs: float | None = Field(default=None, gt=0)


class Part(Section):
    """Models and number of groups of a part of the grid.

    Args:
      models: names of `models.registry`; none leaves the part out.
      groups: number of the grid's groups, from the first.
    """

    models: Names = ()
    groups: int = Field(default=0, ge=0)


class MutualGrid(Grid):
    """The grid of mutual learning, whose cells are groups of peers, all on the same data.

    Args:
      world: of `simulated`.
      rows: of `simulated`, all splits together.
      seed: of the data, its split, the initial weights and the orders of the data.
      peers: K.
      embedding_l2, precision: as in a run file, for all models alike.
      pretraining: of independent runs, and of peers that learn together from scratch.
      finetuning: of pretrained peers.
      slow_rate: the other learning rate of finetuning that `controls` tries.
      other_epochs: the other length of pretraining that `controls` tries.
      table_1: models x (independent, from scratch, pretrained and mutual), with finetuning alone and the ensemble.
      table_2: groups of one peer of each of these models, beside groups of one model.
      sizes: Tables 3 and 4: 2, 3 and 5 peers beside K.
      controls: losses, gradient through the peers, two epochs, the slow rate, the other length of pretraining.
    """

    table: ClassVar[str] = "mutual"
    presets: ClassVar[Mapping[str, str]] = {
        SIMULATED: "simulated_ctr_deepfm", "criteo": "criteo_deepfm", "avazu": "avazu_deepfm"
    }  # fmt: skip
    extent: ClassVar[frozenset[str]] = frozenset({"name", *PARTS, "slow_rate", "other_epochs"})

    world: ClickLogParameters | None = None
    rows: int | None = Field(default=None, ge=100)
    seed: int = Field(default=1, ge=0, lt=2**31)
    peers: int = Field(default=4, ge=2)
    batch_size: int = Field(default=4000, ge=1)
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
        self.check_source(world=self.world, rows=self.rows)
        if self.table_2.models and len(self.table_2.models) < 2:
            raise ValueError("table_2 has one model; expected several: its groups are of different models")
        return self

    @property
    def place(self) -> Place:
        """The data of all cells."""
        return Place("default", self.seed)

    def models(self) -> Names:
        """Returns all models of the grid."""
        parts = [getattr(self, part) for part in PARTS]
        return tuple(dict.fromkeys(model for part in parts if part.groups for model in part.models))

    def simulate(self, folder: Path, place: Place) -> None:
        from simulation.ctr_log import simulate

        if self.world is not None and self.rows is not None:
            simulate(folder, self.world, self.rows, place.seed)

    def config(self, source: str, values: Mapping[str, Any]) -> "RunConfig":
        training = {"training.embedding_l2": self.embedding_l2, "training.precision": self.precision}
        return super().config(source, {**training, **values})

    def base_config(self, source: str) -> "RunConfig":
        return self.config(source, {})

    def facts(self, cell: Any) -> dict[str, Any]:
        return cell.phase(self).model_dump(mode="json")

    def narrowed(self, models: Names | None = None, groups: int | None = None, parts: Names | None = None) -> Self:
        """Returns the grid with some of its models, groups and parts.

        Args:
          models: the models to keep; Table 2 needs all of its models. None: all.
          groups: number of groups at most in each part; Table 1 has exactly this number. None: all.
          parts: names of `PARTS`; the others are left out; None: all.

        Raises:
          InputError: an unknown name.
        """
        check_names("--part", parts or (), PARTS)
        check_names("--models", models or (), self.models())
        changes = {}
        for name in PARTS:
            part: Part = getattr(self, name)
            kept = tuple(model for model in part.models if models is None or model in models)
            size = part.groups if groups is None else groups if name == "table_1" else min(groups, part.groups)
            if (parts is not None and name not in parts) or (name == "table_2" and kept != part.models):
                kept, size = (), 0
            changes[name] = Part(models=kept, groups=size)
        return self.model_copy(update=changes)


GRID = MutualGrid
