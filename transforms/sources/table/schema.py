"""Columns, features and vocabularies of the records that a declaration stands for."""

from typing import Literal

from pydantic import ValidationError

from transforms.columns import WEIGHT_COLUMN, Column
from transforms.errors import InputError
from transforms.features import VOCABULARY_ENCODINGS, Encoding, Feature, FeatureSet
from transforms.records import Items, ItemTable
from transforms.sources.table.declaration import Declaration, FeatureDeclaration
from transforms.sources.table.key_types import Entity

LOCAL_TIME = "local_time"
"""The clock of the timestamp's zone, for hours and weekdays, where a zone is declared."""


def feature_set_of(declaration: Declaration) -> FeatureSet:
    """Returns columns, features and vocabularies of a log's records.

    Raises:
      InputError: they contradict each other.
    """
    columns, features = _role_columns(declaration), [Feature(name="item_id", encoding=Encoding.ID)]
    if declaration.user_id:
        features.insert(0, Feature(name="user_id", encoding=Encoding.ID))
    if "position" in {column.name for column in columns if column.model_input}:
        features.append(Feature(name="position", encoding=Encoding.ID))
    vocabularies = [declared.named(name) for name, declared in declaration.vocabularies.items()]
    for key, declared in declaration.all_features.items():
        name = key.rpartition(".")[2]
        try:
            column = column_of(declaration, name)
            columns += [column] if column is not None and column.name not in {one.name for one in columns} else []
            if declared.input:
                features.append(_feature(declaration, name, declared, column))
            FeatureSet(columns=tuple(columns), features=tuple(features), list_size=declaration.list_size)
        except ValidationError as error:
            reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ").removeprefix(f"feature {name!r}: ")
            received, _, fix = reason.rpartition("; ")
            fix = fix if received else "correct the feature"
            raise InputError(key, received or reason, "a column and a feature that fit", fix) from error
    used = {feature.vocabulary: None for feature in features if feature.encoding in VOCABULARY_ENCODINGS}
    for vocabulary in vocabularies:
        if vocabulary.name not in used:
            fix = "correct the name, or leave it out"
            raise InputError(f"vocabularies.{vocabulary.name}", "no feature of it", f"one of {', '.join(used)}", fix)
    return FeatureSet(
        columns=tuple(columns),
        features=tuple(features),
        vocabularies=tuple(vocabularies),
        list_size=declaration.list_size if "request" in declaration.record_kinds else None,
        requires_item_id=True,
    )


def items_of(declaration: Declaration) -> Items | None:
    """Returns what the dataset keeps of tables of items; None: there are none."""
    names = [name for name in declaration.tables if declaration.entity_of(name) == "item"]
    tables = {}
    for name in names:
        table = declaration.tables[name]
        times = [one for one, feature in table.features.items() if feature.is_time]
        ages = tuple(one for one in times if dtype_of(declaration, one) == "float")
        # The catalogue holds no lists of any length.
        columns = tuple(one for one, feature in table.features.items() if feature.sequence is None)
        tables[name] = ItemTable(columns=columns, times=ages, timed=table.timestamp is not None)
    counts = {name: feature.count for name, feature in declaration.features.items() if feature.count is not None}
    unseen = {name: 0.0 for name, count in counts.items() if count.per == ("item_id",)}
    return Items(tables=tables, unseen=unseen) if tables else None


def _role_columns(declaration: Declaration) -> list[Column]:
    candidates, columns = declaration.candidates, list[Column]()
    if declaration.stage or (candidates and candidates.stage):
        columns.append(Column(name="stage", dtype="int64", entity="item", min_value=0, model_input=False))
    if declaration.position or (candidates and candidates.position):
        is_input = declaration.position is not None and declaration.position.input
        columns.append(Column(name="position", dtype="int64", entity="item", model_input=is_input))
    if declaration.weight or (candidates and candidates.weight):
        columns.append(WEIGHT_COLUMN)
    return columns


def entity_of(declaration: Declaration, name: str) -> Entity:
    """Returns whose value a feature is, a key, or else a column of the log: that of the event."""
    if name in ("user_id", "item_id"):
        return "user" if name == "user_id" else "item"
    table = declaration.table_of(name)
    if table is not None:
        return declaration.entity_of(table) or "context"
    feature = declaration.features.get(name)
    if feature is None:
        return "context"
    if feature.history is not None:
        return entity_of(declaration, feature.history.per)
    if feature.count is not None:
        entities = {entity_of(declaration, key) for key in feature.count.per}
        return next((entity for entity in ("item", "context", "user") if entity in entities), "context")
    return feature.entity or "context"


def column_of(declaration: Declaration, name: str) -> Column | None:
    """Returns the record's column of a feature; None: the timestamp."""
    feature, entity = declaration.feature(name), entity_of(declaration, name)
    model_input = feature.input
    if feature.history is not None:
        return Column(
            name=name,
            dtype=dtype_of(declaration, feature.history.of),
            entity=entity,
            variable_length=True,
            max_length=feature.history.last,
            model_input=model_input,
        )
    if feature.count is not None:
        return Column(name=name, dtype="float", entity=entity, min_value=0, model_input=model_input)
    if declaration.is_of_event(name):
        zoned = declaration.timestamp is not None and declaration.timestamp.timezone is not None
        return Column(name=LOCAL_TIME, dtype="int64", entity="context") if zoned else None
    limits = {"min_value": feature.min, "max_value": feature.max}
    dtype = dtype_of(declaration, name)
    if feature.sequence is not None:
        length = feature.sequence
        return Column(
            name=name, dtype=dtype, entity=entity, variable_length=True, max_length=length, model_input=model_input
        )
    width = feature.list or feature.vector
    return Column(name=name, dtype=dtype, entity=entity, width=width, model_input=model_input, **limits)


def dtype_of(declaration: Declaration, name: str) -> Literal["string", "int64", "float"]:
    """Returns the type of a feature's values in the records; that of keys and other columns of the log is string."""
    if name in ("user_id", "item_id") or name not in declaration.feature_names:
        return "string"
    feature = declaration.feature(name)
    if feature.vector or feature.count:
        return "float"
    if feature.is_time:
        return "float" if feature.resolved_encoding == "age" else "int64"
    types: dict[str, Literal["string", "int64", "float"]] = {"int": "int64", "float": "float", "bool": "int64"}
    return types.get(feature.type or "string", "string")


def _feature(declaration: Declaration, name: str, feature: FeatureDeclaration, column: Column | None) -> Feature:
    encoding = feature.resolved_encoding
    vocabulary = feature.vocabulary or ""
    if feature.history is not None and not vocabulary:
        of = feature.history.of
        vocabulary = declaration.feature(of).vocabulary or of if of in declaration.feature_names else of
        vocabulary = vocabulary if of in (*declaration.feature_names, "item_id", "user_id") else name
    return Feature(
        name=name,
        encoding=Encoding.ZSCORE if encoding == "age" else encoding,
        column=column.name if column is not None else "timestamp",
        vocabulary=vocabulary,
        num_buckets=feature.num_buckets,
        pooling=feature.pooling,
    )
