"""The one declaration that drives records, schema, transform, model inputs and serving requests.

A `Column` is what stands in a record; a `Feature` is what a model sees of it; a `Vocabulary` is a set of ids that
features may share (the item ids of candidates and of histories, say). Nothing here imports TensorFlow.
"""

import hashlib
import json
from enum import StrEnum
from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from transforms.columns import (
    CANDIDATE,
    CATALOGUE_PLACE,
    COUNT,
    EXPOSED,
    ITEM_ID,
    LABEL,
    LAST_TIMESTAMP,
    LENGTHS,
    MISSING_INT,
    MISSING_STRING,
    RECORD_KINDS,
    REQUEST_MASKS,
    RESERVED,
    ROW_KEYS,
    SPLITS,
    STAGE,
    TEACHER_HIDDEN,
    TIMESTAMP,
    UNKNOWN_LENGTH,
    WEIGHT,
    WEIGHT_COLUMN,
    Column,
    Declaration,
    RecordKind,
    Shape,
    Split,
    check_key,
    with_lengths,
)
from transforms.names import Name, refuse_alike, with_current_names

__all__ = [
    "CANDIDATE", "CATALOGUE_PLACE", "COUNT", "EXPOSED", "ITEM_ID", "LABEL", "LAST_TIMESTAMP", "LENGTHS", "MISSING_INT",
    "MISSING_STRING", "RECORD_KINDS", "REQUEST_MASKS", "RESERVED", "ROW_KEYS", "SPLITS", "STAGE", "TEACHER_HIDDEN",
    "TIMESTAMP", "UNKNOWN_LENGTH", "WEIGHT", "WEIGHT_COLUMN", "Column", "Encoding", "Feature", "FeatureSet",
    "ModelInput", "Pooling", "RecordKind", "Shape", "Split", "Vocabulary", "with_lengths",
]  # fmt: skip

Pooling = Literal["sum", "mean", "max"]


class Encoding(StrEnum):
    """How a column becomes a feature; x is the raw value."""

    ID = "id"  # index of the token in its vocabulary; 0 = missing
    SQUARED_LOG = "squared_log"  # token of floor(ln(x)^2) if x > 2 else int(x), then as ID
    QUANTILE = "quantile"  # 1 + index of the quantile bucket of x; 0 = missing
    ZSCORE = "zscore"  # (x - mean) / std over the training split; missing = 0
    LOG_ZSCORE = "log_zscore"  # zscore of sign(x) ln(1 + |x|)
    MINMAX = "minmax"  # (x - min) / (max - min) over the training split; missing = 0
    IDENTITY = "identity"  # x; missing = 0
    VECTOR = "vector"  # the values of a column with `width` as they are; with a missing one all are 0
    HOUR_OF_DAY = "hour_of_day"  # 1 + UTC hour of a time in seconds
    DAY_OF_WEEK = "day_of_week"  # 1 + UTC weekday (Monday 0)
    WEEKEND = "weekend"  # 2 on Saturday and Sunday UTC, else 1


TIME_ENCODINGS = frozenset({Encoding.HOUR_OF_DAY, Encoding.DAY_OF_WEEK, Encoding.WEEKEND})
ID_ENCODINGS = frozenset({Encoding.ID, Encoding.SQUARED_LOG, Encoding.QUANTILE}) | TIME_ENCODINGS
VOCABULARY_ENCODINGS = frozenset({Encoding.ID, Encoding.SQUARED_LOG})
NUMERIC_ENCODINGS = frozenset(Encoding) - {Encoding.ID}
VECTOR_ENCODINGS = frozenset({Encoding.VECTOR, Encoding.ZSCORE})
"""The encodings of a column of numbers with `width`; zscore is of each component by itself."""
FIXED_TABLE_SIZES = {Encoding.HOUR_OF_DAY: 25, Encoding.DAY_OF_WEEK: 8, Encoding.WEEKEND: 3}


class Vocabulary(Declaration):
    """A set of ids with one embedding table.

    Ids: 0 = missing or padding, then the vocabulary, then the out-of-vocabulary buckets; or, hashed,
    0 and `hash_buckets` buckets.

    Args:
      name: of the vocabulary file and of the embedding table.
      frequency_threshold: a token seen less often in the training split is out of vocabulary.
      top_k: keep at most so many tokens, the most frequent; None keeps all.
      num_oov_buckets: ids shared by the tokens out of vocabulary (by hash).
      hash_buckets: no vocabulary: tokens are hashed into so many ids. For id sets too large to count.
      prefix: tokens carry their feature's name, so that equal strings of two features are two ids.
    """

    name: Name
    frequency_threshold: int = Field(default=1, ge=1)
    top_k: int | None = Field(default=None, ge=1)
    num_oov_buckets: int = Field(default=1, ge=1)
    hash_buckets: int | None = Field(default=None, ge=2)
    prefix: bool = False


class Feature(Declaration):
    """One input of a model.

    Args:
      name: of the model input.
      encoding: how the column becomes the feature.
      column: the raw column; default: the column of the same name.
      vocabulary: for `id` and `squared_log`: which one holds its tokens; default: one of the feature's own name.
      num_buckets: for `quantile`: number of buckets.
      pooling: for `id` of a column with `width`: how the vectors of its values become one, `mean` by default. Missing
        values are left out; of none at all the vector is 0.
    """

    name: Name
    encoding: Encoding
    column: str = ""
    vocabulary: Name = ""
    num_buckets: int = Field(default=10, ge=2)
    pooling: Pooling | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_names(cls, values: dict[str, object]) -> dict[str, object]:
        values = dict(with_current_names(values))
        values["column"] = values.get("column") or values.get("name", "")
        values["vocabulary"] = values.get("vocabulary") or values.get("name", "")
        return values

    @property
    def is_id(self) -> bool:
        """True if the model looks the feature up in an embedding table."""
        return self.encoding in ID_ENCODINGS

    @property
    def id_kind(self) -> str:
        """What its ids stand for; features of one vocabulary must have it in common."""
        if self.encoding in VOCABULARY_ENCODINGS:
            return "tokens"
        return f"{self.num_buckets} quantiles" if self.encoding == Encoding.QUANTILE else self.encoding.value


class ModelInput(Declaration):
    """What a model needs to know of one feature: its name, table (None for numbers) and shape.

    Of a column with `width` also W and, for ids, how their vectors become one.
    """

    name: str
    vocabulary: str | None
    shape: Shape
    entity: Literal["user", "context", "item"]
    max_length: int | None = None
    width: int | None = None
    pooling: Pooling | None = None


class FeatureSet(Declaration):
    """Columns, features and vocabularies of one data source.

    Args:
      columns: the source's own columns; the keys that every record has are added.
      features: inputs of the models.
      vocabularies: those that are not all defaults; the others are created.
      list_size: M, candidates in a request record (padded); None where the source has no requests.
      requires_item_id: whether every row and every real candidate has an `item_id`: an empty one is refused.
    """

    columns: tuple[Column, ...] = ()
    features: tuple[Feature, ...]
    vocabularies: tuple[Vocabulary, ...] = ()
    list_size: int | None = Field(default=None, ge=1)
    requires_item_id: bool = False

    @model_validator(mode="after")
    def _check(self) -> "FeatureSet":
        all_columns = self.columns_of("request")
        declared = [column.name for column in self.columns]
        refuse_alike("column", [*declared, *(column.name for column in all_columns if column.name not in declared)])
        refuse_alike("feature", [feature.name for feature in self.features])
        refuse_alike("vocabulary", [vocabulary.name for vocabulary in self.vocabularies])
        refuse_alike("vocabulary", dict.fromkeys(feature.vocabulary for feature in self.features if feature.is_id))
        keys = {key.name: key for key in (*ROW_KEYS, *REQUEST_MASKS, WEIGHT_COLUMN)}
        for column in self.columns:
            if column.name in keys:
                check_key(column, keys[column.name])
        columns = {column.name: column for column in all_columns}
        for feature in self.features:
            _check_feature(feature, columns)
        self._check_vocabularies()
        self._check_lengths()
        return self

    def _check_vocabularies(self) -> None:
        """Refuses features of one vocabulary whose ids are of two kinds: it has one table, of one size."""
        first: dict[str, Feature] = {}
        for feature in self.features:
            other = first.setdefault(feature.vocabulary, feature) if feature.is_id else feature
            if other.id_kind != feature.id_kind:
                raise ValueError(
                    f"features {other.name!r} and {feature.name!r} share the vocabulary {feature.vocabulary!r}; their "
                    f"ids are of two kinds ({other.id_kind}; {feature.id_kind}); give one of them another vocabulary"
                )

    def _check_lengths(self) -> None:
        """A request has a column more for each list."""
        names = {column.name.casefold(): column.name for column in self.columns_of("request")}
        for column in self.columns_of("request"):
            taken = (
                names.get(column.lengths.name.casefold())
                if column.variable_length or self._has_counts(column)
                else None
            )
            if taken is not None:
                raise ValueError(
                    f"column {taken!r} has the name under which a request holds the lengths of the list "
                    f"{column.name!r}; give it another name"
                )

    def _has_counts(self, column: Column) -> bool:
        return column.has_lengths and self.list_size is not None

    def columns_of(self, record: RecordKind) -> tuple[Column, ...]:
        """All columns of a record: keys, masks (requests only), then the source's own."""
        declared = {column.name: column for column in self.columns}
        keys = []
        for key in (*ROW_KEYS, *(REQUEST_MASKS if record == "request" else ())):
            column = declared.pop(key.name, key)
            required = key.name == ITEM_ID and self.requires_item_id
            keys.append(column.model_copy(update={"required": True}) if required else column)
        return (*keys, *declared.values())

    def column(self, name: str) -> Column:
        """The column of that name; also the lengths of a list, by the name that they have in a request.

        Raises:
          KeyError: there is none.
        """
        columns = self.columns_of("request")
        return {column.name: column for column in (*with_lengths(columns), *columns)}[name]

    def raw_inputs(self) -> tuple[Column, ...]:
        """The columns that a serving request must carry: those that a feature reads."""
        used = {feature.column for feature in self.features}
        return tuple(column for column in self.columns_of("row") if column.name in used)

    def model_inputs(self, record: RecordKind) -> tuple[ModelInput, ...]:
        """The inputs of a model on `record` records, in declared order."""
        return tuple(
            ModelInput(
                name=feature.name,
                vocabulary=feature.vocabulary if feature.is_id else None,
                shape=column.shape(record),
                entity=column.entity,
                max_length=column.max_length,
                width=column.width,
                pooling=(feature.pooling or "mean") if feature.is_id and column.width is not None else None,
            )
            for feature, column in ((feature, self.column(feature.column)) for feature in self.features)
        )

    @cached_property
    def id_vocabularies(self) -> tuple[Vocabulary, ...]:
        """Every vocabulary that a learned id uses, defaults filled in, in order of first use."""
        declared = {vocabulary.name: vocabulary for vocabulary in self.vocabularies}
        names = dict.fromkeys(f.vocabulary for f in self.features if f.encoding in VOCABULARY_ENCODINGS)
        return tuple(declared.get(name, Vocabulary(name=name)) for name in names)

    def features_in(self, vocabulary: str) -> tuple[Feature, ...]:
        """The features whose ids come from `vocabulary` (learned ids only)."""
        return tuple(f for f in self.features if f.vocabulary == vocabulary and f.encoding in VOCABULARY_ENCODINGS)

    def fixed_table_sizes(self) -> dict[str, int]:
        """Table sizes that are known without data: quantiles, hours, weekdays, hashed vocabularies."""
        sizes = {
            vocabulary.name: vocabulary.hash_buckets + 1
            for vocabulary in self.id_vocabularies
            if vocabulary.hash_buckets
        }
        for feature in self.features:
            if feature.encoding == Encoding.QUANTILE:
                sizes[feature.vocabulary] = feature.num_buckets + 1
            elif feature.encoding in FIXED_TABLE_SIZES:
                sizes[feature.vocabulary] = FIXED_TABLE_SIZES[feature.encoding]
        return sizes

    def digest(self) -> str:
        """Sha256 of the declaration: equal sets have equal digests."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _check_feature(feature: Feature, columns: dict[str, Column]) -> None:
    column = columns.get(feature.column)
    if column is None:
        raise ValueError(
            f"feature {feature.name!r} reads column {feature.column!r}, which is not declared; "
            f"declared: {', '.join(columns)}"
        )
    if not column.model_input:
        raise ValueError(
            f"feature {feature.name!r} reads column {column.name!r}, which is a key, a label, a truth or is "
            "measured after the event: it must not be a model input; choose another column"
        )
    if feature.encoding in NUMERIC_ENCODINGS and column.dtype == "string":
        raise ValueError(
            f"feature {feature.name!r}: encoding {feature.encoding.value!r} needs a number, "
            f"column {column.name!r} is a string; use 'id'"
        )
    if feature.encoding == Encoding.ID and column.dtype == "float":
        raise ValueError(
            f"feature {feature.name!r}: encoding 'id' needs a string or int64, column {column.name!r} is a float; "
            "use 'quantile' or 'squared_log'"
        )
    _check_width(feature, column)
    if feature.name in RESERVED:
        raise ValueError(
            f"feature {feature.name!r}: {', '.join(sorted(RESERVED))} go beside the features under these names; "
            f"name the feature otherwise, with column={feature.column!r}"
        )


def _check_width(feature: Feature, column: Column) -> None:
    """Refuses encodings that do not fit a column's number of values."""
    if column.width is None:
        fits = feature.encoding != Encoding.VECTOR and feature.pooling is None
        expected = "a column with `width` for 'vector' and for pooling"
    elif column.dtype == "float":
        fits = feature.encoding in VECTOR_ENCODINGS and feature.pooling is None
        expected = "'vector' or 'zscore' without pooling, as the column is a vector of numbers"
    else:
        fits = feature.encoding == Encoding.ID
        expected = "'id', as the column holds several values; declare a vector of numbers as float"
    if not fits:
        pooling = f" and pooling {feature.pooling!r}" if feature.pooling else ""
        raise ValueError(
            f"feature {feature.name!r} has encoding {feature.encoding.value!r}{pooling}, column {column.name!r} has "
            f"width {column.width}; expected {expected}"
        )
