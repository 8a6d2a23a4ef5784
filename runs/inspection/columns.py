"""What a column without a role is as a feature: its type, whose value it is, and whether it is known in time."""

import re
from typing import Any

import numpy as np

from runs.audit.strength import area
from runs.inspection.profile import ColumnProfile, dependence
from runs.inspection.roles import (
    ID_WORDS,
    ITEM_WORDS,
    LABEL_WORDS,
    REQUEST_WORDS,
    TIME_WORDS,
    USER_WORDS,
    Profiles,
    Roles,
    is_binary,
    time_declaration,
    words_of,
)

_AFTER = re.compile(
    r"dwell|next_|read_time|watch|duration_(seen|played)|play_time|scroll|stay|revenue|spent|amount_paid|gmv|long_view"
    r"|convers|purchas|bought|follow|comment|forward|propensity|pscore",
    re.IGNORECASE,
)
_LEAK = 0.98


def entity_of(column: ColumnProfile, profiles: Profiles, roles: Roles) -> tuple[str | None, str]:
    """Whose value a column is: `user`, `item` or `context`, and why; None: it does not show."""
    words = set(words_of(column.name))
    shares: dict[str, float] = {}
    for entity, key in (("item", "item_id"), ("user", "user_id")):
        if key in roles.guesses:
            # Together the key's columns; the first one decides.
            name = roles.guesses[key].value
            share = dependence(column.bins(), profiles[name if isinstance(name, str) else name[0]].codes)
            if not np.isnan(share):
                shares[entity] = share
    best = max(shares, key=lambda entity: shares[entity], default=None)
    if best is not None and shares[best] > 0.7 and (len(shares) < 2 or shares[best] - min(shares.values()) > 0.2):
        return best, f"{shares[best]:.0%} determined by the {best}"
    for entity, hints, others in (("user", USER_WORDS, ITEM_WORDS), ("item", ITEM_WORDS, USER_WORDS)):
        if words & hints and not words & others and shares.get(entity, 1.0) > 0.1:
            return entity, "by its name"
    if best is not None and shares[best] > 0.3:
        return best, f"{shares[best]:.0%} determined by the {best}"
    return ("context", "it depends on neither user nor item") if len(shares) == 2 else (None, "")


def is_known_after(column: ColumnProfile, roles: Roles) -> str | None:
    """Why a column can only be known after the click; None: it may be known before."""
    if is_binary(column) and column.name.lower() in LABEL_WORDS[0] | LABEL_WORDS[1]:
        return "it looks like a label"
    if roles.label is None:
        return "its name says so" if _AFTER.search(column.name) else None
    label, real = roles.label, ~np.isnan(roles.label)
    present = column.codes >= 0
    positive = label > 0.5
    if column.missing > 0.02 and area(positive[real], present[real]) > _LEAK:
        return "it is there only for positive or only for negative rows"
    strength = 0.5
    if column.numbers is not None:
        both = real & np.isfinite(column.numbers)
        strength = area(positive[both], column.numbers[both])
    elif 1 < column.distinct <= 50 and column.lists is None:
        both = real & present
        codes = column.codes[both]
        rate = np.bincount(codes, label[both]) / np.maximum(1, np.bincount(codes))
        strength = area(positive[both], rate[codes])
    if strength > _LEAK:
        return f"alone it tells the label (AUC {strength:.2f})"
    return "its name says so" if _AFTER.search(column.name) else None


def is_time_of_event(column: ColumnProfile, profiles: Profiles, roles: Roles) -> bool:
    """True if a column of a log holds times of the event again: not those of its user or item."""
    if "timestamp" not in roles.guesses or not (column.is_time or column.formats):
        return False
    if not set(words_of(column.name)) & TIME_WORDS and column.kind not in ("date", "datetime"):
        return False
    keys = [roles.guesses[key].value for key in ("user_id", "item_id") if key in roles.guesses]
    return not any(dependence(column.bins(), profiles[key].codes) > 0.9 for key in keys if key in profiles)


def is_request_id(column: ColumnProfile) -> bool:
    """True if a column identifies sessions or requests by its name, and is no good feature."""
    words = set(words_of(column.name))
    return bool(words & REQUEST_WORDS and words & ID_WORDS) and column.distinct > 100


def typed(column: ColumnProfile, roles: Roles) -> tuple[dict[str, Any], str]:
    """The keys of a feature that say its type, and why."""
    renamed = {} if feature_name(column.name) == column.name else {"column": column.name}
    if column.lists is not None:
        lists, separator = column.lists, {"separator": column.lists.separator} if column.lists.separator else {}
        lengths = lists.lengths[lists.lengths > 0]
        if lists.element == "float" and lists.width is not None and lists.width > 3:
            return {**renamed, "vector": lists.width, **separator}, f"lists of {lists.width} numbers"
        most = int(np.quantile(lengths, 0.99)) if len(lengths) else 1
        if most > 20 or lists.distinct > 0.8:
            return {**renamed, "type": "string", "sequence": min(most, 200), **separator}, "long lists: a history"
        return {**renamed, "type": "string", "list": max(1, most), **separator}, f"lists of up to {most} values"
    if column.is_time and (column.kind in ("date", "datetime") or column.unit not in (None, "s")):
        declared = time_declaration(column, roles, f"features.{feature_name(column.name)}")
        pattern = (
            {key: value for key, value in declared.items() if key != "column"} if isinstance(declared, dict) else {}
        )
        return {**renamed, "type": "date" if column.kind == "date" else "datetime", **pattern}, "times"
    if column.kind == "bool":
        return {**renamed, "type": "bool"}, "truth values"
    if column.kind == "string":
        return {**renamed, "type": "string"}, f"{column.distinct:,} distinct values"
    is_code = bool(
        set(words_of(column.name))
        & {"id", "code", "type", "category", "class", "cat", "brand", "zip", "postcode", "gender", "region"}
    )
    if column.kind == "int" and (is_code or column.distinct <= 12):
        return {**renamed, "type": "string"}, f"{column.distinct:,} whole numbers: taken for names"
    return {**renamed, "type": column.kind}, f"{column.distinct:,} distinct numbers"


def left_out(column: ColumnProfile) -> str | None:
    """Why a column is no feature; None: it may be one."""
    if column.kind == "empty":
        return "it is empty"
    if column.distinct == 1 and column.missing == 0 and column.lists is None:
        return f"it is always {column.texts[0][:40]!r}"
    if column.is_key and column.rows > 20 and (column.kind == "string" or _is_row_number(column)):
        return "each row has another value: an id of the row, or free text"
    if column.kind == "string" and column.distinct > 0.9 * column.rows * (1 - column.missing) and column.rows > 100:
        return "nearly each row has another value: free text, or an id of the row"
    return None


def _is_row_number(column: ColumnProfile) -> bool:
    if column.kind != "int" or column.numbers is None:
        return False
    return bool(set(words_of(column.name)) & ID_WORDS) or (not column.name.strip("_0123456789"))


def numbered(columns: dict[str, ColumnProfile], roles: Roles) -> dict[str, list[str]]:
    """Columns of numbers that are one vector: `emb_0`, `emb_1` and on, by what is before the number."""
    groups: dict[str, list[str]] = {}
    for name, column in columns.items():
        match = re.fullmatch(r"(.*[^\d])\d+", name)
        if match and column.kind in ("float", "int") and name not in roles.columns and column.missing < 0.5:
            groups.setdefault(match[1], []).append(name)
    return {
        prefix: names
        for prefix, names in groups.items()
        if len(names) >= 8 and sum(columns[name].kind == "float" for name in names) > len(names) / 2
    }


def feature_name(name: str) -> str:
    """The name of a column's feature: letters, digits and underscores, and no name that a record reserves."""
    cleaned = re.sub(r"\W+", "_", name.strip()).strip("_")
    cleaned = cleaned if cleaned[:1].isalpha() else f"f_{cleaned}"
    reserved = {
        "label",
        "candidate",
        "exposed",
        "timestamp",
        "stage",
        "request_id",
        "user_id",
        "item_id",
        "position",
        "weight",
    }
    return f"{cleaned}_feature" if cleaned in reserved else cleaned
