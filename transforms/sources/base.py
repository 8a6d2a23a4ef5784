"""What a data source is: raw files in, batches of records out."""

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from transforms.features import FeatureSet, RecordKind

if TYPE_CHECKING:
    import apache_beam as beam


class SourceOptions(BaseModel):
    """Options of an import; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0


class Source(ABC):
    """A data source with its options.

    Class attributes:
      name: as on the command line.
      summary: one line.
      licence: what may be done with the data.
      where: where to get it.
      records: the record kinds that it gives.
      Options: its `SourceOptions`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    licence: ClassVar[str]
    where: ClassVar[str]
    records: ClassVar[tuple[RecordKind, ...]]
    Options: ClassVar[type[SourceOptions]] = SourceOptions

    def __init__(self, options: SourceOptions | None = None):
        self.options = options if options is not None else self.Options()

    @abstractmethod
    def feature_set(self) -> FeatureSet:
        """The declaration that this source's records follow."""

    @abstractmethod
    def check(self, input_dir: str | os.PathLike[str]) -> None:
        """Looks at the raw files before anything is written: present, not empty, right columns.

        Raises:
          InputError: what is wrong and how to fix it.
        """

    @abstractmethod
    def read(self, input_dir: str | os.PathLike[str]) -> "beam.PTransform":
        """A root PTransform that gives `(shard name, Batch)` pairs, best by `transforms.beam` `ReadChunks`.

        Shard names are unique per record kind and split, and a pure function of the input and the
        options, so that two imports of the same files are byte for byte the same.
        Malformed input gives `(name, InputError)` instead (`ReadChunks` does that).
        """

    def origin(self, input_dir: str | os.PathLike[str]) -> dict[str, Any]:
        """What `dataset.json` says of where the records came from."""
        return {"source": self.name, "options": self.options.model_dump(mode="json")}
