"""What a Criteo import can be told, and the fields of a raw line."""

from typing import Literal

from pydantic import Field, model_validator

from transforms.features import Encoding
from transforms.sources.line_format import Kind, LineFormat, LineOptions

LABEL_FIELD = "label"
NUMBERS = tuple(f"I{i}" for i in range(1, 14))
CATEGORIES = tuple(f"C{i}" for i in range(1, 27))
LINE = LineFormat(
    file="train.txt",
    fields={LABEL_FIELD: Kind.LABEL} | dict.fromkeys(NUMBERS, Kind.INTEGER) | dict.fromkeys(CATEGORIES, Kind.HEX),
    summary="label, I1-I13, C1-C26",
    delimiter="\t",
    header=False,
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
    def _one_discretisation(self) -> "CriteoOptions":
        if self.discretise and self.numeric != "squared_log" and "numeric" in self.model_fields_set:
            raise ValueError("'discretise: x4' means 'numeric: squared_log'; leave one of the two out")
        return self

    @property
    def number_encoding(self) -> Encoding:
        """How I1-I13 become features."""
        return Encoding.SQUARED_LOG if self.discretise else Encoding(self.numeric)
