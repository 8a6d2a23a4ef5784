"""Vocabularies counted in columns: whole batches of tokens at a time, in C++ by Arrow.

TFT's own vocabulary sends every distinct token of every batch through Beam as a separate element;
here a batch is one element, which is what makes a vocabulary of tens of millions of tokens cheap.
"""

import os
import uuid
from collections.abc import Iterable

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam

from transforms.arrow import pa, pc
from transforms.features import Vocabulary

_COMPACT_ROWS = 2_000_000
_EMPTY_VOCABULARY = b"\x01no token reached the threshold\x01"
"""A table cannot be loaded from an empty file; no real token is this one."""

Counts = list[pa.Table]


def learn_vocabulary(tokens: tf.Tensor, vocabulary: Vocabulary) -> tf.Tensor:
    """The file of a vocabulary, learned from the analyzed split: a token a line, by falling frequency.

    Equal counts are ordered by token. Tokens with line breaks are left out (they cannot stand in the
    file). The distinct tokens must fit into one worker's memory (about 100 bytes each); larger vocabularies
    should hash (`Vocabulary.hash_buckets`).

    Args:
      tokens: string [n], real tokens of a batch.
      vocabulary: its `frequency_threshold`, `top_k` and name.

    Returns:
      A deferred file name, for `tft.apply_vocabulary`.
    """
    (path,) = tft.experimental.ptransform_analyzer(
        inputs=[tokens],
        ptransform=_Vocabulary(vocabulary),
        output_dtypes=[tf.string],
        output_shapes=[[]],
        output_asset_default_values=[_EMPTY_VOCABULARY],
        name=f"vocabulary_{vocabulary.name}",
    )
    return path


class _Vocabulary(tft_beam.experimental.PTransformAnalyzer):
    def __init__(self, vocabulary: Vocabulary):
        super().__init__()
        self._vocabulary = vocabulary

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        path = os.path.join(self.base_temp_dir, self._vocabulary.name, self._vocabulary.name)
        return (
            batches
            | "Tokens" >> beam.Map(lambda arrays: np.asarray(arrays[0]))
            | "Count" >> beam.CombineGlobally(CountTokens())
            | "Write" >> beam.Map(_write, self._vocabulary, path)
        )


class CountTokens(beam.CombineFn):
    """Counts of tokens: arrays of bytes in, one Arrow table (token, count) out."""

    def create_accumulator(self) -> Counts:
        return []

    def add_input(self, accumulator: Counts, tokens: np.ndarray) -> Counts:
        if tokens.size:
            values = pc.value_counts(pa.array(tokens.reshape(-1), pa.binary()))
            accumulator.append(pa.table({"token": values.field(0), "count": values.field(1)}))
        return _bounded(accumulator)

    def merge_accumulators(self, accumulators: Iterable[Counts]) -> Counts:
        merged: Counts = []
        for accumulator in accumulators:
            merged = _bounded(merged + accumulator)
        return merged

    def compact(self, accumulator: Counts) -> Counts:
        return _compacted(accumulator)

    def extract_output(self, accumulator: Counts) -> pa.Table:
        compact = _compacted(accumulator)
        return (
            compact[0] if compact else pa.table({"token": pa.array([], pa.binary()), "count": pa.array([], pa.int64())})
        )


def ordered_tokens(counts: pa.Table, vocabulary: Vocabulary) -> list[bytes]:
    """The vocabulary: tokens that reach the threshold, the most frequent first, at most `top_k`."""
    tokens = counts["token"]
    breaks = pc.or_(pc.match_substring(tokens, "\n"), pc.match_substring(tokens, "\r"))
    kept = counts.filter(pc.and_(pc.greater_equal(counts["count"], vocabulary.frequency_threshold), pc.invert(breaks)))
    ordered = kept.take(pc.sort_indices(kept, [("count", "descending"), ("token", "ascending")]))
    names: list[bytes] = ordered["token"][: vocabulary.top_k].to_pylist()
    return names


def _write(counts: pa.Table, vocabulary: Vocabulary, path: str) -> bytes:
    tokens = ordered_tokens(counts, vocabulary) or [_EMPTY_VOCABULARY]
    tf.io.gfile.makedirs(os.path.dirname(path))
    # Renamed, so that a second try never meets half a file; the folder may be a bucket's.
    temporary = f"{path}.incomplete-{uuid.uuid4().hex}"
    with tf.io.gfile.GFile(temporary, "wb") as file:
        file.write(b"\n".join(tokens) + b"\n")
    tf.io.gfile.rename(temporary, path, overwrite=True)
    return path.encode()


def _bounded(accumulator: Counts) -> Counts:
    return _compacted(accumulator) if sum(map(len, accumulator[1:])) > _COMPACT_ROWS else accumulator


def _compacted(accumulator: Counts) -> Counts:
    if len(accumulator) < 2:
        return accumulator
    grouped = pa.concat_tables(accumulator).group_by("token").aggregate([("count", "sum")])
    return [pa.table({"token": grouped["token"], "count": grouped["count_sum"]})]
