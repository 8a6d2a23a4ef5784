"""The roles of a log's columns, guessed from names and from what a sample shows; each guess says why."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runs.inspection.profile import ColumnProfile, Lists

Profiles = Mapping[str, ColumnProfile]

ID_WORDS = {"id", "ids", "key", "code", "no", "nr", "num", "number", "hash", "uuid", "guid", "uid"}
USER_WORDS = {
    "user", "usr", "customer", "cust", "visitor", "member", "client", "account", "uid", "cookie", "person",
    "who", "kunde", "kunden", "nutzer", "subscriber", "reader", "buyer", "consumer", "shopper", "device", "viewer",
    "listener", "player", "guest",
}  # fmt: skip
ITEM_WORDS = {
    "item", "product", "prod", "article", "sku", "movie", "film", "video", "doc", "document", "news", "ad", "adgroup",
    "artikel", "produkt", "offer", "listing", "song", "track", "book", "game", "app", "recipe", "goods", "content",
    "asin", "joke", "post",
    "creative", "iid", "story", "show", "course", "hotel", "job", "photo", "clip", "banner", "material", "coupon",
}  # fmt: skip
REQUEST_WORDS = {
    "request", "req", "impression", "imp", "session", "sess", "search", "query", "slate", "auction", "pageview",
    "visit", "page", "list", "event", "log", "trace", "rid", "qid",
}  # fmt: skip
TIME_WORDS = {
    "time", "timestamp", "ts", "date", "datetime", "at", "when", "hour", "day", "epoch", "created", "logged", "ms",
    "zeit", "zeitpunkt", "datum",
}  # fmt: skip
LABEL_WORDS = (
    {"click", "clicked", "clicks", "clk", "is_click", "clic", "klick", "geklickt"},
    {"label", "target", "y", "outcome", "response"},
    {"converted", "conversion", "purchase", "purchased", "bought", "buy", "order", "ordered", "like", "liked"},
    {"rating", "stars", "score", "grade", "vote"},
    {"event", "ereignis", "action", "interaction", "behavior", "behaviour", "btag", "feedback", "activity", "type"},
)  # fmt: skip
_POSITIVE = re.compile(r"click|clk|buy|purchase|order|cart|like|play|read|watch|open|convert|tap", re.IGNORECASE)
_NEGATIVE = re.compile(r"^(un|not?[_ -]?|dis|impression|imp$|view$|pv$|show|skip|none|expos)", re.IGNORECASE)
_POSITION = {"position", "pos", "rank", "slot", "place", "ordinal"}
_WEIGHT = {"weight", "wt", "importance"}
_EXPOSED = {"exposed", "shown", "impressed", "displayed", "visible", "seen"}
_SHOWN_LISTS = {
    "inview", "shown", "candidates", "candidate", "impressions", "impression", "items", "slate", "displayed", "pool",
    "results", "recommended", "recommendations", "recs", "ranked", "served", "offered", "options",
}  # fmt: skip
_CLICKED_LISTS = {"clicked", "clicks", "click", "chosen", "selected", "purchased"}


@dataclass
class Guess:
    """A value of the declaration.

    Args:
      value: as YAML has it.
      why: what it was told by.
    """

    value: Any
    why: str


@dataclass
class Roles:
    """What was decided of a log, by key of the declaration, and what was not.

    Args:
      guesses: by key.
      columns: columns that have a role, and are no features.
      label: the sample's labels, NaN where there is none; None: not known.
      questions: what a person has to say.
    """

    guesses: dict[str, Guess] = field(default_factory=dict)
    columns: set[str] = field(default_factory=set)
    label: np.ndarray | None = None
    questions: list[str] = field(default_factory=list)

    def decide(self, key: str, value: Any, why: str, *columns: str) -> None:
        """Notes a value of the declaration, and the columns that it uses."""
        self.guesses[key] = Guess(value, why)
        self.columns.update(columns)


def words_of(name: str) -> list[str]:
    """The words of a column's name: `userId`, `user-id` and `USER_ID` have the same."""
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().replace("-", "_").replace(".", "_").split("_")


def guess_roles(profiles: Profiles) -> Roles:
    """Decides which columns are the keys, the time and the label of a log."""
    roles = Roles()
    _time(profiles, roles)
    _candidates(profiles, roles)
    if "candidates" not in roles.guesses:
        _key("item_id", ITEM_WORDS, profiles, roles)
    _key("user_id", USER_WORDS, profiles, roles)
    if "candidates" not in roles.guesses:
        _label(profiles, roles)
        _request(profiles, roles)
        _simple("position", _POSITION, profiles, roles, _is_position)
        _simple("exposed", _EXPOSED, profiles, roles, is_binary)
        _simple("weight", _WEIGHT, profiles, roles, lambda one: _is_number(one) and float(np.nanmin(one.numbers)) >= 0)
        if "exposed" in roles.guesses and "request_id" not in roles.guesses:
            roles.columns.discard(str(roles.guesses.pop("exposed").value))
    return roles


def _named(names: Iterable[str], hints: set[str], ids: set[str] = ID_WORDS) -> list[tuple[float, str]]:
    """Names with a hint among their words, the best first: `user_id` before `user` before `user_age`."""
    scored = []
    for name in names:
        words = words_of(name)
        is_joined = any("".join(words) == hint + tail for hint in hints for tail in ids)
        if set(words) & hints or is_joined:
            score = 2.0 if set(words) & ids or is_joined else 1.5 if len(words) == 1 else 0.5
            scored.append((score, name))
    return sorted(scored, key=lambda pair: (-pair[0], pair[1]))


def _free(profiles: Profiles, roles: Roles) -> dict[str, ColumnProfile]:
    return {name: one for name, one in profiles.items() if name not in roles.columns and one.kind != "empty"}


def _is_number(column: ColumnProfile) -> bool:
    return column.kind in ("int", "float") and column.numbers is not None


def is_binary(column: ColumnProfile) -> bool:
    """True if a column holds truth values, or 0 and 1."""
    values = set(column.texts)
    return column.kind == "bool" or (
        column.kind in ("int", "float") and values <= {"0", "1", "0.0", "1.0"} and len(values) > 0
    )


def _is_position(column: ColumnProfile) -> bool:
    if not _is_number(column) or column.kind != "int" or column.numbers is None:
        return False
    return 0 <= float(np.nanmin(column.numbers)) <= 1 and column.distinct <= 1000


def _simple(key: str, hints: set[str], profiles: Profiles, roles: Roles, fits: Any) -> None:
    for _, name in _named(_free(profiles, roles), hints, set()):
        if fits(profiles[name]):
            roles.decide(key, name, "by its name and values", name)
            return


def _time(profiles: Profiles, roles: Roles) -> None:
    times = [one for one in profiles.values() if one.is_time or (one.formats and set(words_of(one.name)) & TIME_WORDS)]
    named = {one.name for one in times if set(words_of(one.name)) & TIME_WORDS}
    # Numbers that could be seconds of our years may as well be ids.
    times = [one for one in times if one.name in named or one.kind in ("date", "datetime") or one.unit != "s"]
    complete = [one for one in times if (one.missing < 0.01 and not one.is_key) or one.missing == 0]
    if not complete:
        roles.questions.append(
            "timestamp: no column looks like the time of the event. Name it, or delete this line: without a time there "
            "are no histories, no counts and no split by time"
        )
        return
    best = max(complete, key=lambda one: (one.kind != "date", one.name in named, one.distinct))
    roles.decide("timestamp", time_declaration(best, roles, "timestamp"), _time_reason(best), best.name)
    others = [
        one.name for one in complete if one is not best and one.distinct > best.distinct / 2 and one.kind != "date"
    ]
    if others and best.name not in named:
        roles.questions.append(f"timestamp: is it {best.name}, or {' or '.join(others)}?")


def time_declaration(column: ColumnProfile, roles: Roles, key: str) -> Any:
    """How a column of times is declared; asks where its pattern is not clear."""
    if column.unit is not None:
        return {"column": column.name, "unit": column.unit}
    if column.formats:
        if len(column.formats) > 1:
            roles.questions.append(
                f"{key}: all values of {column.name} fit {' and '.join(column.formats)}. Which is it?"
            )
        return {"column": column.name, "format": column.formats[0]}
    return column.name


def _time_reason(column: ColumnProfile) -> str:
    if column.unit is not None:
        return f"numbers that are times between 1990 and 2100 in {column.unit}"
    zone = "" if column.zoned else "; taken as UTC: add `timezone` if it is local"
    return ("all values fit" if column.formats else "ISO 8601, or a type of times") + zone


def _key(key: str, hints: set[str], profiles: Profiles, roles: Roles) -> None:
    free = {
        name: one
        for name, one in _free(profiles, roles).items()
        if one.kind in ("int", "string") and one.missing < 0.5 and not is_binary(one)
    }
    other = {name for name in free if set(words_of(name)) & (ITEM_WORDS if key == "user_id" else USER_WORDS)}
    named = [(score, name) for score, name in _named(free, hints) if score >= 1.5 or free[name].distinct > 50]
    named = [(score, name) for score, name in named if name not in other or score >= 1.5]
    if named:
        # Of equally good names the one with the most values.
        best = max(named, key=lambda pair: (pair[0], free[pair[1]].distinct))[1]
        equal = [name for score, name in named if score == named[0][0] and name != best and free[name].distinct > 50]
        roles.decide(key, best, f"by its name; {free[best].distinct:,} distinct values in the sample", best)
        if equal and free[equal[0]].distinct > free[best].distinct / 2:
            roles.questions.append(f"{key}: is it {best}, or {' or '.join(equal)}?")
        return
    ids = [one for one in free.values() if one.distinct >= 20 and not one.is_key and set(words_of(one.name)) & ID_WORDS]
    many = ids or [one for one in free.values() if one.distinct >= 20 and not one.is_key and one.kind == "string"]
    what = key.removesuffix("_id")
    if many and key == "item_id":
        best_column = max(many, key=lambda one: one.distinct)
        roles.decide(key, best_column.name, f"a guess: {best_column.distinct:,} distinct values", best_column.name)
        roles.questions.append(f"{key}: which column identifies the {what}? {best_column.name} is a guess")
    elif key == "item_id":
        roles.questions.append("item_id: which column identifies the item?")
    elif many:
        names = ", ".join(one.name for one in many[:5])
        roles.questions.append(
            f"user_id: no name says which column is the user's id ({names}?). Name it, or delete this"
        )


def _label(profiles: Profiles, roles: Roles) -> None:
    free = _free(profiles, roles)
    for place, hints in enumerate(LABEL_WORDS):
        for name in free:
            words = words_of(name)
            if not (set(words) & hints or name.lower() in hints):
                continue
            column = free[name]
            if (
                place < 3
                and (is_binary(column) or (column.kind == "float" and _within_unit(column)))
                and column.distinct > 1
            ):
                share = float(np.nanmean(column.numbers))  # type: ignore[arg-type]
                roles.decide("label", name, f"by its name; {share:.1%} positive in the sample", name)
                roles.label = column.numbers
                others = [
                    one
                    for one in free
                    if one != name and one.lower() in LABEL_WORDS[0] | LABEL_WORDS[1] and is_binary(free[one])
                ]
                if others:
                    roles.questions.append(f"label: is it {name}, or {' or '.join(others)}? The others are no inputs")
                return
            if place == 3 and _is_number(column) and column.numbers is not None and column.distinct > 2:
                _rating(column, column.numbers, roles)
                return
            if place == 4 and column.kind == "string" and 2 <= column.distinct <= 30 and _event(column, roles):
                return
    binary = [name for name, one in free.items() if is_binary(one) and one.distinct == 2]
    roles.decide(
        "label",
        binary[0] if len(binary) == 1 else "???",
        "a guess: the only column of 0 and 1" if len(binary) == 1 else "unknown",
    )
    if len(binary) == 1:
        roles.columns.add(binary[0])
        roles.label = profiles[binary[0]].numbers
    many = f" ({', '.join(binary[:6])}?)" if len(binary) > 1 else ""
    roles.questions.append(f"label: which column says whether an item was clicked, and by which values?{many}")


def _within_unit(column: ColumnProfile) -> bool:
    return (
        column.numbers is not None and float(np.nanmin(column.numbers)) >= 0 and float(np.nanmax(column.numbers)) <= 1
    )


def _rating(column: ColumnProfile, numbers: np.ndarray, roles: Roles) -> None:
    low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    # 4 of 5 stars, 8 of 10.
    bound = low + 0.75 * (high - low) if low >= 0 else 0.0
    bound = float(np.unique(numbers[numbers >= bound])[0])
    bound = int(bound) if bound == int(bound) else bound
    share = float(np.nanmean(numbers >= bound))
    roles.decide(
        "label", {"column": column.name, "at_least": bound}, f"a guess; {share:.0%} positive in the sample", column.name
    )
    roles.label = np.where(np.isnan(numbers), np.nan, (numbers >= bound).astype(np.float64))
    roles.questions.append(
        f"label: from which {column.name} ({low:g} to {high:g}) on is a row positive? {bound:g} is a guess"
    )


def _event(column: ColumnProfile, roles: Roles) -> bool:
    positive = [text for text in column.texts if _POSITIVE.search(text) and not _NEGATIVE.search(text)]
    if not positive or len(positive) == len(column.texts):
        return False
    codes = [place for place, text in enumerate(column.texts) if text in positive]
    values = np.isin(column.codes, codes).astype(np.float64)
    others = ", ".join(text for text in column.texts if text not in positive)
    why = f"{values.mean():.1%} positive in the sample; the others are {others[:60]}"
    roles.decide("label", {"column": column.name, "positive": positive}, why, column.name)
    roles.label = np.where(column.codes < 0, np.nan, values)
    if len(positive) > 1:
        roles.questions.append(f"label: are all of {', '.join(positive)} positive? Leave in `positive` those that are")
    return True


def _request(profiles: Profiles, roles: Roles) -> None:
    """Rows of one request agree in an id, and have different items."""
    item = roles.guesses.get("item_id")
    if item is None:
        return
    for score, name in _named(_free(profiles, roles), REQUEST_WORDS):
        column = profiles[name]
        if score < 1.5 or column.kind not in ("int", "string") or column.missing > 0 or column.is_key:
            continue
        sizes = np.bincount(column.codes)
        sizes = sizes[sizes > 0]
        if np.median(sizes) < 2:
            continue
        items = profiles[item.value].codes
        pairs = len(np.unique(column.codes * (items.max() + 2) + items + 1))
        if pairs < 0.9 * len(items) or not _of_one_user(column, profiles, roles):
            continue
        roles.decide("request_id", name, f"up to {sizes.max()} rows agree in it, and have different items", name)
        roles.decide("list_size", int(sizes.max()), "the largest request in the sample; give the largest of all")
        return


def _of_one_user(request: ColumnProfile, profiles: Profiles, roles: Roles) -> bool:
    if "user_id" not in roles.guesses:
        return True
    users = profiles[roles.guesses["user_id"].value].codes
    pairs = len(np.unique(request.codes * (users.max() + 2) + users + 1))
    return pairs < 1.1 * request.distinct


def _candidates(profiles: Profiles, roles: Roles) -> None:
    """Records that are whole requests: a list of ids, and the list of those clicked."""
    lists = {name: one.lists for name, one in profiles.items() if one.lists and one.lists.element in ("int", "string")}
    for name, of_name in lists.items():
        if of_name.labelled:
            first = profiles[name].texts[0].split(of_name.separator)[0]
            value = {"items": name, "label_after": of_name.labelled, "separator": of_name.separator}
            _decide_candidates(roles, value, of_name, f"elements such as {first}: id and label")
            return
    words = {name: set(words_of(name)) for name in profiles}
    clicked = [name for name in lists if words[name] & _CLICKED_LISTS]
    shown = [name for name in lists if words[name] & _SHOWN_LISTS and name not in clicked]
    shown = [name for name in shown if profiles[name].missing < 0.05]
    if not shown:
        return
    items = max(shown, key=lambda name: float(np.mean(lists[name].lengths)))
    lengths = lists[items].lengths
    parallel = [
        name
        for name, one in profiles.items()
        if one.lists is not None and name != items and np.array_equal(one.lists.lengths, lengths)
    ]
    labels = [name for name in parallel if words[name] & (LABEL_WORDS[0] | LABEL_WORDS[1] | _CLICKED_LISTS)]
    if not labels and not clicked:
        return
    value = {"items": items, "labels": labels[0]} if labels else {"items": items, "clicked": clicked[0]}
    for key, hints in (("exposed", _EXPOSED), ("stage", {"stage"}), ("position", _POSITION), ("weight", _WEIGHT)):
        match = next((name for name in parallel if words[name] & hints and name not in value.values()), None)
        value |= {key: match} if match else {}
    others = [name for name in shown if name not in value.values()]
    if others and "exposed" not in value:
        value["shown"] = others[0]
    _decide_candidates(
        roles, value | {"separator": lists[items].separator}, lists[items], "lists of ids, by their names"
    )


def _decide_candidates(roles: Roles, value: dict[str, str | None], items: Lists, why: str) -> None:
    given = {key: text for key, text in value.items() if text}
    names = [text for key, text in given.items() if key not in ("separator", "label_after")]
    roles.decide("candidates", given, why, *names)
    roles.decide("list_size", int(items.lengths.max()), "the largest request in the sample; give the largest of all")


def unused(names: Sequence[str], roles: Roles) -> list[str]:
    """Columns without a role."""
    return [name for name in names if name not in roles.columns]
