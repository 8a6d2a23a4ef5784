"""Keys of rows: numbers that are equal where keys are, and hashes that are the same on every machine."""

import zlib
from collections.abc import Sequence

import numpy as np

from transforms.arrow import pa, pc
from transforms.features import MISSING_INT
from transforms.splits import mixed_bits

IDENTITY = "_identity"
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def key_codes(tables: Sequence[tuple[pa.Table, Sequence[str]]]) -> list[np.ndarray]:
    """A number for each row's key, equal where keys are, in all tables; -1 where a part of the key is missing.

    Args:
      tables: with the columns that make the key.
    """
    lengths = [table.num_rows for table, _ in tables]
    codes = np.zeros(sum(lengths), np.int64)
    for names in zip(*(names for _, names in tables), strict=True):
        columns = [_column(table, name) for (table, _), name in zip(tables, names, strict=True)]
        typed = next((column.type for column in columns if column.null_count < len(column)), columns[0].type)
        chunks = [chunk for column in columns for chunk in column.cast(typed).chunks]
        indices, values = _encoded(pa.chunked_array(chunks, typed))
        codes = np.where((codes < 0) | (indices < 0), -1, codes * max(len(values), 1) + indices)
        if len(tables[0][1]) > 1:
            present = codes >= 0
            codes[present] = np.unique(codes[present], return_inverse=True)[1]
    return np.split(codes, np.cumsum(lengths)[:-1])


def key_hashes(
    table: pa.Table, columns: Sequence[str], seed: int = 0, otherwise: Sequence[str] = ("_file", "_row")
) -> np.ndarray:
    """A hash of each row's key, uint64 [n].

    Args:
      table: the rows.
      columns: of the key; none: it is missing everywhere.
      seed: another one gives other hashes.
      otherwise: columns of integers, hashed where a part of the key is missing; default: the place of the row.
    """
    start = np.uint64((seed * 0xD1B54A32D192ED03 + 1) % (1 << 64))
    with np.errstate(over="ignore"):
        hashes = np.full(table.num_rows, start)
        missing = np.full(table.num_rows, not columns)
        for name in columns:
            indices, values = _encoded(_column(table, name))
            hashes = mixed_bits(hashes * _GOLDEN + np.append(_hashed(values), np.uint64(0))[indices])
            missing |= indices < 0
        if missing.any():
            places = np.full(int(missing.sum()), start)
            for name in otherwise:
                number = table[name].to_numpy()[missing].astype(np.uint64)
                places = mixed_bits(places * _GOLDEN + number)
            hashes[missing] = places
    return hashes


def text_hashes(texts: pa.Array) -> np.ndarray:
    """Hashes of texts, uint64 [n]; those of `null` are 0."""
    coded = texts.dictionary_encode()
    hashed = np.append(_hashed(coded.dictionary), np.uint64(0))
    return hashed[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]


def as_shares(hashes: np.ndarray) -> np.ndarray:
    """Hashes as numbers of 0 to 1, without 1."""
    shares: np.ndarray = (hashes >> np.uint64(11)) / float(1 << 53)
    return shares


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names or pa.types.is_null(table[name].type):
        return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    return table[name]


def _encoded(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Place of each value among the distinct ones, -1 where it is null or marked as missing, and these."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    coded = array.dictionary_encode()
    indices = coded.indices.fill_null(-1).to_numpy().astype(np.int64)
    if pa.types.is_integer(coded.dictionary.type):
        indices[np.isin(indices, np.flatnonzero(coded.dictionary.to_numpy() == MISSING_INT))] = -1
    else:
        empty = np.flatnonzero(pc.equal(pc.binary_length(coded.dictionary), 0).to_numpy(zero_copy_only=False))
        indices[np.isin(indices, empty)] = -1
    return indices, coded.dictionary


def _hashed(values: pa.Array) -> np.ndarray:
    if pa.types.is_integer(values.type):
        return mixed_bits(values.to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64))
    texts = values.cast(pa.binary()).to_pylist()
    return np.fromiter((zlib.crc32(text) for text in texts), np.uint64, len(texts))
