"""Checks of a FeatureSet when it is declared."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transforms.features import Column, Feature


def check_key(column: "Column", key: "Column") -> None:
    """Refuses a source's column that loosens the one that every record has; it may only say more of it.

    Raises:
      ValueError: what is different and must not be.
    """
    fixed = ("entity", "variable_length") if key.dtype == "string" else ("dtype", "entity", "variable_length")
    different = [name for name in fixed if getattr(column, name) != getattr(key, name)]
    if column.model_input and not key.model_input:
        different.append("model_input")
    if key.required and not column.required:
        different.append("required")
    if key.min_value is not None and (column.min_value is None or column.min_value < key.min_value):
        different.append("min_value")
    if key.max_value is not None and (column.max_value is None or column.max_value > key.max_value):
        different.append("max_value")
    if different:
        expected = ", ".join(f"{name}={getattr(key, name)!r}" for name in different)
        raise ValueError(f"column {column.name!r} is one that every record has; expected {expected}; or leave it out")


def check_vocabularies(features: Iterable["Feature"]) -> None:
    """Refuses features that share a vocabulary though their ids are of two kinds: it has one table, of one size.

    Raises:
      ValueError: two of them.
    """
    first: dict[str, Feature] = {}
    for feature in features:
        if feature.is_id:
            other = first.setdefault(feature.vocabulary, feature)
            if other.id_kind != feature.id_kind:
                raise ValueError(
                    f"features {other.name!r} and {feature.name!r} share the vocabulary {feature.vocabulary!r}, "
                    f"and their ids are of two kinds ({other.id_kind}; {feature.id_kind}); "
                    "give one of them another vocabulary"
                )
