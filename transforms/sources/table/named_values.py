"""Values that a declaration names and a log may not have: a misspelled one would change labels or splits in silence."""

from collections.abc import Iterable, Iterator

from transforms.errors import InputError
from transforms.sources.table.convert import matches
from transforms.sources.table.declaration import Declaration
from transforms.sources.table.formats import RawRows
from transforms.sources.table.key_types import Value

Named = tuple[str, Value]
"""A key of the declaration, and a value that it names."""


def named_values(log: Declaration) -> dict[str, tuple[str, tuple[Value, ...]]]:
    """Returns the columns and values by key: what is positive, and what says the split."""
    named: dict[str, tuple[str, tuple[Value, ...]]] = {}
    if log.label is not None and log.label.positive:
        named["label.positive"] = (log.label.column, log.label.positive)
    if log.splits.by == "column":
        for split, values in log.splits.values.items():
            named[f"splits.values.{split}"] = (log.splits.column or "", values)
    return named


def occurring(raw: RawRows, log: Declaration, known: Iterable[Named] = ()) -> set[Named]:
    """Returns which named values some records have, besides those that are known to occur."""
    result = set(known)
    for key, (column, values) in named_values(log).items():
        array = raw.columns[column] if column in raw.columns.column_names else None
        for value in values if array is not None else ():
            if (key, value) not in result and matches(array, (value,), lambda row: "", raw.decimal).any():
                result.add((key, value))
    return result


def absences(occurred: Iterable[Named], log: Declaration) -> Iterator[tuple[str, InputError | str]]:
    """Gives an error for each key none of whose values occurs, and a notice for each other value that does not."""
    occurred = set(occurred)
    for key, (column, values) in named_values(log).items():
        absent = [value for value in values if (key, value) not in occurred]
        names = ", ".join(map(repr, absent))
        if len(absent) == len(values):
            received = f"{names}, which column {column!r} does not have"
            yield "error", InputError(f"{log.name}, {key}", received, "values of the column", "correct them")
        elif absent:
            yield "notice", f"{key}: column {column!r} has no {names}"
