"""Scores of all records of a dataset, by Beam: a Parquet file for each shard.

One worker scores a shard and writes its file, so that the file depends neither on the runner nor on the number of
workers, and a second try writes the same one.
"""

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from runs.evaluate import check_columns, splits_of
from serving.contract import read_contract
from serving.export.signatures import PROBABILITY
from serving.loading import Scorer
from transforms.arrow import pa, pq
from transforms.beam.counting import Counter, counted
from transforms.beam.options import pipeline_options, shared_path
from transforms.beam.runners import LOCAL_ARGS, check_runner
from transforms.beam.shared_object import SharedObject
from transforms.errors import ConsortError
from transforms.features import CANDIDATE, TIMESTAMP, FeatureSet, RecordKind
from transforms.files import check_folder, new_directory
from transforms.integrity import check_files, checked
from transforms.progress import progress
from transforms.record_batches import batches_of
from transforms.records import load_dataset, shard_paths
from transforms.schema import parse_spec

KEYS = ("request_id", "user_id", "item_id", TIMESTAMP)
"""The columns that say what was scored, as far as the records have them."""


def score_dataset(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    split: str = "all",
    beam_args: Sequence[str] = LOCAL_ARGS,
) -> dict[str, Any]:
    """Writes `out/<split>/<shard>.parquet`: `KEYS` and `probability`, a row for each record or candidate of a request.

    Args:
      model: an exported model.
      data: a dataset with the columns that the model reads; labels are not looked at.
      out: a new folder.
      split: `train`, `eval`, `test`, several joined by `+`, or `all`.
      beam_args: Beam's options.

    Returns:
      `records`, `scores` and `files`, their numbers, and `dataset_sha256`.

    Raises:
      InputError: the model or the dataset is not one, they do not fit together, `out` exists, a value is none that its
        column may have, or the runner cannot do the work.
      ConsortError: other records than those of the dataset were scored.
    """
    check_folder(out, "--out")
    contract, dataset = read_contract(model), load_dataset(data)
    record: RecordKind = contract["record"]
    splits = splits_of(dataset, record, split)
    check_columns(FeatureSet.model_validate(contract["feature_set"]), dataset.feature_set, record, str(data))
    dataset, _ = checked(data, dataset, record, splits)
    check_runner(beam_args)
    options = pipeline_options(beam_args)
    files = {name: shard_paths(shared_path(options, data), dataset, record, name) for name in splits}
    expected = sum(dataset.records[record][name].records for name in splits)
    with new_directory(out) as folder:
        place, counts = Path(shared_path(options, folder)), Path(folder, "counts")
        counts.mkdir()
        score = _ScoreFile(shared_path(options, model), dataset.feature_set, record, str(place / "work"), str(counts))
        with progress("scoring", poll=lambda: ("scoring", counted(counts), expected)):
            _run(options, score, {str(place / name): paths for name, paths in files.items()})
        records = counted(counts)
        _remove(counts, place / "work")
        if records < expected:
            raise ConsortError(f"{data}: {records} records were scored, and the dataset has {expected}; run again")
        written = sorted(place.rglob("*.parquet"))
        scores = sum(pq.ParquetFile(path).metadata.num_rows for path in written)
    return {"records": expected, "scores": scores, "files": len(written), "dataset_sha256": dataset.sha256}


def _run(options: Any, score: "_ScoreFile", files: Mapping[str, Sequence[str]]) -> None:
    work = [(path, folder) for folder, paths in files.items() for path in paths]
    with beam.Pipeline(options=options) as pipeline:
        _ = pipeline | "Files" >> beam.Create(work) | "Spread" >> beam.Reshuffle() | "Score" >> beam.ParDo(score)


def _remove(*folders: Path) -> None:
    for folder in folders:
        if folder.is_dir():
            tf.io.gfile.rmtree(str(folder))


class _ScoreFile(beam.DoFn):
    def __init__(self, model: str, features: FeatureSet, record: RecordKind, work: str, counts: str):
        self._model, self._features, self._record, self._work = model, features, record, work
        self._counter, self._shared = Counter(counts), SharedObject[Scorer]()

    @cached_property
    def _spec(self) -> dict[str, Any]:
        mask = (CANDIDATE,) if self._record == "request" else ()
        return parse_spec(self._features, self._record, (*KEYS, *mask))

    def process(self, element: tuple[str, str]) -> Iterator[str]:
        path, folder = element
        check_files([path], self._features, self._record)
        scorer = self._shared.get(lambda: Scorer(self._model))
        for one in (folder, self._work):
            os.makedirs(one, exist_ok=True)
        unfinished = os.path.join(self._work, uuid.uuid4().hex)
        writer = None
        for examples in batches_of(path):
            table = self._table(tf.io.parse_example(examples, self._spec), scorer(examples))
            writer = writer or pq.ParquetWriter(unfinished, table.schema)
            writer.write_table(table)
            self._counter.add(len(examples))
        if writer is not None:
            writer.close()
            os.replace(unfinished, os.path.join(folder, f"{Path(path).stem}.parquet"))
        yield path

    def _table(self, columns: Mapping[str, tf.Tensor], scores: np.ndarray) -> pa.Table:
        values = {name: columns[name].numpy() for name in KEYS if name in columns}
        if self._record == "request":
            shown = columns[CANDIDATE].numpy() == 1
            scores = scores[shown]
            values = {
                name: (one if one.ndim > 1 else np.repeat(one[:, np.newaxis], shown.shape[1], axis=1))[shown]
                for name, one in values.items()
            }
        return pa.table({**{name: _array(one) for name, one in values.items()}, PROBABILITY: pa.array(scores)})

    def teardown(self) -> None:
        self._shared.release()


def _array(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.binary()) if values.dtype == object else pa.array(values)
