"""Analyze and transform a dataset with TensorFlow Transform on Beam, outside of TFX."""

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils
from tfx_bsl.public import tfxio

from transforms.beam.apply_transform import TransformFiles
from transforms.beam.counting import Count, counted
from transforms.beam.options import pipeline_options, shared_path
from transforms.beam.record_files import ReadBatches, strict
from transforms.beam.runners import LOCAL_ARGS
from transforms.errors import ConsortError, InputError
from transforms.features import FeatureSet, RecordKind, Split
from transforms.files import check_no_pattern, new_directory, write_text
from transforms.input import count_examples
from transforms.preprocessing import preprocessing_fn
from transforms.progress import progress
from transforms.records import MANIFEST, Dataset, shard_paths
from transforms.schema import schema_of
from transforms.transform_graph import read_transform

GRAPH_DIR, DECLARATION = "transform_graph", "feature_set.json"


def transform_dataset(
    directory: str | os.PathLike[str],
    dataset: Dataset,
    out: str | os.PathLike[str],
    feature_set: FeatureSet,
    record: RecordKind,
    splits: Sequence[Split] = ("train", "eval"),
    beam_args: Sequence[str] = LOCAL_ARGS,
) -> None:
    """Learns the transform from the train split and applies it to `splits`.

    Args:
      directory, dataset: raw records.
      out: becomes `out/transform_graph` (for `tft.TFTransformOutput`), `out/<split>/*.tfrecord`, and
        `out/feature_set.json`, the declaration.
      feature_set: the declaration, which may differ from the dataset's own in its features.
      record: `row` or `request`.
      splits: which to write, transformed.
      beam_args: Beam's options.

    Raises:
      InputError: the dataset lacks a shard or a split, Beam does not know an option, or TensorFlow would read `out`
        as a file pattern.
      ConsortError: other records than those of the dataset were transformed.
    """
    check_no_pattern(out, "the transform's folder")
    config = {"feature_set": feature_set.model_dump_json(), "record": record}
    schema = schema_of(feature_set, record)
    # The work lies in the unfinished folder, so that what a killed run leaves of it goes with that.
    with new_directory(out) as temporary, tempfile.TemporaryDirectory(dir=temporary) as work:
        options = pipeline_options(beam_args)
        shared = shared_path(options, directory)
        work, place = shared_path(options, work), shared_path(options, temporary)
        read, written = Path(work, "read"), Path(work, "written")
        records = {split: dataset.records[record][split].records for split in ("train", *splits)}
        with (
            _progress(read, written, records["train"], sum(records[split] for split in splits)),
            beam.Pipeline(options=options) as pipeline,
        ):
            learn_and_apply(
                pipeline,
                analyzed=shard_paths(shared, dataset, record, "train"),
                transformed={os.path.join(place, name): shard_paths(shared, dataset, record, name) for name in splits},
                schema=schema,
                config=config,
                graph=os.path.join(place, GRAPH_DIR),
                work=work,
                read=str(read),
                written=str(written),
            )
        for split in splits:
            _check_count(directory, split, records[split], transformed_files(temporary, split))
        write_text(temporary / DECLARATION, feature_set.model_dump_json(indent=2) + "\n")


def learn_and_apply(
    pipeline: beam.Pipeline,
    analyzed: Sequence[str],
    transformed: Mapping[str, Sequence[str]],
    schema: schema_pb2.Schema,
    config: Mapping[str, Any],
    graph: str,
    work: str,
    read: str | None = None,
    written: str | None = None,
) -> None:
    """Adds to a pipeline the steps that learn a transform and apply it.

    Args:
      pipeline: any of Beam's.
      analyzed: TFRecord files to learn from.
      transformed: TFRecord files by the folder that each becomes a file of the same name in.
      schema: of their examples.
      config: `custom_config` of `preprocessing_fn`.
      graph: becomes the folder for `tft.TFTransformOutput`.
      work: folder for temporary files.
      read, written: folders in which the records that were analyzed and that were written are counted.
    """
    spec = schema_utils.schema_as_feature_spec(schema).feature_spec
    adapter = tfxio.TFExampleBeamRecord("tfrecord", ["consort"], schema).TensorAdapterConfig()
    with tft_beam.Context(temp_dir=work):
        raw = pipeline | "Read" >> ReadBatches(analyzed, strict(spec, adapter.arrow_schema))
        if read is not None:
            raw |= "Count" >> beam.ParDo(Count(read, _rows))
        analyze = tft_beam.AnalyzeDataset(partial(preprocessing_fn, custom_config=config))
        learned = model, metadata = (raw, adapter) | "Analyze" >> analyze
        _ = learned | "WriteGraph" >> tft_beam.WriteTransformFn(graph)
    result = schema_utils.schema_as_feature_spec(getattr(metadata, "dataset_metadata", metadata).schema).feature_spec
    for folder, files in transformed.items():
        apply = TransformFiles(files, spec, result, folder, os.path.join(work, "unfinished"), written)
        _ = model | f"Transform {os.path.basename(folder)}" >> apply


def _progress(read: Path, written: Path, analyzed: int, total: int) -> contextlib.AbstractContextManager[object]:
    """Shows how many of the `analyzed` records have been read, then how many of all have been written."""
    read.mkdir()
    written.mkdir()

    def poll() -> tuple[str, int, int]:
        done = counted(written)
        return ("transforming", done, total) if done else ("analyzing", min(counted(read), analyzed), analyzed)

    return progress("transforming", poll=poll)


def transformed_files(out: str | os.PathLike[str], split: Split) -> list[str]:
    """Transformed files of a split, in order."""
    return sorted(str(path) for path in Path(out, split).glob("*.tfrecord"))


def load_transform(out: str | os.PathLike[str]) -> tft.TFTransformOutput:
    """The learned transform under `out`."""
    return read_transform(Path(out) / GRAPH_DIR)


def load_declaration(out: str | os.PathLike[str]) -> FeatureSet:
    """The declaration that the transform under `out` was learned for.

    Raises:
      InputError: there is none, or none of ours.
    """
    path = Path(out) / DECLARATION
    try:
        return FeatureSet.model_validate_json(path.read_text())
    except (OSError, ValueError) as error:
        expected, fix = "the declaration of a learned transform", "name the folder of a run"
        raise InputError(str(path), f"no readable file ({error})", expected, fix) from error


def _rows(batch: Any) -> int:
    return int(batch.num_rows)


def _check_count(directory: str | os.PathLike[str], split: Split, expected: int, files: Sequence[str]) -> None:
    written = count_examples(files)
    if written != expected:
        raise ConsortError(
            f"{directory}, split {split!r}: {written} records were transformed, and {MANIFEST} names {expected}. "
            "Fix: see whether another process changed the dataset, and run again"
        )
