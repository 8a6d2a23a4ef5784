"""Criteo Kaggle display advertising: 13 counts and 26 hashed categories of an ad impression."""

import os
from typing import TYPE_CHECKING, ClassVar

from transforms.features import Column, Encoding, Feature, FeatureSet, RecordKind, Vocabulary
from transforms.sources.base import SourceOptions
from transforms.sources.criteo_options import CATEGORIES, LINE, NUMBERS, CriteoOptions
from transforms.sources.line_format import LineFormat
from transforms.sources.line_source import LineSource

if TYPE_CHECKING:
    import apache_beam as beam

VOCABULARY = "criteo"
LOWEST_NUMBER = -10
"""Counts are 0 or more but for a few codes of -1 to -3; anything far below is a damaged file."""


class Criteo(LineSource):
    """Rows of Criteo's `train.txt`: tab-separated, no header, 40 fields.

    Criteo names neither users nor items, so `user_id` and `item_id` are missing (empty), and gives
    no time: `timestamp` is the line's ordinal in its file (0 first), which is in order of time but
    has no unit. `request_id` is `<file>:<line>`, lines counted from 1.
    """

    name: ClassVar[str] = "criteo"
    summary: ClassVar[str] = "Criteo Kaggle ad clicks: 13 counts, 26 hashed categories; rows"
    licence: ClassVar[str] = "Kaggle competition terms: research only, no redistribution"
    where: ClassVar[str] = "https://www.kaggle.com/c/criteo-display-ad-challenge (train.txt)"
    records: ClassVar[tuple[RecordKind, ...]] = ("row",)
    Options: ClassVar[type[SourceOptions]] = CriteoOptions
    line_format: ClassVar[LineFormat] = LINE
    options: CriteoOptions

    def feature_set(self) -> FeatureSet:
        encoding = self.options.number_encoding
        shared = VOCABULARY if encoding is Encoding.SQUARED_LOG else ""
        numbers = tuple(Feature(name=name, encoding=encoding, vocabulary=shared) for name in NUMBERS)
        categories = tuple(Feature(name=name, encoding=Encoding.ID, vocabulary=VOCABULARY) for name in CATEGORIES)
        return FeatureSet(
            columns=(
                *(Column(name=name, dtype="float", entity="context", min_value=LOWEST_NUMBER) for name in NUMBERS),
                *(Column(name=name, dtype="string", entity="context") for name in CATEGORIES),
            ),
            features=numbers + categories,
            vocabularies=(
                Vocabulary(name=VOCABULARY, prefix=True, frequency_threshold=self.options.frequency_threshold),
            ),
        )

    def read(self, input_dir: str | os.PathLike[str]) -> "beam.PTransform":
        from transforms.sources.criteo_columns import criteo_columns
        from transforms.sources.line_reader import ReadLines

        return ReadLines(self.input_files(input_dir), LINE, criteo_columns, self.options)
