"""Options, columns and files that sources share."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from transforms.errors import InputError
from transforms.features import Column, Encoding, Feature, RecordKind, Vocabulary
from transforms.sources.base import SourceOptions
from transforms.sources.text_format import DType, TextFormat

Entity = Literal["user", "context", "item"]


class RecordOptions(SourceOptions):
    """Options of a source of both record kinds.

    Args:
      records: which record kinds to write.
    """

    records: tuple[RecordKind, ...] = ("row", "request")

    @field_validator("records", mode="before")
    @classmethod
    def _one_or_more(cls, records: object) -> object:
        return (records,) if isinstance(records, str) else records

    @field_validator("records")
    @classmethod
    def _some_records(cls, records: tuple[RecordKind, ...]) -> tuple[RecordKind, ...]:
        if not records:
            raise ValueError("at least one of row, request")
        return records


class LineOptions(SourceOptions):
    """Options of a source whose lines are rows.

    Args:
      seed: of the random split of a train file that comes alone.
      splits: how a train file that comes alone is split: `random` 8:1:1 by seed and line, or `time`: the
        first 80 % of its lines are `train`, the next 10 % `eval`, the last 10 % `test`.
      frequency_threshold: a token seen less often in the training split is out of vocabulary.
      chunk_bytes: raw bytes read at once by one worker; bounds its memory.
      batch_rows: rows in a shard at most.
    """

    splits: Literal["random", "time"] = "random"
    frequency_threshold: int = Field(default=1, ge=1)
    chunk_bytes: int = Field(default=32 << 20, ge=1, le=1 << 30)
    batch_rows: int = Field(default=50_000, ge=1)


class RowOptions(SourceOptions):
    """Options of a source of rows with histories.

    Args:
      history_length: events of a user's history kept, the most recent ones.
      frequency_threshold: ids seen less often in the training split are out of vocabulary.
    """

    history_length: int = Field(default=50, ge=1, le=50)
    frequency_threshold: int = Field(default=1, ge=1)


def history_column(name: str, dtype: Literal["int64", "string"], length: int) -> Column:
    """A list of what a user did before, most recent last."""
    return Column(name=name, dtype=dtype, entity="user", variable_length=True, max_length=length)


def simulated_columns(exposed_items: int) -> tuple[Column, ...]:
    """What a simulated logging cascade did with an item, and the truth about it; never inputs of a model.

    Args:
      exposed_items: items shown in a request.
    """
    return (
        Column(name="stage", dtype="int64", entity="item", min_value=0, max_value=3, model_input=False),
        Column(name="position", dtype="int64", entity="item", min_value=0, max_value=exposed_items, model_input=False),
        Column(name="logging_score", dtype="float", entity="item", model_input=False),
        Column(
            name="true_click_probability",
            dtype="float",
            entity="item",
            min_value=0.0,
            max_value=1.0,
            model_input=False,
        ),
    )


def columns(names: Iterable[str], dtype: DType, entity: Entity, **more: Any) -> tuple[Column, ...]:
    """Columns that differ in their names alone; `more` are other arguments of `Column`."""
    return tuple(Column(name=name, dtype=dtype, entity=entity, **more) for name in names)


def field_columns(
    text_format: TextFormat, names: Iterable[str], entity: Entity, prefix: str = ""
) -> tuple[Column, ...]:
    """Columns of some fields of a raw table; `prefix` goes before their names."""
    return tuple(Column(name=prefix + name, dtype=text_format.fields[name].dtype, entity=entity) for name in names)


def features(names: Iterable[str], encoding: Encoding = Encoding.ID, vocabulary: str = "") -> tuple[Feature, ...]:
    """Features that differ in their names alone, each of the column of its name."""
    return tuple(Feature(name=name, encoding=encoding, vocabulary=vocabulary) for name in names)


def vocabularies(
    names: Iterable[str], frequency_threshold: int, hash_buckets: int | None = None
) -> tuple[Vocabulary, ...]:
    """Vocabularies that differ in their names alone."""
    return tuple(
        Vocabulary(name=name, frequency_threshold=frequency_threshold, hash_buckets=hash_buckets) for name in names
    )


def numbered(name: str, count: int) -> tuple[str, ...]:
    """Names of the columns that hold the first members of a list: `tag_1`, `tag_2` and so on."""
    return tuple(f"{name}_{number}" for number in range(1, count + 1))


def existing_folder(input_dir: str | os.PathLike[str], expected: str) -> Path:
    """The folder of raw files.

    Raises:
      InputError: there is none.
    """
    folder = Path(input_dir)
    if not folder.is_dir():
        raise InputError(str(folder), "no such directory", f"a directory with {expected}", "correct --input")
    return folder


def required_file(folder: Path, names: Iterable[str], expected: str, fix: str = "get the file") -> Path:
    """The first of some names that is a file of the folder.

    Raises:
      InputError: none is; the files that are there are named.
    """
    names = tuple(names)
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        names_there = ", ".join(sorted(path.name for path in folder.iterdir())[:12]) or "an empty directory"
        raise InputError(str(folder), f"no {' or '.join(names)} among {names_there}", expected, fix)
    return path
