"""Avazu Kaggle click-through rate: 21 categories and the hour of a mobile ad impression."""

import os
from typing import TYPE_CHECKING, ClassVar

from transforms.features import Column, Encoding, Feature, FeatureSet, RecordKind, Vocabulary
from transforms.sources.avazu_options import CATEGORIES, LINE, AvazuOptions
from transforms.sources.base import SourceOptions
from transforms.sources.line_format import LineFormat
from transforms.sources.line_source import LineSource

if TYPE_CHECKING:
    import apache_beam as beam

VOCABULARY = "avazu"
_TIMES = {"hour": Encoding.HOUR_OF_DAY, "weekday": Encoding.DAY_OF_WEEK, "weekend": Encoding.WEEKEND}


class Avazu(LineSource):
    """Rows of Avazu's `train.csv`: separated by commas, with a header, 24 columns.

    The 24 features are those of the Avazu_x4 benchmark: the hour of the day, the weekday and whether
    it is a weekend, all from `hour` (UTC), and the 21 categories as they are. (Benchmark code counts
    weekdays from Sunday, ours from Monday; rows of an embedding table have no order.) Each line's `id`
    is unique: it becomes `request_id`, which no model sees. `timestamp` is the start of the line's
    hour. `user_id` and `item_id` are missing (empty): Avazu names neither.
    """

    name: ClassVar[str] = "avazu"
    summary: ClassVar[str] = "Avazu Kaggle mobile ad clicks: 21 categories and the hour; rows"
    licence: ClassVar[str] = "Kaggle competition terms: research only, no redistribution"
    where: ClassVar[str] = "https://www.kaggle.com/c/avazu-ctr-prediction (train.csv)"
    records: ClassVar[tuple[RecordKind, ...]] = ("row",)
    Options: ClassVar[type[SourceOptions]] = AvazuOptions
    line_format: ClassVar[LineFormat] = LINE
    options: AvazuOptions

    def feature_set(self) -> FeatureSet:
        times = tuple(Feature(name=name, encoding=encoding, column="timestamp") for name, encoding in _TIMES.items())
        categories = tuple(Feature(name=name, encoding=Encoding.ID, vocabulary=VOCABULARY) for name in CATEGORIES)
        return FeatureSet(
            columns=tuple(Column(name=name, dtype="string", entity="context") for name in CATEGORIES),
            features=times + categories,
            vocabularies=(
                Vocabulary(name=VOCABULARY, prefix=True, frequency_threshold=self.options.frequency_threshold),
            ),
        )

    def read(self, input_dir: str | os.PathLike[str]) -> "beam.PTransform":
        from transforms.sources.avazu_columns import avazu_columns
        from transforms.sources.line_reader import ReadLines

        return ReadLines(self.input_files(input_dir), LINE, avazu_columns, self.options)
