"""Grids: what a table runs, as YAML files that come with the package or are the user's."""

import json
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from simulation.parameters import World, load_world
from transforms.errors import InputError
from transforms.features import RecordKind
from transforms.import_path import nearest
from transforms.packages import PREFIX
from transforms.plain_text import parse_yaml

if TYPE_CHECKING:  # Rendering a page should not wait for TensorFlow.
    from runs.config import RunConfig

SIMULATED = "simulated"
DEFAULT = "default"
"""Name of the world that the grid names, without changes."""
Names = tuple[str, ...]
G = TypeVar("G", bound="Grid")


class Section(BaseModel):
    """A part of a grid's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Place(NamedTuple):
    """The data that cells share: a world by its name, and the seed of its log; a dataset is the same for all."""

    variant: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.variant}-{self.seed}"


def cell_file(root: Path, name: str) -> Path:
    """Returns the file of a cell's result in the folder of its grid."""
    return root / "cells" / f"{name}.json"


class Grid(Section):
    """What all grids have.

    Args:
      name: of the grid.
      source: `simulated`, or the source of the dataset that it takes, as `consort data list` names it.
      preset: run file that the runs start from, by path or by the name of a preset; None: by the source.
      overrides: `key=value` over the preset, as `consort train --set` takes them; the keys below are set after these.
      batch_size, embedding_dim, hidden_units: as in a run file, for all models alike.
    """

    table: ClassVar[str]
    """Name of the table that it is of."""
    presets: ClassVar[Mapping[str, str]]
    """The preset for each source; that for `simulated` serves sources that are not named."""
    extent: ClassVar[frozenset[str]]
    """Keys on which no cell depends: what is run, not how."""

    record: ClassVar[RecordKind] = "row"

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    source: str = SIMULATED
    preset: str | None = None
    overrides: tuple[str, ...] = ()
    batch_size: int = Field(default=256, ge=1)
    embedding_dim: int = Field(default=16, ge=1)
    hidden_units: tuple[Annotated[int, Field(ge=1)], ...] = (128, 64)

    @property
    def is_simulated(self) -> bool:
        """True if the grid makes its own logs."""
        return self.source == SIMULATED

    @property
    def most(self) -> int | None:
        """Records of a dataset to read at most; None: all."""
        return None

    def check_source(self, **simulated: Any) -> None:
        """Refuses values that belong to simulated logs alone on a dataset, or that lack on a simulated log."""
        for name, value in simulated.items():
            if (value is None) == self.is_simulated:
                raise ValueError(f"{name} belongs to source {SIMULATED!r} alone; give it there, and leave it out else")

    def identity(self) -> dict[str, Any]:
        """Returns what all cells depend on."""
        return self.model_dump(mode="json", exclude=set(self.extent))

    def config(self, source: str, values: Mapping[str, Any]) -> "RunConfig":
        """Returns the run file of a cell.

        Args:
          source: of its dataset.
          values: of the cell, by `section.key`.
        """
        from experiments.product import run_config

        sizes = {
            "name": self.name,
            "source": source,
            "model.embedding_dim": self.embedding_dim,
            "model.hidden_units": self.hidden_units,
            "training.batch_size": self.batch_size,
        }
        if not any(one.startswith("training.linear_start=") for one in self.overrides):
            # Methods are compared as their papers have them, on logs of any size.
            sizes["training.linear_start"] = False
        preset = self.preset or self.presets.get(source, self.presets[SIMULATED])
        return run_config(preset, self.overrides, {**sizes, **values})

    def base_config(self, source: str) -> "RunConfig":
        """Returns a run file by which the data is transformed for all cells."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its data is transformed")

    def simulate(self, folder: Path, place: Place) -> None:
        """Writes the simulated log of a place."""
        raise NotImplementedError(f"{type(self).__name__} has no simulated logs")

    def facts(self, cell: Any) -> dict[str, Any]:
        """Returns what the result of a cell must say besides its name to be that cell's."""
        return {}


REQUESTS = "requests"
"""What a world of a study may change besides parameters of the world: the number of requests in its log."""


class Study(Section):
    """A row of worlds, from weak to strong.

    Args:
      worlds: by name, in order, what each changes in the grid's world, or `requests` of its log; one that changes
        nothing is that world, and one that changes what one before it does, also in another study, is that one.
      methods: that each of them is tried with.
    """

    worlds: dict[str, dict[str, Any]] = {}
    methods: Names = ()


class WorldGrid(Grid):
    """A grid whose cells each have a world, or a dataset, a method and a seed.

    Args:
      world: of `simulated`: the name of a world that comes with the package, or parameters.
      requests: of a simulated log.
      seeds: seeds 1 to this number: seed s is that of the world, of the weights and of the order of the data.
      tuning_seeds: on which learning rates are chosen; none of the seeds. Results of earlier versions have one, as
        `tuning_seed`.
      tuning_requests: of the simulated logs of the tuning seeds; None: `requests`.
      learning_rates: that each method tries there, in the default world; one alone needs no tuning. Where the best is
        the least or the greatest one, those beyond it are tried, too.
    """

    parts: ClassVar[Names]
    swept: ClassVar[tuple[str, str]]
    """A part whose methods differ in a number, and the key with the numbers."""

    world: World | None = None
    requests: int | None = Field(default=None, ge=20)
    seeds: int = Field(default=5, ge=1, le=100)
    tuning_seeds: tuple[Annotated[int, Field(ge=0, lt=2**20)], ...] = Field(default=(1001,), min_length=1)
    tuning_requests: int | None = Field(default=None, ge=20)
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
        self.check_source(world=self.world)
        for seed in self.tuning_seeds:
            if 1 <= seed <= self.seeds:
                raise ValueError(f"tuning seed {seed} is among the seeds 1 to {self.seeds}; choose another")
        for part, study in self.studies().items():
            if study.worlds and self.world is None:
                raise ValueError(f"{part} has worlds; a dataset has none; leave it out")
            for variant in self.variants(part).values():
                self.world_of(variant)
                self._check_requests(variant)
        for part in self.parts:
            if part != self.swept[0]:
                check_names(part, self.methods(part), self.known_methods())
        return self

    @property
    def is_tuned(self) -> bool:
        """True if learning rates are chosen of several."""
        return len(self.learning_rates) > 1

    @staticmethod
    def known_methods() -> Iterable[str]:
        """Returns the names that parts may hold."""
        raise NotImplementedError

    @staticmethod
    def swept_method(number: float) -> str:
        """Returns the method of the swept part with a number."""
        raise NotImplementedError

    def studies(self) -> dict[str, Study]:
        """Returns the parts with worlds of their own."""
        values = {part: getattr(self, part, None) for part in self.parts}
        return {part: value for part, value in values.items() if isinstance(value, Study)}

    def methods(self, part: str) -> Names:
        """Returns the methods of a part."""
        if part == self.swept[0]:
            return tuple(map(self.swept_method, getattr(self, self.swept[1])))
        value: Any = getattr(self, part)
        return value.methods if isinstance(value, Study) else value

    def all_methods(self) -> Names:
        """Returns those of all parts, each once."""
        return tuple(dict.fromkeys(method for part in self.parts for method in self.methods(part)))

    def variants(self, part: str) -> dict[str, str]:
        """Returns the worlds of a part, their names by what the page calls them; of most parts only the default one."""
        study = self.studies().get(part)
        if study is None:
            return {DEFAULT: DEFAULT}
        return {name: self._variant(changes) for name, changes in study.worlds.items()}

    def _variant(self, changes: Mapping[str, Any]) -> str:
        """Returns the name of the data with these changes: that of the first study which has them."""
        same = (
            f"{part}-{name}"
            for part, study in self.studies().items()
            for name, other in study.worlds.items()
            if other == changes
        )
        return next(same) if changes else DEFAULT

    def changes_of(self, variant: str) -> dict[str, Any]:
        """Returns what a variant changes in the grid's world, and the `requests` of its log if it has others."""
        part, _, name = variant.partition("-")
        study = self.studies().get(part)
        return {} if study is None else study.worlds[name]

    def world_name(self, part: str, variant: str) -> str:
        """Returns what the page calls a world of a part."""
        return next(name for name, world in self.variants(part).items() if world == variant)

    def world_of(self, variant: str) -> World | None:
        """Returns the world of a variant; None of a dataset."""
        if self.world is None:
            return None
        changes = {key: value for key, value in self.changes_of(variant).items() if key != REQUESTS}
        return World.model_validate({**self.world.model_dump(), **changes}) if changes else self.world

    def requests_of(self, place: Place) -> int | None:
        """Returns the number of requests in the log of a place; None of a dataset that is read whole."""
        if place.seed in self.tuning_seeds and self.tuning_requests is not None:
            return self.tuning_requests
        requests: int | None = self.changes_of(place.variant).get(REQUESTS, self.requests)
        return requests

    def _check_requests(self, variant: str) -> None:
        requests = self.changes_of(variant).get(REQUESTS, 20)
        if not isinstance(requests, int) or requests < 20:
            raise ValueError(f"{variant} has requests {requests!r}; expected a whole number of 20 or more")

    def simulate(self, folder: Path, place: Place) -> None:
        from simulation.cascade_log import simulate

        world, requests = self.world_of(place.variant), self.requests_of(place)
        if world is not None and requests is not None:
            simulate(folder, world, requests, place.seed)

    def facts(self, cell: Any) -> dict[str, Any]:
        world, requests = self.world_of(cell.place.variant), self.requests_of(cell.place)
        facts: dict[str, Any] = {"world": None if world is None else world.model_dump(mode="json")}
        return facts if requests == self.requests else {**facts, REQUESTS: requests}

    def narrowed(self, methods: Names | None = None, seeds: int | None = None, parts: Names | None = None) -> Self:
        """Returns the grid with some of its methods, seeds and parts.

        Args:
          methods: the methods to keep; None: all.
          seeds: number of seeds, from 1 on; None: all.
          parts: names of `parts`; the others are left out; None: all.

        Raises:
          InputError: an unknown name.
        """
        check_names("--part", parts or (), self.parts)
        check_names("--methods", methods or (), self.all_methods())

        def kept(part: str) -> Names:
            wanted = parts is None or part in parts
            return tuple(name for name in self.methods(part) if wanted and (methods is None or name in methods))

        swept, key = self.swept
        changes: dict[str, Any] = {part: kept(part) for part in self.parts if part != swept}
        for part, study in self.studies().items():
            changes[part] = study.model_copy(update={"methods": kept(part)})
        numbers = kept(swept)
        changes[key] = tuple(number for number in getattr(self, key) if self.swept_method(number) in numbers)
        return self.model_copy(update={**changes, "seeds": seeds or self.seeds})


def packaged_grids(table: str) -> dict[str, Path]:
    """Returns the names and paths of the grids of a table that come with the package."""
    folder = Path(str(resources.files(f"{PREFIX}experiments") / "grids"))
    return {path.stem: path for path in sorted(folder.glob(f"{table}_*.yaml"))}


def read_grid(grid: type[G], path: str, changes: Mapping[str, Any] | None = None) -> G:
    """Reads a grid.

    Args:
      grid: its class.
      path: a YAML file, or the name of a grid that comes with the package.
      changes: values of keys, over the file's.

    Raises:
      InputError: no such file, not YAML, an unknown key, or a value out of its domain.
    """
    grids = packaged_grids(grid.table)
    file = Path(path) if Path(path).is_file() else grids.get(path)
    if file is None:
        raise InputError(
            f"--grid {path}", "no such file or grid", f"a file, or one of {', '.join(grids)}", nearest(path, grids)
        )
    try:
        values = parse_yaml(file.read_text())
        return grid.model_validate({**values, **(changes or {})})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "its keys together"
        raise InputError(f"{path}, {key}", repr(first["input"])[:100], first["msg"], "correct the grid") from error
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise InputError(path, f"text that is not a grid ({error})", "a YAML mapping", "correct the file") from error


def check_names(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuses names that are not known.

    Raises:
      InputError: an unknown one; the nearest known one is named.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise InputError(option, repr(name), f"one of {', '.join(known)}", nearest(name, known))


def read_results(grid: type[Grid], folder: Path) -> dict[str, Any]:
    """Reads the results that a finished grid left in a folder.

    Raises:
      InputError: there are none, or they are those of another version.
    """
    path = folder / f"{grid.table}.json"
    try:
        results: dict[str, Any] = json.loads(path.read_text())
        grid.model_validate(results["grid"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        text, expected = str(error).splitlines()[0], f"results of `consort table {grid.table}`"
        raise InputError(str(path), text, expected, "name their folder with --out") from error
    return results
