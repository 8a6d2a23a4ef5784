"""Reads Criteo's lines by chunks: parsed by Arrow in C++, checked whole, refused with line and field."""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import AsDict
from pyarrow import csv

from transforms.batches import Batch
from transforms.beam.import_dataset import ReadChunks
from transforms.beam.line_chunks import LineChunk, count_lines, line_chunks, lines_before, read_bytes
from transforms.errors import InputError
from transforms.features import SPLITS, Split
from transforms.sources.criteo_options import CATEGORIES, FIELDS, LABEL_FIELD, NUMBERS, CriteoOptions

_MOST_HEX_DIGITS = 16
_HEX = np.zeros(256, bool)
_HEX[np.frombuffer(b"0123456789abcdefABCDEF", np.uint8)] = True

_GOOD_NUMBER = re.compile(rb"(-?[0-9]{1,18})?")
_GOOD_CATEGORY = re.compile(rb"[0-9a-fA-F]{0,%d}" % _MOST_HEX_DIGITS)
_GOOD_LABEL = re.compile(rb"[01]")

Lines = Mapping[tuple[str, int], int]


class ReadCriteo(beam.PTransform):
    """Gives `(shard name, Batch | InputError)` of raw files.

    Args:
      files: paths with their split; None: split at random 8:1:1.
      options: chunk size, rows a shard, seed.
    """

    def __init__(self, files: list[tuple[Path, Split | None]], options: CriteoOptions):
        super().__init__()
        self._splits = {str(path): split for path, split in files}
        self._options = options

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        chunks = [chunk for path in self._splits for chunk in line_chunks(path, self._options.chunk_bytes)]
        created = root | "Chunks" >> beam.Create(chunks)
        lines = created | "CountLines" >> beam.Map(lambda chunk: ((chunk.path, chunk.index), count_lines(chunk)))
        reader = ChunkReader(self._splits, self._options)
        spread = created | "Spread" >> beam.Reshuffle()
        return spread | "Parse" >> beam.ParDo(ReadChunks(reader), AsDict(lines))


class ChunkReader:
    """Parses one chunk of lines.

    Args:
      splits: split of each path; None: at random by seed and line.
      options: seed and rows a shard.
    """

    def __init__(self, splits: Mapping[str, Split | None], options: CriteoOptions):
        self._splits, self._options = dict(splits), options
        self._order = {path: index for index, path in enumerate(self._splits)}

    def __call__(self, chunk: LineChunk, lines: Lines) -> Iterator[tuple[str, Batch]]:
        """Gives the chunk's batches; `lines` are the lines of every chunk, by path and index."""
        first = lines_before(chunk, lines)
        table = parse_lines(read_bytes(chunk), chunk.path, first)
        for piece, start in enumerate(range(0, table.num_rows, self._options.batch_rows)):
            rows = table.slice(start, self._options.batch_rows)
            ordinals = first + start + np.arange(rows.num_rows, dtype=np.int64)
            name = f"{self._order[chunk.path]}-{chunk.index:05d}-{piece:05d}"
            for split, mask in self._masks(chunk.path, ordinals):
                yield name, _batch(rows.filter(pa.array(mask)), ordinals[mask], Path(chunk.path).name, split)

    def _masks(self, path: str, ordinals: np.ndarray) -> Iterator[tuple[Split, np.ndarray]]:
        given = self._splits[path]
        if given is not None:
            yield given, np.ones(len(ordinals), bool)
            return
        chosen = random_splits(ordinals, self._options.seed)
        for index, split in enumerate(SPLITS):
            if (chosen == index).any():
                yield split, chosen == index


def random_splits(ordinals: np.ndarray, seed: int) -> np.ndarray:
    """Split number of each line, 0, 1, 2 for train, eval, test with odds 8:1:1, by seed and ordinal alone."""
    start = np.uint64(seed * 0xD1B54A32D192ED03 % (1 << 64))
    with np.errstate(over="ignore"):
        bits = (ordinals.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + start
        for multiplier in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):  # the finaliser of SplitMix64
            bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(multiplier)
    tenth = (bits ^ (bits >> np.uint64(31))) % np.uint64(10)
    return np.where(tenth < 8, 0, tenth.astype(np.int64) - 7)


def parse_lines(data: bytes, path: str, first_line: int) -> pa.Table:
    """Parses whole lines.

    Args:
      data: bytes of the lines.
      path: their file, for messages.
      first_line: lines of the file before these.

    Returns:
      Columns label and I1-I13 (int64, null where missing) and C1-C26 (binary, empty where missing).

    Raises:
      InputError: a line is malformed; file, line (from 1), field and value are named.
    """
    table = _parse_fast(data)
    if table is None:
        raise _first_fault(data, path, first_line)
    return table


def _parse_fast(data: bytes) -> pa.Table | None:
    """The parsed table, or None if anything is wrong with it."""
    types = {name: pa.int64() for name in (LABEL_FIELD, *NUMBERS)} | {name: pa.binary() for name in CATEGORIES}
    try:
        table = csv.read_csv(
            io.BytesIO(data),
            csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=FIELDS),
            csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=False, check_utf8=False),
        ).combine_chunks()
    except pa.ArrowInvalid:
        return None
    if table.num_rows != data.count(b"\n") + (not data.endswith(b"\n")):
        return None
    label = table[LABEL_FIELD]
    if label.null_count or not pc.all(pc.is_in(label, pa.array([0, 1]))).as_py():
        return None
    return table if all(_is_hex(table[name].chunk(0)) for name in CATEGORIES) else None


def _is_hex(column: pa.BinaryArray) -> bool:
    _, offset_buffer, values = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[column.offset : column.offset + len(column) + 1]
    if np.diff(offsets).max() > _MOST_HEX_DIGITS:
        return False
    if offsets[-1] == offsets[0]:
        return True
    return bool(_HEX[np.frombuffer(values, np.uint8)[offsets[0] : offsets[-1]]].all())


def _first_fault(data: bytes, path: str, first_line: int) -> InputError:
    lines = data.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, start=first_line + 1):
        fields = line.removesuffix(b"\r").split(b"\t")
        where, fix = f"{path}, line {number}", "repair or remove the line"
        if len(fields) != len(FIELDS):
            return InputError(where, f"{len(fields)} fields", "40 fields: label, I1-I13, C1-C26", fix)
        for name, value in zip(FIELDS, fields, strict=True):
            pattern, expected = _rule(name)
            if not pattern.fullmatch(value):
                return InputError(f"{where}, field {name}", repr(value)[1:], expected, fix)
    return InputError(path, "bytes that are not lines of text", "a tab-separated text file", "get the file again")


def _rule(name: str) -> tuple[re.Pattern[bytes], str]:
    if name == LABEL_FIELD:
        return _GOOD_LABEL, "0 or 1"
    if name in NUMBERS:
        return _GOOD_NUMBER, "an integer or nothing"
    return _GOOD_CATEGORY, f"1 to {_MOST_HEX_DIGITS} hex digits or nothing"


def _batch(rows: pa.Table, ordinals: np.ndarray, file_name: str, split: Split) -> Batch:
    empty = np.full(len(ordinals), b"", "S1")
    numbers = pa.array(ordinals + 1).cast(pa.string())
    columns = {
        "request_id": pc.binary_join_element_wise(pa.scalar(file_name), numbers, ":"),
        "user_id": empty,
        "item_id": empty,
        "timestamp": ordinals,
        "label": rows[LABEL_FIELD].to_numpy().astype(np.float32),
    }
    for name in NUMBERS:
        columns[name] = rows[name].to_numpy().astype(np.float32)
    for name in CATEGORIES:
        columns[name] = rows[name].combine_chunks()
    return Batch("row", split, columns)
