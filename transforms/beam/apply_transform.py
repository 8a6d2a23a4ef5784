"""A learned transform applied to TFRecord files: each becomes a file of the same name.

One worker reads, transforms and writes a file, so that neither its name nor a byte of it depends on the runner or the
number of workers, and a second try writes the same file. TFT's own `TransformDataset` is for records that go on through
Beam: here they go to disk, and Beam would only carry them there.
"""

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

from transforms.beam.counting import Counter
from transforms.beam.shared_object import SharedObject
from transforms.example_bytes import encode_examples
from transforms.record_batches import Spec, elements, parsed_batches


class TransformFiles(beam.PTransform):
    """Transforms the records of each file into `folder/<name of the file>`.

    The input of `expand` is the folder of the learned SavedModel, a PCollection of one element.

    Args:
      files: TFRecord files, their base names unlike.
      spec: of all columns, for `tf.io.parse_example`.
      transformed: the same of the result.
      folder: is made, if it is not there.
      unfinished: folder of the same file system for files that are not complete.
      counts: folder for the numbers of records that were written; None counts nothing.
    """

    def __init__(
        self,
        files: Sequence[str | os.PathLike[str]],
        spec: Spec,
        transformed: Spec,
        folder: str | os.PathLike[str],
        unfinished: str | os.PathLike[str],
        counts: str | os.PathLike[str] | None = None,
    ):
        super().__init__()
        self._files = [os.fspath(file) for file in files]
        self._transform = _TransformFile(
            spec, stored_names(transformed), os.fspath(folder), os.fspath(unfinished), counts
        )

    def expand(self, model: beam.PCollection) -> beam.PCollection:
        return (
            model.pipeline
            | "Files" >> beam.Create(self._files)
            | "Spread" >> beam.Reshuffle()
            | "Transform" >> beam.ParDo(self._transform, beam.pvalue.AsSingleton(model))
        )


def stored_names(spec: Spec) -> dict[str, str]:
    """Returns the names under which tf.Examples keep the columns of a spec.

    Raises:
      ValueError: a column that is kept under several names.
    """
    for name, column in spec.items():
        partitions = getattr(column, "partitions", ())
        if not isinstance(column, tf.io.FixedLenFeature | tf.io.RaggedFeature) or any(
            not isinstance(one, tf.io.RaggedFeature.UniformRowLength) for one in partitions
        ):
            raise ValueError(f"column {name}: received {column}; expected a dense one, or lists of one level")
    return {name: getattr(column, "value_key", None) or name for name, column in spec.items()}


class _Model:
    """A learned SavedModel, which the threads of a process share: its vocabularies may be large."""

    def __init__(self, folder: str, inputs: Sequence[str]):
        loader = SavedModelLoader(folder)
        loader.finalize(set(inputs), set(loader.structured_outputs))
        self.apply: Any = loader.apply_transform_model


class _TransformFile(beam.DoFn):
    def __init__(
        self,
        spec: Spec,
        names: Mapping[str, str],
        folder: str,
        unfinished: str,
        counts: str | os.PathLike[str] | None,
    ):
        self._spec, self._names, self._folder, self._unfinished = spec, names, folder, unfinished
        self._counter, self._shared = Counter(counts), SharedObject[_Model]()

    def process(self, path: str, model_folder: str) -> Iterator[str]:
        model = self._shared.get(lambda: _Model(model_folder, [*self._spec]))
        for folder in (self._folder, self._unfinished):
            tf.io.gfile.makedirs(folder)
        unfinished = os.path.join(self._unfinished, uuid.uuid4().hex)
        with tf.io.TFRecordWriter(unfinished) as file:
            for columns in parsed_batches(path, self._spec):
                transformed = model.apply(columns)
                examples = encode_examples(
                    {self._names[name]: elements(column) for name, column in transformed.items()}
                )
                for example in examples:
                    file.write(example)
                self._counter.add(len(examples))
        tf.io.gfile.rename(unfinished, os.path.join(self._folder, os.path.basename(path)), overwrite=True)
        yield path

    def teardown(self) -> None:
        self._shared.release()
