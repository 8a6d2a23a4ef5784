"""Run a source's reader in Beam and write its dataset, whole or not at all."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam

from transforms.batches import Batch, ItemBatch
from transforms.beam.counting import ImportCounts
from transforms.beam.options import local_parts_folder, pipeline_options, shared_path
from transforms.beam.runners import LOCAL_ARGS, check_runner
from transforms.errors import InputError
from transforms.features import FeatureSet
from transforms.files import complete_file
from transforms.progress import progress
from transforms.records import Dataset, Items, load_dataset
from transforms.sources.base import Source
from transforms.writing import Unfinished, new_dataset, write_items, write_shard


class ReadChunks(beam.DoFn):
    """Calls a reader on each chunk of raw input; an InputError becomes an element.

    Beam's runners keep only the text of an exception, so an error that a user should read travels
    as data until `WriteShards` reports it.

    Args:
      read: from a chunk (and side inputs) to `(shard name, Batch)` or other pairs; pickled to the workers.
    """

    def __init__(self, read: Callable[..., Iterable[tuple[Any, Any]]]):
        self._read = read

    def process(self, chunk: Any, *side_inputs: Any) -> Iterator[tuple[Any, Any]]:
        try:
            yield from self._read(chunk, *side_inputs)
        except InputError as error:
            yield "error", error


class WriteShards(beam.DoFn):
    """Writes each `(name, Batch)` as one shard; leaves a notice as a file, and an InputError, with which it stops.

    Args:
      directory: the unfinished dataset, on a file system that workers and launcher share.
      feature_set, items: of the dataset.
    """

    def __init__(self, directory: str, feature_set: FeatureSet, items: Items | None = None):
        self._directory, self._feature_set, self._items = directory, feature_set, items

    def process(self, element: tuple[str, Batch | ItemBatch | InputError | str]) -> Iterator[int]:
        name, batch = element
        if isinstance(batch, str):
            self._leave("notice", batch)
            return
        if isinstance(batch, InputError):
            self._report(batch)
            raise batch
        try:
            if isinstance(batch, ItemBatch):
                if self._items is not None:
                    write_items(self._directory, name, batch, self._items, self._feature_set)
                return
            info = write_shard(self._directory, name, batch, self._feature_set)
        except InputError as error:
            self._report(error)
            raise
        if info is not None:
            yield info.records

    def _report(self, error: InputError) -> None:
        fields = [error.where, str(error.received), error.expected, error.fix]
        self._leave("error", fields)

    def _leave(self, kind: str, values: object) -> None:
        # Named by its content, so that a second try leaves it once.
        text = json.dumps(values)
        name = f"{kind}-{hashlib.sha256(text.encode()).hexdigest()}.json"
        with complete_file(Path(self._directory, name)) as temporary:
            temporary.write_text(text)


def _reported(kind: str, directory: str) -> list[Any]:
    """Takes what workers left, in an order that does not depend on them."""
    paths = list(Path(directory).glob(f"{kind}-*.json"))
    values = sorted(json.loads(path.read_text()) for path in paths)
    for path in paths:
        path.unlink()
    return values


def _phases(unfinished: Unfinished, parts: str | None) -> Callable[[], tuple[str, int, int | None]]:
    """Returns what `progress` asks for: reading, computing and writing by rows, then the records that are written."""
    counts = ImportCounts(parts)
    if parts is not None:
        counts.create()

    def poll() -> tuple[str, int, int | None]:
        phase = counts.phase()
        begun = phase is not None and (phase[0] != "writing" or phase[1] != phase[2])
        return phase if phase is not None and begun else ("importing", unfinished.records_written(), None)

    return poll


def import_dataset(
    source: Source,
    input_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    beam_args: Sequence[str] = LOCAL_ARGS,
) -> Dataset:
    """Imports raw files as records.

    Args:
      source: what to read.
      input_dir: folder of the raw files.
      out: the dataset's folder; must be new or empty.
      beam_args: Beam's options, e.g. `--direct_num_workers=2`.

    Returns:
      The dataset that was written.

    Raises:
      InputError: raw files are missing or malformed, a value is none that its column may have, `out` is in use, Beam
        does not know an option, or its runner cannot do the work; nothing is left behind.
    """
    options = pipeline_options(beam_args)
    source.check(input_dir)
    check_runner(beam_args)
    feature_set, items = source.feature_set(), source.item_tables()
    with new_dataset(out, source.name, feature_set, source.origin(input_dir), items) as unfinished:
        directory = str(unfinished.directory)
        try:
            with (
                local_parts_folder(options, directory) as parts,
                progress("importing", "records", _phases(unfinished, parts)),
                beam.Pipeline(options=options) as pipeline,
            ):
                read = pipeline | "Read" >> source.read(Path(shared_path(options, input_dir)))
                # Each by itself, so that an error is reported where it arises and not when all else is done.
                for number, batches in enumerate(read if isinstance(read, tuple) else (read,)):
                    _ = batches | f"Write{number}" >> beam.ParDo(WriteShards(directory, feature_set, items))
        except Exception as error:
            errors = _reported("error", directory)
            raise (InputError(*errors[0]) if errors else error) from error
        if notices := _reported("notice", directory):
            unfinished.notes["notices"] = notices
    return load_dataset(out)
