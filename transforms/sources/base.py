"""What a data source is: raw files in, batches of records out."""

import importlib
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict

from transforms.features import FeatureSet, RecordKind
from transforms.records import Items

if TYPE_CHECKING:
    import apache_beam as beam


RANDOM_EXPOSURE = "random_exposure"
"""Key of `Source.origin`: names of the splits whose items were shown at random, so that no policy biases them."""


class SourceOptions(BaseModel):
    """Options of an import; unknown names are refused.

    Args:
      seed: accepted by every source; one that draws nothing at random does not read it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0


OptionsT = TypeVar("OptionsT", bound=SourceOptions)


class Source(ABC, Generic[OptionsT]):
    """A data source with its options: what its records hold, and how its raw files become records.

    To write one, derive a class, set the class attributes and implement `feature_set`, `check` and `read`; `origin`
    may add what else a reader of `dataset.json` wants to know. Name it by its import path, `package.module.Class`,
    in `consort data import` and in a run file; the working directory is importable. An installed package can give it
    a short name by an entry point of the group `consort.sources`.

        class Clicks(Source):
            name = "clicks"
            summary = "clicks in our shop; rows"
            licence = "ours"
            where = "the data lake"

            def feature_set(self):
                return FeatureSet(
                    columns=(Column(name="price", dtype="float", entity="item"),),
                    features=(Feature(name="item_id", encoding="id"), Feature(name="price", encoding="zscore")),
                )

            def check(self, input_dir):
                if not list(Path(input_dir).glob("*.csv")):
                    raise InputError(str(input_dir), "no csv file", "files of clicks", "correct --input")

            def read(self, input_dir):
                return beam.Create(sorted(Path(input_dir).glob("*.csv"))) | beam.ParDo(ReadChunks(read_file))

    where `read_file(path)` yields `(shard name, Batch("row", split, columns))` pairs. `columns` holds an array for
    each column of the `FeatureSet` and for the keys that every row has: `request_id`, `user_id`, `item_id`,
    `timestamp` and `label`.

    A source with more options derives from `Source[ItsOptions]`, a `SourceOptions`, and finds them as
    `self.options`.

    The sources that come with Consort are folders: `schema.py` holds the class and its options and imports nothing
    heavy; `read.py`, the `reader`, holds functions `check`, `read` and `origin` of `(input_dir, options)`.

    Class attributes:
      name: as on the command line.
      summary: one line.
      licence: what may be done with the data.
      where: where to get it.
      records: the record kinds that it gives; `("row",)` by default.
      Options: its `SourceOptions`, as in the brackets behind `Source`.
      reader: import path of the module that reads its files; empty where the class does it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    licence: ClassVar[str]
    where: ClassVar[str]
    records: ClassVar[tuple[RecordKind, ...]] = ("row",)
    Options: ClassVar[type[SourceOptions]] = SourceOptions
    reader: ClassVar[str] = ""

    def __init_subclass__(cls, **arguments: Any):
        super().__init_subclass__(**arguments)
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is Source and isinstance(get_args(base)[0], type):
                cls.Options = get_args(base)[0]
        package, _, module = cls.__module__.rpartition(".")
        if module == "schema" and package.startswith("transforms.sources."):
            cls.reader = f"{package}.read"

    def __init__(self, options: OptionsT | None = None):
        self.options: OptionsT = options if options is not None else self.Options()  # type: ignore[assignment]

    @abstractmethod
    def feature_set(self) -> FeatureSet:
        """The declaration that this source's records follow."""

    def item_tables(self) -> Items | None:
        """Returns which tables of items `read` gives beside the records, as `ItemBatch`; None: none."""
        return None

    def check(self, input_dir: str | os.PathLike[str]) -> None:
        """Looks at the raw files before anything is written: present, not empty, the expected columns.

        Raises:
          InputError: what is wrong and how to fix it.
        """
        self._reader.check(input_dir, self.options)

    def read(self, input_dir: str | os.PathLike[str]) -> "beam.PTransform":
        """Returns a root PTransform that gives `(shard name, Batch)` pairs, best by `transforms.beam` `ReadChunks`.

        It may give a tuple of PCollections; those with errors alone are reported at once.

        Shard names are unique per record kind and split, and a pure function of the input and the
        options, so that two imports of the same files are byte for byte the same.
        Malformed input gives `(name, InputError)` instead (`ReadChunks` does that).
        """
        return self._reader.read(input_dir, self.options)

    def origin(self, input_dir: str | os.PathLike[str]) -> dict[str, Any]:
        """Returns what `dataset.json` says of where the records came from: the options, and what `reader` adds."""
        more = self._reader.origin(input_dir, self.options) if self.reader else {}
        return {"source": self.name, "options": self.options.model_dump(mode="json"), **more}

    @property
    def _reader(self) -> Any:
        # Beam, Arrow and pandas are imported where files are read, not where a source is named.
        return importlib.import_module(self.reader)
