"""Values that a declaration names and a log may not have: a misspelled one would change labels or splits in silence.

Beside them: clicks of candidates that were not shown, which do not count.
"""

from collections.abc import Iterable, Iterator

from transforms.arrow import pa, pc
from transforms.errors import InputError
from transforms.sources.table.conditions import parse_condition
from transforms.sources.table.convert import matches
from transforms.sources.table.declaration import Declaration
from transforms.sources.table.formats import RawRows
from transforms.sources.table.key_types import Value
from transforms.sources.table.log_columns import LogColumns

Named = tuple[str, Value]
"""A key of the declaration, and a value that it names."""


UNSHOWN: Named = ("exposed", "clicked")
"""Occurs where a candidate was clicked, but not shown."""


def named_values(log: Declaration) -> dict[str, tuple[str, tuple[Value, ...]]]:
    """Returns the columns and values by key: what is positive, what says the split, and texts of conditions."""
    named: dict[str, tuple[str, tuple[Value, ...]]] = {}
    if log.label is not None and log.label.positive:
        named["label.positive"] = (log.label.column, log.label.positive)
    if log.splits.by == "column":
        for split, values in log.splits.values.items():
            named[f"splits.values.{split}"] = (log.splits.column or "", values)
    columns = LogColumns(log)
    for condition in columns.conditions:
        for one in parse_condition(condition):
            texts = tuple(literal for literal in one.literals if isinstance(literal, str) and literal)
            if one.op in ("==", "in") and texts and not columns.is_role(one.column):
                named[f"where: {condition}"] = (one.column, texts)
    return named


def occurring(raw: RawRows, rows: pa.Table, log: Declaration, known: Iterable[Named] = ()) -> set[Named]:
    """Returns which named values some records have, besides those that are known to occur.

    Args:
      raw: the records.
      rows: what they became, see `rows.py`.
      log: the declaration.
      known: occurs already.
    """
    result = set(known)
    if (
        "exposed" in rows.column_names
        and pc.any(pc.and_(pc.greater(rows["label"], 0), pc.equal(rows["exposed"], 0))).as_py()
    ):
        result.add(UNSHOWN)
    for key, (column, values) in named_values(log).items():
        array = raw.columns[column] if column in raw.columns.column_names else None
        for value in values if array is not None else ():
            if (key, value) not in result and matches(array, (value,), lambda row: "", raw.decimal).any():
                result.add((key, value))
    return result


def absences(occurred: Iterable[Named], log: Declaration) -> Iterator[tuple[str, InputError | str]]:
    """Gives an error for each key none of whose values occurs, and notices of what else should be known."""
    occurred = set(occurred)
    if UNSHOWN in occurred:
        yield "notice", "exposed: some candidates were clicked but not shown; their clicks do not count"
    for key, (column, values) in named_values(log).items():
        absent = [value for value in values if (key, value) not in occurred]
        names = ", ".join(map(repr, absent))
        if len(absent) == len(values) and not key.startswith("where"):
            received = f"{names}, which column {column!r} does not have"
            yield "error", InputError(f"{log.name}, {key}", received, "values of the column", "correct them")
        elif absent:
            yield "notice", f"{key}: column {column!r} has no {names}"
