"""Which rows count: a small language of comparisons, `label == 1 and event in [click, buy]`. No code is run."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from transforms.errors import InputError

_TOKEN = re.compile(
    r"""\s*(?:(?P<op>==|!=|<=|>=|<|>)|(?P<mark>[\[\],])|(?P<text>"[^"]*"|'[^']*')|`(?P<name>[^`]+)`|(?P<word>[^\s=!<>\[\],"'`]+))"""
)
_EXPECTED = "comparisons joined by `and`: label == 1, price >= 9.5, event in [click, buy], `a column` != 'x'"


@dataclass(frozen=True)
class Comparison:
    """A column compared with a literal.

    Args:
      column: its name.
      op: `==`, `!=`, `<`, `<=`, `>`, `>=` or `in`.
      literals: truth values, numbers or texts; one, except for `in`.
    """

    column: str
    op: str
    literals: tuple[bool | int | float | str, ...]


def parse_condition(text: str) -> tuple[Comparison, ...]:
    """Returns the comparisons of a condition, all of which must hold.

    Raises:
      InputError: it is none.
    """
    tokens, position = [], 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _refused(text)
        kind = match.lastgroup or ""
        tokens.append((kind, match[kind]))
        position = match.end()
    comparisons = []
    while True:
        comparison, tokens = _comparison(tokens, lambda: _refused(text))
        comparisons.append(comparison)
        if not tokens:
            return tuple(comparisons)
        if tokens[0] != ("word", "and"):
            raise _refused(text)
        tokens = tokens[1:]


def _comparison(
    tokens: list[tuple[str, str]], refused: Callable[[], InputError]
) -> tuple[Comparison, list[tuple[str, str]]]:
    if len(tokens) < 3 or tokens[0][0] not in ("word", "name"):
        raise refused()
    column, operator, rest = tokens[0][1], tokens[1], tokens[2:]
    if operator[0] == "op" and rest[0][0] in ("word", "text"):
        return Comparison(column, operator[1], (_literal(rest[0]),)), rest[1:]
    if operator != ("word", "in") or rest[0] != ("mark", "["):
        raise refused()
    literals = []
    for place in range(1, len(rest), 2):
        if rest[place][0] not in ("word", "text") or place + 1 == len(rest):
            raise refused()
        literals.append(_literal(rest[place]))
        if rest[place + 1] == ("mark", "]"):
            return Comparison(column, "in", tuple(literals)), rest[place + 2 :]
        if rest[place + 1] != ("mark", ","):
            raise refused()
    raise refused()


def _literal(token: tuple[str, str]) -> bool | int | float | str:
    kind, text = token
    if kind == "text":
        return text[1:-1]
    if text.lower() in ("null", "none", "nan", "na"):
        raise InputError(
            "", text, "a number or a text", "compare with '' for a missing value, or put the word in quotes"
        )
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return float(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def _refused(text: str) -> InputError:
    return InputError("", repr(text), _EXPECTED, "write it so")
