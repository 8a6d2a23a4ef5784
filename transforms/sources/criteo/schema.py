"""Criteo Kaggle display advertising: 13 counts and 26 hashed categories of an ad impression."""

from typing import Literal

from pydantic import Field, model_validator

from transforms.features import Encoding, FeatureSet, Vocabulary
from transforms.sources.base import Source
from transforms.sources.options import LineOptions, columns, features
from transforms.sources.text_format import FLAG, HEX, INTEGER, TextFormat

LABEL_FIELD = "label"
NUMBERS = tuple(f"I{i}" for i in range(1, 14))
CATEGORIES = tuple(f"C{i}" for i in range(1, 27))
LINE = TextFormat(
    {LABEL_FIELD: FLAG, **dict.fromkeys(NUMBERS, INTEGER), **dict.fromkeys(CATEGORIES, HEX)},
    delimiter="\t",
    header="none",
    summary="label, I1-I13, C1-C26",
)


class CriteoOptions(LineOptions):
    """Options of a Criteo import, besides those of `LineOptions`.

    Args:
      numeric: encoding of I1-I13. `quantile` (10 buckets each) gave the best AUC and log loss on small
        heads; `squared_log` is that of the Criteo_x4 benchmark, in the pooled vocabulary of the categories.
      discretise: `x4` is another name for `numeric: squared_log`.
      frequency_threshold: a token seen less often in the training split is out of vocabulary.
    """

    numeric: Literal["quantile", "log_zscore", "squared_log"] = "quantile"
    discretise: Literal["x4"] | None = None
    frequency_threshold: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _one_discretization(self) -> "CriteoOptions":
        if self.discretise and self.numeric != "squared_log" and "numeric" in self.model_fields_set:
            raise ValueError("'discretise: x4' means 'numeric: squared_log'; leave one of the two out")
        return self

    @property
    def number_encoding(self) -> Encoding:
        """How I1-I13 become features."""
        return Encoding.SQUARED_LOG if self.discretise else Encoding(self.numeric)


VOCABULARY = "criteo"
LOWEST_NUMBER = -10
"""Counts are 0 or more but for a few codes of -1 to -3; anything far below is a damaged file."""


class Criteo(Source[CriteoOptions]):
    """Rows of Criteo's `train.txt`: tab-separated, no header, 40 fields.

    Criteo names neither users nor items, so `user_id` and `item_id` are missing (empty), and gives
    no time: `timestamp` is the line's ordinal in its file (0 first), which is in order of time but
    has no unit. `request_id` is `<file>:<line>`, lines counted from 1.
    """

    name = "criteo"
    summary = "Criteo Kaggle ad clicks: 13 counts, 26 hashed categories; rows"
    licence = "Kaggle competition terms: research only, no redistribution"
    where = "https://www.kaggle.com/c/criteo-display-ad-challenge (train.txt)"

    def feature_set(self) -> FeatureSet:
        encoding = self.options.number_encoding
        shared = VOCABULARY if encoding is Encoding.SQUARED_LOG else ""
        return FeatureSet(
            columns=(
                *columns(NUMBERS, "float", "context", min_value=LOWEST_NUMBER),
                *columns(CATEGORIES, "string", "context"),
            ),
            features=(
                *features(NUMBERS, encoding, vocabulary=shared),
                *features(CATEGORIES, vocabulary=VOCABULARY),
            ),
            vocabularies=(
                Vocabulary(name=VOCABULARY, prefix=True, frequency_threshold=self.options.frequency_threshold),
            ),
        )
